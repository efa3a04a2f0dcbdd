"""``tlearn report``."""

from pathlib import Path

import click

from tlearn.cli.options import PROGRESS, RUN, check_out, path_option
from tlearn.progress import console_progress


@click.command()
@RUN
@path_option("--out", "FILE", "The page to write [RUN/report.html].")
@PROGRESS
def report(run: Path, out: Path | None, progress: str) -> None:
    """Write one HTML page about RUN, to look at or to pass on.

    A training ends with it; here it has heat maps, more photos and a finer map of them, too.
    """
    check_out(out)
    from tlearn.reports.page import report as write

    print(f"the report is {write(run, out, console_progress(form=progress))}")
