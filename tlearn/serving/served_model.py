"""A run in memory that answers, and its replacement while it does."""

import base64
import io
import os
import tempfile
import threading
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import numpy as np

from tlearn.errors import DataError
from tlearn.runs.classifier import ModelOutputs
from tlearn.runs.explanation import Method, explain, overlays
from tlearn.runs.explanation_files import record_of
from tlearn.runs.predictions import Prediction
from tlearn.runs.run import Run
from tlearn.serving.batching import Batcher
from tlearn.serving.server_metrics import BATCH_IMAGES


class ServedModel:
    """The model of a run, loaded and compiled, with the threads that compute batches.

    Args:
        path: The run directory.

    Attributes:
        name: That of the run.

    Raises:
        RunError: If it has no usable model.
    """

    def __init__(self, path: Path) -> None:
        self.run = Run(path)
        self.name = self.run.path.name
        classifier = self.run.classifier
        classifier.make_ready()
        _ = self.run.unknown_detector  # now, not with the first request
        self._explaining = threading.Lock()
        self._batcher = Batcher(
            classifier.outputs_of,
            max(1, classifier.batch // classifier.tta),
            os.cpu_count() or 1,
            BATCH_IMAGES.labels(self.name).observe,
        )

    def card(self) -> dict[str, Any]:
        """Return what a client may want to know of the model."""
        classifier = self.run.classifier
        split = self.run.measured_split
        return {
            "name": self.name,
            "labels": list(classifier.labels),
            "backbone": classifier.backbone,
            "size": classifier.size,
            "digest": classifier.digest,
            "accuracy": self.run.metrics[split]["accuracy"],
            "measured_on": split,
        }

    def decode(self, data: bytes) -> np.ndarray:
        """Return the views of an image file; see :meth:`Classifier.views_of`."""
        return self.run.classifier.views_of(data)

    def submit(self, views: np.ndarray) -> "Future[ModelOutputs]":
        """Have the model compute an image, in a batch with those of other requests."""
        return self._batcher.submit(views)

    def predictions(
        self, images: list[tuple[str, ModelOutputs | DataError]], top: int, reject: float
    ) -> list[Prediction]:
        """Return the predictions for images by their names, from what the model gives for them."""
        named = [(Path(name), outputs) for name, outputs in images]
        return list(self.run.predictions_of(named, top, reject))

    def explain(self, name: str, data: bytes, method: Method, label: str | None) -> dict[str, Any]:
        """Return what :func:`tlearn.runs.explanation_files.record_of` says of an image file.

        ``overlays`` has the photo with each heat map over it, by method, as PNG in base64. One is
        made at a time, for it takes all cores.

        Raises:
            DataError: If the bytes are no image, or there is no such class.
        """
        with self._explaining, tempfile.TemporaryDirectory() as folder:
            photo = Path(folder) / "image"
            photo.write_bytes(data)
            (explanation,) = explain(self.run, [photo], method=method, label=label)
            record = record_of(explanation) | {"path": name, "overlays": {}}
            pictures = {} if explanation.problem else overlays(self.run, explanation)
            for kind, picture in pictures.items():
                file = io.BytesIO()
                picture.save(file, "PNG")
                record["overlays"][kind] = base64.b64encode(file.getvalue()).decode("ascii")
            return record

    def close(self) -> None:
        """Answer what was submitted, and end the threads."""
        self._batcher.close()
