"""``tlearn demo``."""

from pathlib import Path

import click

from tlearn.cli.console import quiet_tensorflow
from tlearn.cli.finetune import report_run


@click.command()
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Where photos and run go [tlearn-demo].",
)
@click.option("--quiet", is_flag=True, help="Show no progress.")
@click.option("--json", "as_json", is_flag=True, help="Print metrics.json as the result.")
def demo(out: Path | None, quiet: bool, as_json: bool) -> int:
    """Draw a small set of pictures, train on it, show the result."""
    quiet_tensorflow()
    from tlearn.training.demonstration import demo as run_demo

    return report_run(run_demo(out, quiet=quiet), as_json)
