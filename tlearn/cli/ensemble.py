"""``tlearn ensemble``."""

from pathlib import Path
from typing import Any

import click

from tlearn.cli.options import PATH, QUIET, path_option


@click.command()
@click.argument("runs", type=PATH, nargs=-1, required=True)
@path_option("--out", "RUN", "The run directory to make.", required=True)
@click.option(
    "--shares",
    type=click.Choice(["fitted", "equal"]),
    default="fitted",
    show_default=True,
    help="How much each run counts: fitted on validation, or all the same.",
)
@QUIET
def ensemble(runs: tuple[Path, ...], out: Path, shares: Any, quiet: bool) -> None:
    """Average several RUNS, of any backbones, as one run with one model.

    The runs may have other backbones and sizes; classes and the resize rule must be the same, and
    so must the photos that they hold out: train them with the same --seed, --val and --test.
    """
    from tlearn.experiments.run_ensemble import ensemble as average
    from tlearn.runs.summary import run_summary

    print(run_summary(average(runs, out, shares=shares, quiet=quiet)))
