"""A run in memory that answers, and its replacement while it does."""

import base64
import contextlib
import io
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from tlearn.data.prefetch import prefetch_map
from tlearn.errors import DataError, RunError
from tlearn.runs.classifier import ModelOutputs
from tlearn.runs.explanation import Method, explain, overlays
from tlearn.runs.explanation_files import record_of
from tlearn.runs.predictions import Prediction
from tlearn.runs.run import Run
from tlearn.runs.unknown import REJECT
from tlearn.serving.batching import Batcher

SPARE = 2  # batches beside those computed, so that the engine waits for no thread that ends one
Observe = Callable[[int, float], None]
Outputs = list[tuple[str, ModelOutputs | DataError]]  # by the names of images


class ServedModel:
    """The model of a run, loaded and compiled, with the threads that compute batches.

    Args:
        path: The run directory.
        observe: Called with the images of each batch, and the seconds that it took.

    Attributes:
        name: That of the run.
        digest: Hash of the file of the model.
        at_once: How many images use all cores.
        rate: Images a second that the engine computed at the start, in full batches.
        card: What a client may want to know of it; see
            :class:`tlearn.serving.responses.ModelRecord`.

    Raises:
        RunError: If it has no usable model, or is being written.
    """

    def __init__(self, path: Path, observe: Observe = lambda images, seconds: None) -> None:
        self.run = Run(path)
        self.name = self.run.path.resolve().name
        self._written = list(self._stamps())
        classifier = self.run.classifier
        self.digest = classifier.digest
        # Computed once before threads do: OpenVINO prepares itself in the first call, and two first
        # calls at a time wait for each other for ever, one with Python's lock, one with its own.
        blank = np.zeros((classifier.tta, *[classifier.size] * 2, 3), np.uint8)
        classifier.outputs_of([blank])
        most, cores = max(1, classifier.batch // classifier.tta), os.cpu_count() or 1
        self.at_once = most * cores
        self.rate = self._rate_of([blank] * most, cores)
        _ = self.run.unknown_detector  # now, not with the first request
        split = self.run.measured_split
        self.card = {
            "name": self.name,
            "labels": list(classifier.labels),
            "backbone": classifier.backbone,
            "size": classifier.size,
            "digest": classifier.digest,
            "accuracy": self.run.metrics[split]["accuracy"],
            "measured_on": split,
        }
        self._check_unchanged()

        def compute(images: Sequence[np.ndarray]) -> list[ModelOutputs]:  # without a cycle to self
            start = time.perf_counter()
            outputs = classifier.outputs_of(images)
            observe(len(images), time.perf_counter() - start)
            return outputs

        self._batcher = Batcher(compute, most, cores + SPARE)

    def decode(self, data: bytes) -> np.ndarray:
        """Return the views of an image file; see :meth:`Classifier.views_of`."""
        return self.run.classifier.views_of(data)

    def submit(self, views: np.ndarray) -> "Future[ModelOutputs]":
        """Have the model compute an image, in a batch with those of other requests."""
        return self._batcher.submit(views)

    def predictions(self, outputs: Outputs, top: int, reject: float = REJECT) -> list[Prediction]:
        """Return the predictions from what the model gives for images."""
        named = [(Path(name), given) for name, given in outputs]
        return list(self.run.predictions_of(named, top, reject))

    def answer(self, outputs: Outputs, top: int, reject: float = REJECT) -> str:
        """Return the JSON of a :class:`tlearn.serving.responses.PredictionsRecord`."""
        pairs = zip(self.predictions(outputs, top, reject), outputs, strict=True)
        records = ", ".join(prediction.to_json(name) for prediction, (name, _) in pairs)
        name = json.dumps(self.name)
        return f'{{"model": {name}, "digest": "{self.digest}", "predictions": [{records}]}}'

    def outputs(self, images: Sequence[tuple[str, bytes]]) -> Outputs:
        """Return what the model gives for image files, or why there is nothing, with their names.

        They are decoded in threads, and computed with those of other callers.
        """

        def submitted(data: bytes) -> "Future[ModelOutputs] | DataError":
            try:
                return self.submit(self.decode(data))
            except DataError as error:
                return error

        given = list(prefetch_map(submitted, [data for _, data in images]))
        return [
            (name, one if isinstance(one, DataError) else one.result())
            for (name, _), one in zip(images, given, strict=True)
        ]

    def explain(self, name: str, data: bytes, method: Method, label: str | None) -> dict[str, Any]:
        """Return what :func:`tlearn.runs.explanation_files.record_of` says of an image file.

        ``overlays`` has the photo with each heat map over it, by method, as PNG in base64. For one
        thread at a time, as it takes all cores.

        Raises:
            DataError: If there is no such class.
            RunError: If the run was written again since it was loaded: it is read again for this.
        """
        self._check_unchanged()
        with tempfile.TemporaryDirectory() as folder:
            photo = Path(folder) / "image"
            photo.write_bytes(data)
            (explanation,) = explain(self.run, [photo], method=method, label=label)
            record = record_of(explanation) | {"path": name, "overlays": {}}
            pictures = {} if explanation.problem else overlays(self.run, explanation)
            for kind, picture in pictures.items():
                file = io.BytesIO()
                picture.save(file, "PNG")
                record["overlays"][kind] = base64.b64encode(file.getvalue()).decode("ascii")
        self._check_unchanged()  # nor while it was read
        return record

    def _rate_of(self, batch: Sequence[np.ndarray], cores: int) -> float:
        """Return how many images of a batch a second the engine computes on all cores."""
        batches = 2 * cores
        start = time.perf_counter()
        with ThreadPoolExecutor(cores) as threads:
            list(threads.map(self.run.classifier.outputs_of, [batch] * batches))
        return batches * len(batch) / (time.perf_counter() - start)

    def _check_unchanged(self) -> None:
        """Raise a RunError if the files of the run are others than those that were loaded."""
        if list(self._stamps()) != self._written:
            raise RunError(f"the run {self.name!r} was written again; reload the model")

    def _stamps(self) -> Iterator[tuple[int, int, int]]:
        """Yield what changes with each file that is read again, as long as it is there."""
        for file in ("model.keras", "outputs.npz"):
            with contextlib.suppress(OSError):
                status = (self.run.path / file).stat()
                yield status.st_ino, status.st_size, status.st_mtime_ns

    def close(self, wait: bool = True) -> None:
        """Answer what was submitted, and end the threads; wait for that, or not."""
        self._batcher.close(wait)
