"""``tlearn export``."""

from pathlib import Path

import click

from tlearn.cli.options import PROGRESS, QUIET, RUN, path_option
from tlearn.progress import console_progress


@click.command()
@RUN
@click.argument("form", metavar="FORMAT")
@path_option("--out", "FOLDER", "Where to [export/FORMAT in RUN].")
@PROGRESS
@QUIET
def export(run: Path, form: str, out: Path | None, progress: str, quiet: bool) -> None:
    """Write the model of RUN in another format, such as onnx.

    Beside it are metadata.json and predict.py, which needs no tlearn; what that answers is compared
    with the run. 'tlearn plugins' lists the formats.
    """
    from tlearn.runs.exports import export as write, parity_of

    folder = write(run, form, out, console_progress(quiet, progress))
    if parity := parity_of(folder):
        print(parity)
    print(f"written to {folder}")
