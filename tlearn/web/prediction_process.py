"""Predictions by ``tlearn predict`` in a process of its own: a hostile photo takes down nobody."""

import contextlib
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tlearn.csv_files import csv_text
from tlearn.errors import RunError
from tlearn.progress import Progress
from tlearn.runs.predictions import Prediction, prediction_columns
from tlearn.web.child import error_in, start_child

TOP = 5  # classes per photo
UNREADABLE = 2  # the exit code where no photo at all can be read, and for other bad input


def predict(run: Path, folder: Path, count: int, progress: Progress) -> list[Prediction]:
    """Predict all photos below a folder, by the same way as the command line.

    Args:
        run: The run directory.
        folder: The photos.
        count: How many there are, to show how far it is.
        progress: Where to show it.

    Raises:
        RunError: If the run or the photos cannot be used, or the process was killed before its end.
    """
    predictions: list[Prediction] = []
    options = ("--top", str(TOP), "--format", "json", "--progress", "json")
    with tempfile.TemporaryFile() as said, progress.task("predicting", count, "photos") as task:
        process = start_child(
            "predict", str(run), str(folder), *options, stdout=subprocess.PIPE, stderr=said
        )
        assert process.stdout is not None
        try:
            for line in process.stdout:
                with contextlib.suppress(ValueError):  # broken off, or not of ours
                    predictions.append(Prediction.from_json(line.decode("utf-8")))
                    task.advance()
            code = process.wait()
        finally:  # an exception, or nobody wants to know any more
            process.kill()
            process.communicate()
        # Where no photo at all can be read, the command fails too.
        if code and not (
            predictions and code == UNREADABLE and all(p.problem for p in predictions)
        ):
            said.seek(0)
            reason = error_in(said.read()) or f"it ended with code {code}, without a word"
            after = f"after {len(predictions)} photos: " if predictions else ""
            raise RunError(f"{after}{reason}")
    return predictions


def write_csv(predictions: Sequence[Prediction], folder: Path, out: Path) -> Path:
    """Write predictions as a table that spreadsheets open; return its path.

    Args:
        predictions: What a model said of photos below the folder.
        folder: The folder; names are given from there.
        out: The file to write.

    Raises:
        OSError: If it cannot be written.
    """
    rows = [p.cells(TOP, p.path.relative_to(folder).as_posix()) for p in predictions]
    out.write_text(csv_text(prediction_columns(TOP), rows), encoding="utf-8-sig", newline="")
    return out
