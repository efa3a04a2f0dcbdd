"""``tlearn demo``."""

from pathlib import Path

import click

from tlearn.cli.finetune import report_run
from tlearn.cli.options import JSON, QUIET, path_option


@click.command()
@path_option("--out", "FOLDER", "Where photos and run go [tlearn-demo].")
@QUIET
@JSON
def demo(out: Path | None, quiet: bool, as_json: bool) -> int:
    """Draw a small set of pictures, train on it, show the result."""
    from tlearn.training.pipeline import demo as run_demo

    return report_run(run_demo(out, quiet=quiet), as_json)
