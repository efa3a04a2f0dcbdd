"""Predictions by ``tlearn predict`` in a separate process, as a hostile photo may crash it."""

import contextlib
import json
import secrets
import shutil
import subprocess
import tempfile
import time
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tlearn.csv_files import csv_text
from tlearn.data.folders import walk
from tlearn.data.problems import Problem
from tlearn.data.uploads import Upload
from tlearn.errors import RunError
from tlearn.progress import Progress
from tlearn.runs.predictions import Prediction, prediction_columns
from tlearn.web import background
from tlearn.web.child import error_in, run_command, start_child
from tlearn.web.explanation_process import ShownExplanation, explain

TOP = 5  # classes per photo
LIFETIME = 24 * 3600.0  # seconds after which predictions and their photos are removed


@dataclass
class PredictionTask:
    """The prediction of photos by a run.

    Attributes:
        folder: The photos.
        run: The run directory.
        task: Gives the predictions, and which files were left out.
        started: When, by :func:`time.monotonic`.
        evaluation: Gives what :func:`evaluate` does, once it was asked for.
        explaining: Gives explanations of photos, while they are made.
        explained: The explanations of photos so far.
    """

    folder: Path
    run: Path
    task: background.BackgroundTask
    started: float = field(default_factory=time.monotonic)
    evaluation: background.BackgroundTask | None = None
    explaining: background.BackgroundTask | None = None
    explained: dict[Path, ShownExplanation] = field(default_factory=dict)

    @property
    def key(self) -> tuple[str, str]:
        """The names of the folder and of the run: tabs may use several runs on one folder."""
        return self.folder.name, self.run.name

    @property
    def explanations(self) -> Path:
        """The folder for pictures of explanations."""
        return self.folder.with_name(f"{self.folder.name}.explanations")

    def explain(self, photos: Sequence[Path]) -> None:
        """Begin to explain some of the photos."""
        place = self.explanations / secrets.token_hex(4)
        self.explaining = background.start(lambda p: explain(self.run, photos, place, p))

    def evaluated(self) -> background.BackgroundTask:
        """Return the evaluation of the photos by their folders, which begins if it did not."""
        if self.evaluation is None:
            self.evaluation = background.start(lambda p: evaluate(self.run, self.folder, p))
        return self.evaluation


TASKS: dict[tuple[str, str], PredictionTask] = {}  # by their keys


def find_prediction(folder: str, run: Path) -> PredictionTask | None:
    """Return what a run says of the photos in a folder, or else what another run says."""
    alike = [task for (name, _), task in list(TASKS.items()) if name == folder]
    return TASKS.get((folder, run.name)) or next(iter(alike), None)


def start_prediction(
    run: Path, folder: Path, upload: Upload | None, before: PredictionTask | None
) -> None:
    """Start to predict the photos in a folder, which an upload may have to fill first.

    Removed are the photos of ``before``, unless they are the same, and all that are a day old.
    """
    unused: list[Path] = []

    def do(progress: Progress) -> tuple[list[Prediction], list[Problem]]:
        for place in unused:  # of many photos this takes a second
            shutil.rmtree(place, ignore_errors=True)
        left_out: list[Problem] = []
        if upload is not None:
            try:
                upload.unpack(progress)
                upload.place(folder)
                left_out = upload.report
            finally:
                upload.cancel()
        return predict(run, folder, sum(1 for _ in walk(folder)), progress), left_out

    now = time.monotonic()
    for old in list(TASKS.values()):
        left = before is not None and old.folder == before.folder
        if old.folder != folder and (left or now - old.started > LIFETIME):
            old.task.replaced = True  # nobody waits for it any more
            TASKS.pop(old.key, None)
            unused += [old.folder, old.explanations]
    prediction = PredictionTask(folder, run, background.start(do))
    TASKS[prediction.key] = prediction


def predict(run: Path, folder: Path, count: int, progress: Progress) -> list[Prediction]:
    """Predict all ``count`` photos below a folder.

    Raises:
        RunError: If the run or the photos cannot be used, or the process was killed.
    """
    predictions: list[Prediction] = []
    options = ("--top", str(TOP), "--format", "json", "--progress", "json")
    with tempfile.TemporaryFile() as log, progress.task("predicting", count, "photos") as task:
        process = start_child(
            "predict", str(run), str(folder), *options, stdout=subprocess.PIPE, stderr=log
        )
        assert process.stdout is not None
        try:
            for line in process.stdout:
                with contextlib.suppress(ValueError):  # cut off, or output of a library
                    predictions.append(Prediction.from_json(line.decode("utf-8")))
                    task.advance()
            code = process.wait()
        finally:  # also on an exception
            process.kill()
            process.communicate()
        if len(predictions) < max(1, count):
            log.seek(0)
            reason = error_in(log.read()) or f"the process ended with code {code} and no message"
            if predictions:
                reason = f"after {len(predictions)} photos: {reason}"
            raise RunError(reason)
    return predictions


def label_of(photo: Path, labels: Sequence[str]) -> str:
    """Return the class that a photo has by the name of its folder, or an empty text."""
    name = unicodedata.normalize("NFC", photo.parent.name)
    return name if name in labels else ""


def evaluate(run: Path, folder: Path, progress: Progress) -> dict[str, Any]:
    """Return what ``tlearn evaluate --json`` says of photos in folders named after their classes.

    Raises:
        RunError: If the run or the photos cannot be used, or the process was killed.
    """
    try:
        output = run_command(progress, "evaluate", str(run), str(folder), "--json")
    except RunError as error:  # the folder is one of ours
        raise RunError(str(error).replace(repr(str(folder)), "the folder")) from None
    return dict(json.loads(output))


def predictions_csv(predictions: Sequence[Prediction], folder: Path) -> bytes:
    """Return predictions as CSV, with the names of the photos below ``folder``."""
    rows = [p.cells(TOP, p.path.relative_to(folder).as_posix()) for p in predictions]
    return csv_text(prediction_columns(TOP), rows).encode("utf-8-sig")
