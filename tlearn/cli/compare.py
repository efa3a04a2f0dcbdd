"""``tlearn compare``."""

from pathlib import Path
from typing import Any

import click

from tlearn.cli.console import INTERRUPTED
from tlearn.cli.options import comparison_options, given_options, path_option
from tlearn.text import shell


@click.command()
@path_option("--out", "FOLDER", "The folder to make [comparisons/NAME].")
@comparison_options
def compare(
    data: Path,
    out: Path | None,
    backbones: tuple[str, ...],
    config: Path | None,
    settings: dict[str, str],
    quiet: bool,
    as_json: bool,
    **options: Any,
) -> int:
    """Rank the installed backbones by a probe on photos of DATA.

    DATA is a folder, table or archive, as for 'tlearn finetune'.
    """
    from tlearn.experiments.backbone_comparison import compare as compare_all
    from tlearn.settings import make_config

    full = make_config(config, settings, options)
    comparison = compare_all(data, out, backbones=backbones, config=full, quiet=quiet)
    if as_json:
        print(comparison.to_json(), end="")
    else:
        print(comparison.table())
        print(f"the chart and the figures are in {comparison.path}")
        given = given_options(without={"backbones", "out", "quiet", "as_json"})
        command = ("tlearn", "finetune", data, *given, "--backbone", comparison.recommended)
        print(f"next: {shell(*command)}")
    return INTERRUPTED if comparison.stopped else 0
