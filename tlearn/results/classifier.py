"""The saved model: how it is written, and the one path by which it predicts."""

import json
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import keras
import numpy as np

from tlearn.data import images
from tlearn.data.ahead import map_ahead
from tlearn.data.images import Resize
from tlearn.errors import DataError, RunError, one_line
from tlearn.frozen.engine import BATCH, TensorFlowEngine

CARD = "tlearn.json"  # a member of the model file, which is a zip archive; Keras passes over it


@dataclass(frozen=True)
class Classifier:
    """A trained model with what it needs to be used.

    Attributes:
        model: Keras model: RGB pixels from 0 to 255, ``(n, size, size, 3)``, to probabilities.
        labels: The class of each output.
        size: Side of the input in pixels.
        resize: How images are brought to that size.
    """

    model: Any
    labels: tuple[str, ...]
    size: int
    resize: Resize

    def save(self, path: Path) -> None:
        """Write the model as a ``.keras`` file that plain Keras loads in safe mode.

        Class names, size and resize rule go with it as ``tlearn.json`` inside the archive.
        """
        self.model.save(path)
        card = {"labels": list(self.labels), "size": self.size, "resize": self.resize}
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr(CARD, json.dumps(card, ensure_ascii=False))

    @classmethod
    def load(cls, path: Path) -> "Classifier":
        """Load a saved model, in Keras's safe mode.

        Raises:
            RunError: If the file is damaged or was not written by :meth:`save`.
        """
        try:
            with zipfile.ZipFile(path) as archive:
                damaged = archive.testzip()  # Keras reads the weights without their checksum
                if damaged:
                    raise zipfile.BadZipFile(f"{damaged} is damaged")
                card = json.loads(archive.read(CARD))
            labels, size, resize = tuple(card["labels"]), int(card["size"]), card["resize"]
            model = keras.models.load_model(path, compile=False, safe_mode=True)
        # A damaged archive, JSON or weights file raises what its reader pleases.
        except Exception as error:  # noqa: BLE001
            raise RunError(
                f"the model {str(path)!r} cannot be loaded: {one_line(error)}; train again, or "
                f"put the whole run back"
            ) from None
        return cls(model, labels, size, resize)

    @cached_property
    def _engine(self) -> TensorFlowEngine:
        return TensorFlowEngine(self.model, self.size)

    def predict(self, paths: Sequence[Path]) -> Iterator[tuple[Path, np.ndarray | DataError]]:
        """Yield each path with its probabilities ``(classes,)``, or with why it has none, in order.

        Images are decoded in threads while the model computes; memory does not grow with their
        number.
        """
        waiting: list[tuple[Path, np.ndarray | DataError]] = []
        ready = 0
        for path, found in map_ahead(self._read, paths):
            waiting.append((path, found))
            ready += isinstance(found, np.ndarray)
            if ready == BATCH:
                yield from _answered(self._engine, waiting)
                waiting, ready = [], 0
        yield from _answered(self._engine, waiting)

    def _read(self, path: Path) -> tuple[Path, np.ndarray | DataError]:
        try:
            return path, images.read_pixels(path, self.size, self.resize)
        except DataError as error:
            return path, error


def _answered(
    engine: TensorFlowEngine, waiting: Sequence[tuple[Path, np.ndarray | DataError]]
) -> Iterator[tuple[Path, np.ndarray | DataError]]:
    """Put probabilities in the place of pixels."""
    pixels = [found for _, found in waiting if isinstance(found, np.ndarray)]
    answers = iter(engine(np.stack(pixels))[0] if pixels else ())
    for path, found in waiting:
        yield path, (next(answers) if isinstance(found, np.ndarray) else found)
