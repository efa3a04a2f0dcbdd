"""``tlearn predict``."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tlearn.atomic import atomic_file
from tlearn.cli.console import fail
from tlearn.cli.options import (
    ENGINE,
    PATH,
    PROGRESS,
    QUIET,
    RUN,
    check_out,
    config_options,
    open_run,
    path_option,
)
from tlearn.csv_files import csv_line
from tlearn.errors import TlearnError, os_errors_as
from tlearn.progress import console_progress
from tlearn.text import printable

if TYPE_CHECKING:
    from tlearn.runs.predictions import Prediction


@click.command()
@RUN
@click.argument("paths", nargs=-1, required=True, type=PATH)
@click.option(
    "--top", type=click.IntRange(min=1), default=3, show_default=True, help="Classes per image."
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "csv", "json"]),
    default="table",
    show_default=True,
    help="json is one object per line.",
)
@click.option(
    "--reject",
    type=click.FloatRange(0, 0.5),
    default=0.05,
    show_default=True,
    metavar="PART",
    help="Part of photos of the known classes that may be called unknown; 0 calls none unknown.",
)
@path_option("--out", "FILE", "Write there instead of to standard output.")
@config_options(*ENGINE, "tta", "cluster")
@PROGRESS
@QUIET
def predict(
    run: Path,
    paths: tuple[Path, ...],
    top: int,
    form: str,
    reject: float,
    out: Path | None,
    progress: str,
    quiet: bool,
    engine: str | None,
    precision: str | None,
    tta: str | None,
    cluster: str | None,
) -> int:
    """Classify images: PATHS are files, folders, archives, tables."""
    check_out(out)

    model = open_run(run, engine, precision, tta, cluster)
    shown = console_progress(quiet or (out is None and progress == "auto"), progress)
    predictions = model.iter_predictions(paths, top, shown, reject)
    readable: list[bool] = []
    lines = _lines(predictions, form, top, readable)
    if out is None:
        for line in lines:
            print(line, end="", flush=True)
    else:
        what = f"{str(out)!r} cannot be written"
        with (
            os_errors_as(TlearnError, what, "choose another --out"),
            atomic_file(out) as file,
            file.open("w", encoding="utf-8", errors="backslashreplace", newline="") as stream,
        ):
            stream.writelines(lines)
    unreadable = readable.count(False)
    bad = f"{unreadable} files cannot be read as images"
    if unreadable == 1:
        bad = "1 file cannot be read as an image"
    if not any(readable):
        return fail(f"{bad}, and there are no others; give photos", as_json=progress == "json")
    if not all(readable):
        print(f"tlearn: {bad}", file=sys.stderr)
    return 0


def _lines(
    predictions: Iterator["Prediction"], form: str, top: int, readable: list[bool]
) -> Iterator[str]:
    """Yield lines of a table, of CSV or of JSON as predictions come; note which were readable."""
    from tlearn.runs.predictions import prediction_columns

    for p in predictions:
        # Not before the first prediction: an error until then must leave the output empty.
        if form == "csv" and not readable:
            yield csv_line(prediction_columns(top))
        readable.append(not p.problem)
        if form == "json":
            yield p.to_json() + "\n"
        elif form == "csv":
            yield csv_line(p.cells(top))
        else:
            yield printable(f"{p.path}  {p.text}") + "\n"
