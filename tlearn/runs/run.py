"""A finished run, for use from Python."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path, PurePath
from typing import Any, Literal, get_args

import numpy as np
import pyarrow.compute as pc

from tlearn.csv_files import read_columns
from tlearn.data.columns import hashes_of
from tlearn.data.earlier_splits import EarlierSplits
from tlearn.data.file_table import FileTable
from tlearn.data.image_paths import PathLike, image_paths
from tlearn.data.layouts import SPLITS
from tlearn.data.prefetch import batched
from tlearn.data.scan import scan
from tlearn.data.scan_cache import ScanCache
from tlearn.data.splits import COLUMNS as SPLIT_COLUMNS, Splits
from tlearn.errors import ConfigError, DataError, RunError
from tlearn.features.engines import choose
from tlearn.object_stores import as_path
from tlearn.progress import Progress, Silent
from tlearn.runs.classifier import Classifier, ModelOutputs
from tlearn.runs.measurement import measure_files
from tlearn.runs.outputs import Outputs
from tlearn.runs.predictions import Prediction
from tlearn.runs.run_records import RunRecords
from tlearn.runs.unknown import REJECT, UnknownDetector
from tlearn.settings import make_config

CountedSplit = Literal["auto", "train", "validation", "test", "all"]
BATCH = 16  # photos that are looked at together, whether they are unknown


@dataclass(frozen=True)
class Evaluation:
    """Figures over labelled images.

    Attributes:
        metrics: As one split of ``metrics.json``.
        trained_on: How many images of the folder were trained on, and not counted.
        selected_on: How many of those counted were the validation images of a training with stages,
            which was used for model selection.
        unknown: How many images were not counted because the model does not know their class, by
            that class.
        unreadable: Files that could not be read, with the reason.
    """

    metrics: dict[str, Any]
    trained_on: int
    selected_on: int
    unknown: dict[str, int]
    unreadable: tuple[tuple[str, str], ...]


class Run(RunRecords):
    """A finished training.

    Args:
        path: The run directory, or its URL in a store, from where it is downloaded.
        engine: What computes predictions: ``auto``, ``tensorflow`` or ``openvino``.
        precision: What they are computed in: ``auto``, ``float32`` or ``bfloat16``.
        tta: Views of each image whose probabilities are averaged; those of the model if not given.
        cluster: Where predictions are computed, as of :class:`tlearn.RunConfig`; here if empty.

    Raises:
        RunError: If it is no run or not finished.
        ConfigError: If there are no such numbers of views, or the cluster is no address.
    """

    def __init__(
        self,
        path: PathLike,
        engine: str = "auto",
        precision: str = "auto",
        tta: int | str | None = None,
        cluster: str = "",
    ) -> None:
        super().__init__(path)
        self._engine = (engine, precision)
        self._tta = None if tta is None else make_config(options={"tta": tta}).tta
        self._cluster = make_config(options={"cluster": cluster}).cluster

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r})"

    @cached_property
    def classifier(self) -> Classifier:
        """The saved model with its labels and resize rule.

        Raises:
            ConfigError: If the engine is not installed or the machine lacks the precision.
            RunError: If the model is damaged.
        """
        classifier = Classifier.load(self.path / "model.keras", choose(*self._engine))
        return replace(classifier, tta=self._tta or classifier.tta, cluster=self._cluster)

    @cached_property
    def model(self) -> Any:
        """The Keras model: pixels from 0 to 255 in, probabilities out.

        It was called once: some exporters need that.
        """
        model, size = self.classifier.model, self.classifier.size
        model(np.zeros((1, size, size, 3), np.float32), training=False)
        return model

    @property
    def labels(self) -> tuple[str, ...]:
        """The class of each output."""
        return self.classifier.labels

    def outputs(self) -> Outputs:
        """Return what the saved model gives for held-out images and a sample of training images.

        Raises:
            RunError: If ``outputs.npz`` is missing or damaged.
        """
        with self._explaining("outputs.npz"):
            return Outputs.from_bytes((self.path / "outputs.npz").read_bytes())

    def images(self, split: Literal["train", "validation", "test"]) -> list[tuple[Path, str]]:
        """Return path and class of the images of one split, at their paths in the training.

        Raises:
            DataError: If one of them is no longer there.
        """
        files = dict(self.dataset().items())[split]
        for file in files:
            if not file.path.is_file():
                raise DataError(
                    f"{str(file.path)!r} is no longer where the run {str(self.path)!r} found it; "
                    f"put the photos back to {str(self.photo_folder)!r}"
                )
        return [(file.path, file.label) for file in files]

    def dataset(self) -> Splits:
        """Return the images of each split, at their paths in the training.

        Raises:
            RunError: If ``splits.csv`` is missing or damaged.
        """
        with self._explaining("splits.csv"):
            rows = read_columns(self.path / "splits.csv", SPLIT_COLUMNS)
            names, labels, splits, contents, groups = (c.combine_chunks() for c in rows.columns)
            files = FileTable.of_columns(
                self.photo_folder,
                names,
                label=labels,
                group=groups,
                content=hashes_of(contents),
            )
            if {*splits.unique().to_pylist()} - set(SPLITS):
                raise ValueError("it does not hold the splits of the images")
            parts = (np.flatnonzero(pc.equal(splits, split)) for split in SPLITS)
            return Splits(self.labels, *(files[part] for part in parts))

    def predict(
        self, paths: PathLike | Iterable[PathLike], top: int = 3, reject: float = REJECT
    ) -> list[Prediction]:
        """Predict images; folders, archives and tables stand for all files in them.

        Args:
            paths: The images.
            top: How many classes to give for each.
            reject: The part of photos of the known classes that may be called unknown, 0 to 0.5;
                the larger, the more photos of other kinds are found. With 0 none is.

        Raises:
            ConfigError: If ``reject`` is out of bounds.
            DataError: If a path does not exist or nothing is found.
        """
        return list(self.iter_predictions(paths, top, reject=reject))

    @cached_property
    def unknown_detector(self) -> UnknownDetector:
        """What tells photos of other kinds from those of the known classes.

        Raises:
            RunError: If ``outputs.npz`` is missing or damaged.
        """
        try:
            return UnknownDetector(self.outputs())
        except RunError as error:
            raise RunError(f"{error}, or predict without unknown photos: --reject 0") from None

    def iter_predictions(
        self,
        paths: PathLike | Iterable[PathLike],
        top: int = 3,
        progress: Progress | None = None,
        reject: float = REJECT,
    ) -> Iterator[Prediction]:
        """Yield predictions in order while they are made; see :meth:`predict`."""
        if reject:
            self.unknown_detector.threshold(reject)  # wrong values are refused before any work
        files = image_paths([paths] if isinstance(paths, str | PurePath) else paths, progress)
        with (progress or Silent()).task("predicting", len(files), "images") as task:
            for batch in batched(self.classifier.predict_with_features(files), BATCH):
                for prediction in self.predictions_of(batch, top, reject):
                    task.advance()
                    yield prediction

    def predictions_of(
        self,
        images: Sequence[tuple[Path, ModelOutputs | DataError]],
        top: int = 3,
        reject: float = REJECT,
    ) -> Iterator[Prediction]:
        """Yield the predictions for images, from what the model gives for them.

        Args:
            images: Each with its path, as :meth:`Classifier.predict_with_features` yields them.
            top: As of :meth:`predict`.
            reject: As of :meth:`predict`.
        """
        threshold = self.unknown_detector.threshold(reject) if reject else math.inf
        readable = [outputs for _, outputs in images if not isinstance(outputs, DataError)]
        strange = iter(self.unknown_detector.each(readable) if reject else [])
        for path, outputs in images:
            if isinstance(outputs, DataError):
                yield Prediction(path, (), str(outputs))
                continue
            score, distance = next(strange, (0.0, 0.0))
            p = outputs.probabilities
            best = np.argsort(-p, kind="stable")[: max(1, top)]
            ranked = tuple((self.labels[i], float(p[i])) for i in best)
            yield Prediction(path, ranked, "", score > threshold, distance)

    def evaluate(
        self,
        data: PathLike,
        split: CountedSplit = "auto",
        progress: Progress | None = None,
        strict: bool = False,
    ) -> Evaluation:
        """Measure the saved model on a folder of labelled images.

        Images are recognised by their content, whatever their path.

        Args:
            data: As of :func:`tlearn.finetune`. Images of classes that the model does not know are
                not counted.
            split: Which to count: ``auto`` are all that were not trained on, ``validation`` and
                ``test`` those of that split of the training.
            progress: Where to show progress.
            strict: Refuse images that cannot be read, and classes that the model does not know.

        Raises:
            ConfigError: If there is no such split.
            DataError: If there is nothing to count, or ``strict`` refuses.
        """
        if split not in get_args(CountedSplit):
            allowed = ", ".join(get_args(CountedSplit))
            raise ConfigError(f"split must be one of {allowed}. Received: {split!r}")
        folder = as_path(data)
        manifest = scan(folder, progress=progress, cache=ScanCache(folder))
        counts = manifest.files.labels.counts()
        unknown = {label: n for label, n in counts.items() if label not in self.labels}
        if unknown and strict:
            raise DataError(
                f"{str(data)!r} has classes the model does not know: {', '.join(list(unknown)[:5])}"
                f"; it knows {', '.join(self.labels)}; leave out --strict to count the others"
            )
        if strict:
            manifest.refuse_unreadable()
        known = manifest.files[~manifest.files.labels.are(*unknown)]
        if not known:
            raise DataError(
                f"{str(data)!r} has no class that the model knows, but "
                f"{', '.join(list(unknown)[:5])}; it knows {', '.join(self.labels)}; give photos "
                f"of these"
            )
        before = EarlierSplits.of_rows(self.split_rows()).contents.find(known.content_array())
        files = known[_counts(before, split)]
        if not files and split == "auto":
            raise DataError(
                f"all {len(known)} images below {str(data)!r} were trained on, so they say little "
                f"of new ones; give others, or --split all to count them"
            )
        if not files:
            raise DataError(
                f"none of the {len(known)} images below {str(data)!r} belong to "
                f"--split {split}; --split all counts those that were trained on too"
            )
        metrics, _ = measure_files(self.classifier, files, progress)
        trained_on = int((before == SPLITS.index("train")).sum())
        staged = len(self.metrics["stages"]) > 1
        of_validation = _counts(before, split) & (before == SPLITS.index("validation"))
        return Evaluation(
            metrics,
            trained_on if split == "auto" else 0,
            int(of_validation.sum()) if staged else 0,
            unknown,
            tuple((p.name, p.reason) for p in manifest.unreadable),
        )


def _counts(splits: np.ndarray, counted: CountedSplit) -> np.ndarray:
    """Return which images count, ``(n,)`` bool, by the positions of the splits they were in."""
    if counted == "all":
        return np.ones(len(splits), bool)
    if counted == "auto":
        return np.asarray(splits != SPLITS.index("train"))
    return np.asarray(splits == SPLITS.index(counted))
