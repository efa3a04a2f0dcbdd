"""Does an exported model answer as its run does?"""

import contextlib
import runpy
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tlearn.backbones import Exporter
from tlearn.data.packed_photos import photo_path
from tlearn.data.prefetch import batched
from tlearn.errors import DataError, PluginError, one_line
from tlearn.features.engines import Choice
from tlearn.progress import Progress
from tlearn.runs.run import Run
from tlearn.text import decode_name, percent

MOST = 500  # images that are compared, evenly taken from all that were held back
DRAWN = 64  # pictures that are drawn instead, where no photo is left
BATCH = 16
CLOSE = 0.3  # between the probabilities of two classes: the run is undecided


Predict = Callable[[np.ndarray], Any]  # from pixels to probabilities
Loader = Callable[[Path], Predict]


@dataclass(frozen=True)
class Parity:
    """How an exported model compares with its run.

    Attributes:
        images: How many were compared.
        what: What they are, for people.
        agreement: The share of them with the same likeliest class.
        largest_difference: Of a probability.
    """

    images: int
    what: str
    agreement: float
    largest_difference: float

    def __str__(self) -> str:
        same = round(self.agreement * self.images)
        return (
            f"the likeliest class is the run's for {same} of {self.images} {self.what} "
            f"({percent(self.agreement)}); the largest difference of a probability is "
            f"{self.largest_difference:.2g}"
        )


def check_parity(run: Run, exporter: Exporter, folder: Path, progress: Progress) -> Parity:
    """Compare an exported model with its run, in float32, by the functions of its ``predict.py``.

    Raises:
        PluginError: If it cannot be opened, or answers too often what the run does not.
    """
    assert exporter.load is not None
    script = runpy.run_path(str(folder / "predict.py"), run_name="tlearn_predict")
    predict = _open(exporter, script[exporter.load.__name__], folder, progress)
    with (
        _images(run, progress) as (paths, what),
        progress.task("comparing", len(paths), "images") as task,
    ):
        float32 = replace(
            run.classifier, choice=Choice("tensorflow", "float32"), in_memory=run.model
        )
        answers: list[tuple[np.ndarray, np.ndarray]] = []
        for batch in batched(float32.predict(paths), BATCH):
            task.advance(len(batch))
            known = [(path, p) for path, p in batch if not isinstance(p, DataError)]
            if known:
                views = np.stack([script["views_of"](path) for path, _ in known])
                found = np.asarray(predict(np.concatenate(views)), np.float32)
                found = found.reshape(*views.shape[:2], -1).mean(axis=1)
                answers.append((np.stack([p for _, p in known]), found))
    if not answers:
        raise PluginError(
            f"the export to {exporter.name} cannot be compared with the run: none of its "
            f"{len(paths)} {what} can be read; put them back"
        )
    ours, theirs = (np.concatenate(arrays) for arrays in zip(*answers, strict=True))
    return compare_answers(ours, theirs, what, exporter)


def compare_answers(ours: np.ndarray, theirs: np.ndarray, what: str, exporter: Exporter) -> Parity:
    """Compare probabilities ``(n, classes)``.

    A share of few images is coarse: one image that lies between two classes would decide. So a
    single image on which the run itself is undecided is no error, however few there are.
    """
    if theirs.shape != ours.shape or not np.isfinite(theirs).all():
        raise PluginError(
            f"the export to {exporter.name} failed: its model gives {theirs.shape} numbers for "
            f"{ours.shape}, or some that are not finite; nothing was written"
        )
    same = ours.argmax(axis=1) == theirs.argmax(axis=1)
    rows = np.arange(len(ours))
    lead = ours.max(axis=1) - ours[rows, theirs.argmax(axis=1)]  # 0 where they agree
    parity = Parity(len(ours), what, float(same.mean()), float(np.abs(ours - theirs).max()))
    undecided = (~same).sum() == 1 and lead.max() < CLOSE
    if parity.agreement < exporter.agreement and not undecided:
        raise PluginError(
            f"the export to {exporter.name} does not predict as the run does: {parity}; at least "
            f"{exporter.agreement:.0%} must agree; nothing was written; choose another format"
        )
    return parity


def _open(exporter: Exporter, load: Loader, folder: Path, progress: Progress) -> Predict:
    try:
        return load(folder)
    except ImportError as error:
        if exporter.stand_in is None:
            raise
        progress.say(f"{one_line(error)}; what was written is compared by TensorFlow instead")
        stand_in: Predict = exporter.stand_in(folder)
        return stand_in


@contextlib.contextmanager
def _images(run: Run, progress: Progress) -> Iterator[tuple[list[Path], str]]:
    """Yield the held-back images that are still there, or drawn pictures, and what they are."""
    names = [decode_name(p.file) for p in run.held_out_predictions()]
    places = (photo_path(run.photo_folder, name) for name in names)
    paths = [path for path in places if path.is_file()]
    step = -(-len(paths) // MOST)
    if paths:
        yield paths[:: max(1, step)], "held-back images"
        return
    progress.say(
        f"none of the {len(names)} held-back images is in {str(run.photo_folder)!r} any more; "
        f"comparing on {DRAWN} pictures drawn at random"
    )
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as place:
        drawn = [Path(place) / f"{k}.png" for k in range(DRAWN)]
        for path in drawn:
            colours = Image.fromarray(rng.integers(0, 256, (6, 8, 3), np.uint8))
            colours.resize((400, 300), Image.Resampling.BICUBIC).save(path)
        yield drawn, "drawn pictures"
