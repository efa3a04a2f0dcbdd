"""``tlearn features``."""

from pathlib import Path
from typing import Any

import click

from tlearn.cli.options import DATA, ENGINE, QUIET, config_options, path_option


@click.command()
@DATA
@click.option(
    "--layer", default="", metavar="NAME", help="Of which layer; see 'tlearn layers' [the topmost]."
)
@click.option(
    "--pool",
    type=click.Choice(["avg", "none"]),
    default="avg",
    show_default=True,
    help="Global average pooling (avg), or the full feature map (none).",
)
@path_option("--out", "FILE", "An .npz or .parquet file.", required=True)
@config_options("backbone", "weights", "size", "resize", "strict", *ENGINE, "cluster")
@QUIET
def features(data: Path, out: Path, layer: str, pool: Any, quiet: bool, **options: Any) -> None:
    """Write the features of a layer for every image in DATA.

    DATA is a folder, table or archive, as for 'tlearn finetune'.
    """
    from tlearn.features.image_features import extract_features

    extracted = extract_features(data, out, layer=layer, pool=pool, quiet=quiet, **options)
    for name, reason in extracted.unreadable:
        print(f"left out: {name} ({reason})")
    print(f"{' x '.join(map(str, extracted.shape))} numbers in {extracted.path}")
