"""``tlearn features``."""

from pathlib import Path
from typing import Any

import click

from tlearn.cli.console import quiet_tensorflow
from tlearn.cli.options import ENGINE, QUIET, config_options, path_option


@click.command()
@click.argument("data", type=click.Path(path_type=Path))
@click.option(
    "--layer", default="", metavar="NAME", help="Of which layer; see 'tlearn layers' [the topmost]."
)
@click.option(
    "--pool",
    type=click.Choice(["avg", "none"]),
    default="avg",
    show_default=True,
    help="Average over places, or keep them all.",
)
@path_option("--out", "FILE", "An .npz or .parquet file.", required=True)
@config_options("backbone", "weights", "size", "resize", "strict", *ENGINE)
@QUIET
def features(data: Path, out: Path, layer: str, pool: Any, quiet: bool, **options: Any) -> None:
    """Write the features of a layer for every image in DATA."""
    from tlearn.backbones import load_registry
    from tlearn.config import RunConfig
    from tlearn.data.scan import check_folder

    # Again in the function; here it is refused before TensorFlow is loaded.
    load_registry().get(options["backbone"] or RunConfig().backbone)
    check_folder(data)
    quiet_tensorflow()
    from tlearn.features.image_features import extract_features as extract

    found = extract(data, out, layer=layer, pool=pool, quiet=quiet, **options)
    for name, reason in found.unreadable:
        print(f"left out: {name} ({reason})")
    print(f"{' x '.join(map(str, found.shape))} numbers in {found.path}")
