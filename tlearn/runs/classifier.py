"""The saved model: how it is written, and the one path by which it predicts.

Neither Keras nor TensorFlow is imported here before it is needed: where OpenVINO is the engine, and
has met the model before, predicting starts at once.
"""

import contextlib
import hashlib
import importlib
import json
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tlearn.backbones import load_registry
from tlearn.cache_folder import cache_folder
from tlearn.config import Augmentation, Resize
from tlearn.data import images
from tlearn.data.file_reading import content_hash
from tlearn.data.pixel_values import DEFAULT_RANGES, ValueRanges
from tlearn.data.prefetch import batched, in_store, prefetch_map, readers
from tlearn.data.views import Rendering
from tlearn.errors import CacheError, DataError, RunError, one_line
from tlearn.features.activation_cache import compiled_path
from tlearn.features.cluster_engine import ClusterEngine, check_cluster
from tlearn.features.engines import Choice, Engine, choose, outputs_of
from tlearn.features.engines.portable import PortableNetwork
from tlearn.python_files import HEADS, is_trusted, run_file

METADATA_MEMBER = "tlearn.json"  # in the model file, a zip archive; Keras ignores it
BETWEEN = " + "  # the names of the backbones of an ensemble
OUTPUT = "probabilities"
FEATURES = "features"
OUTPUTS = (OUTPUT, FEATURES)
MIRROR = 1  # the view that is the mirror image of the plain one
ADVICE = "train again, or put the whole run back"
ArrayOrError = np.ndarray | DataError  # pixels or probabilities, or why there are none


class ModelOutputs(NamedTuple):
    """What a saved model gives for an image, or for ``n`` images.

    Attributes:
        probabilities: ``(classes,)`` or ``(n, classes)``, from 0 to 1.
        features: ``(m, k)`` or ``(n, m, k)``, as those of
            :func:`tlearn.features.model_features.with_features`, of the plain view: the nearer, the
            more alike are two images to the model, as it is (the last) or before fine-tuning (the
            first, which may be the same).
    """

    probabilities: np.ndarray
    features: np.ndarray


def save(
    model: Any,
    path: Path,
    labels: Sequence[str],
    size: int,
    resize: Resize,
    backbone: str,
    ranges: ValueRanges = DEFAULT_RANGES,
    tta: int = 1,
) -> None:
    """Write a model as a ``.keras`` file that plain Keras loads in safe mode.

    The model maps RGB pixels from 0 to 255, ``(n, size, size, 3)``, to probabilities. Inside the
    archive, ``tlearn.json`` has class names, backbone, and how photos become its pixels.
    """
    model.save(path)
    card = {
        "labels": list(labels),
        "backbone": backbone,
        "pixels": "tlearn.load_image(path, size, resize, integer_range, float_range)",
        "size": size,
        "resize": resize,
        "tta": tta,
        **ranges._asdict(),
    }
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(METADATA_MEMBER, json.dumps(card, ensure_ascii=False))


@dataclass(frozen=True)
class Classifier:
    """A saved model with what it needs to be used.

    Attributes:
        size: Side of the input in pixels.
        resize: How images are brought to that size.
        backbone: The name of the backbone it was made from; of an ensemble the names.
        ranges: The values that become black and white in images of more than 8 bits.
        choice: What computes predictions.
        digest: Hash of the file.
        tta: Views of each image whose probabilities are averaged.
        in_memory: The Keras model that was just saved there, if it is still at hand.
        cluster: Where the images of :meth:`predict` are computed, as of
            :class:`tlearn.config.RunConfig`; here if empty.
    """

    path: Path
    labels: tuple[str, ...]
    size: int
    resize: Resize
    backbone: str
    ranges: ValueRanges
    choice: Choice
    digest: str
    tta: int = 1
    in_memory: Any = None
    cluster: str = ""

    @classmethod
    def load(cls, path: Path, choice: Choice | None = None, in_memory: Any = None) -> "Classifier":
        """Open a saved model.

        Args:
            path: The file.
            choice: What computes predictions; chosen by the rule of the engines if not given.
            in_memory: The very model that was saved there, if Keras need not read it again.

        Raises:
            RunError: If the file is damaged or was not written by :func:`save`.
        """
        with _explain_errors(path):
            digest = _digest_of(path)
            with zipfile.ZipFile(path) as archive:
                damaged = archive.testzip()  # Keras reads the weights without their checksum
                if damaged:
                    raise zipfile.BadZipFile(f"{damaged} is damaged")
                card = json.loads(archive.read(METADATA_MEMBER))
            labels, size = tuple(card["labels"]), int(card["size"])
            resize, backbone = card["resize"], str(card["backbone"])
            tta = int(card["tta"])
            ranges = ValueRanges(tuple(card["integer_range"]), tuple(card["float_range"]))
        choice = choice or choose()
        return cls(path, labels, size, resize, backbone, ranges, choice, digest, tta, in_memory)

    @property
    def modules(self) -> list[str]:
        """The modules that define the layers of its backbones which are not Keras's own."""
        known = load_registry().backbones
        names = [name for name in self.backbone.split(BETWEEN) if name in known]
        return [module for name in names for module in known[name].modules]

    @cached_property
    def model(self) -> Any:
        """The Keras model, loaded in Keras's safe mode if it is not at hand.

        A backbone may have layers that are not Keras's own: its plugin says which modules define
        them. So may a head of the user's own: its file is run if it was on this machine before.
        What the model names itself is not imported.

        Raises:
            RunError: If it cannot be loaded.
        """
        if self.in_memory is not None:
            return self.in_memory
        from tlearn.features.keras_build import random_numbers_from
        from tlearn.keras_import import keras

        advice, trusted, others = ADVICE, list[Path](), list[Path]()
        for file in sorted(self.path.parent.glob(HEADS)):
            (trusted if is_trusted(file) else others).append(file)
        if others:
            advice = (
                f"its head may have layers of {str(others[0])!r}, which was never trained with on "
                f"this machine; if you trust that file, put it into a folder and give that as "
                f"--plugins-dir"
            )
        for name in filter(None, self.backbone.split(BETWEEN)):
            if name not in load_registry().backbones:
                advice = f"install a package with the backbone {name!r}"
        with _explain_errors(self.path, advice):
            for module in self.modules:
                importlib.import_module(module)
            for file in trusted:
                run_file(file)
            with random_numbers_from(0):  # initialisers that are loaded draw seeds
                model = keras.models.load_model(self.path, compile=False, safe_mode=True)
            digest = _digest_of(self.path)
        if digest != self.digest:
            raise RunError(f"the model {str(self.path)!r} was written again meanwhile; try again")
        return model

    @cached_property
    def _engine(self) -> Engine:
        return self.choice.engine_for(self._with_features, OUTPUTS, self.size, self._compiled())

    def _compiled(self) -> Path | None:
        """Return where the compiled model belongs, if it can be cached."""
        try:
            return compiled_path(cache_folder(), {"model": self.digest, "outputs": OUTPUTS})
        except CacheError:
            return None

    def _with_features(self, _: Sequence[str]) -> Any:
        """Return the model with its features beside the probabilities."""
        from tlearn.features.model_features import with_features

        return with_features(self.model)

    def make_ready(self) -> None:
        """Load and compile the model now; else the first prediction does."""
        _ = self._engine

    def predict(self, paths: Sequence[Path]) -> Iterator[tuple[Path, ArrayOrError]]:
        """Yield each path with its probabilities ``(classes,)``, or with why it has none, in order.

        Images are decoded in threads while the model computes; memory does not grow with their
        number.
        """
        for path, outputs in self.predict_with_features(paths):
            yield path, outputs if isinstance(outputs, DataError) else outputs.probabilities

    def predict_with_features(
        self, paths: Sequence[Path]
    ) -> Iterator[tuple[Path, ModelOutputs | DataError]]:
        """Yield what :meth:`predict` yields, and the features of each image, in the same pass."""
        if self.cluster:
            yield from self._predict_on_cluster(paths)
            return
        engine, views = self._engine, list[ModelOutputs]()
        for batch, outputs in engine.map(_batches(self._views(paths), engine.batch)):
            rows = map(ModelOutputs, *outputs)
            for path, pixels in batch:
                if isinstance(pixels, DataError):
                    yield path, pixels
                    continue
                views.append(next(rows))
                if len(views) == self.tta:
                    yield path, _mean_of(views)
                    views.clear()

    def _predict_on_cluster(
        self, paths: Sequence[Path]
    ) -> Iterator[tuple[Path, ModelOutputs | DataError]]:
        """Do as :meth:`predict_with_features`, with the processors of the cluster."""
        names, choice = self.backbone.split(BETWEEN), self.choice
        check_cluster(self.cluster, names, choice.engine, choice.precision)
        network = PortableNetwork.of(
            self.choice,
            self._with_features,
            OUTPUTS,
            self.size,
            self._compiled(),
            modules=self.modules,
        )
        render = replace(self, in_memory=None)._render  # without what is loaded
        engine = ClusterEngine(self.cluster, network)
        for shard, counts, outputs in engine.map(render, paths, in_store=in_store(paths)):
            rows = map(ModelOutputs, *outputs) if outputs else iter(())  # none can be read
            for path, count in zip(shard, counts, strict=True):
                if isinstance(count, DataError):
                    yield path, count
                else:
                    yield path, _mean_of(list(islice(rows, count)))

    def _render(self, path: Path) -> ArrayOrError:
        return self.read_views(path)[1]

    def predict_pixels(self, pixels: Sequence[np.ndarray]) -> np.ndarray:
        """Return the probabilities of views, ``(n, classes)``.

        Args:
            pixels: At least one view, each uint8, ``(size, size, 3)``.
        """
        probabilities, _ = outputs_of(self._engine, pixels)
        return probabilities

    @property
    def batch(self) -> int:
        """How many views are computed at a time."""
        return self._engine.batch

    def outputs_of(self, photos: Sequence[np.ndarray]) -> list[ModelOutputs]:
        """Return what the model gives for photos, each as :meth:`views_of` gives it.

        Several threads may call it at once.
        """
        probabilities, features = outputs_of(self._engine, list(np.concatenate(photos)))
        means = probabilities.reshape(len(photos), self.tta, -1).mean(axis=1)
        return list(map(ModelOutputs, means, features[:: self.tta]))

    def _views(self, paths: Sequence[Path]) -> Iterator[tuple[Path, ArrayOrError]]:
        """Yield each path with each of its views, or once with why it has none."""
        for path, views in prefetch_map(self.read_views, paths, threads=readers(paths)):
            yield from (
                [(path, views)] if isinstance(views, DataError) else ((path, v) for v in views)
            )

    def read_views(self, path: Path) -> tuple[Path, ArrayOrError]:
        """Return a path with the views of its image, uint8 ``(tta, size, size, 3)``, or why not."""
        try:
            return path, self.views_of(images.read_bytes(path))
        except DataError as error:
            return path, error

    def views_of(self, data: bytes) -> np.ndarray:
        """Return the views of an image file, uint8 ``(tta, size, size, 3)``.

        Raises:
            DataError: If the bytes are no image or a damaged one; the message is the reason alone.
        """
        image = images.decode(data, self.size, self.ranges)
        rendering = Rendering(self.size, self.resize, Augmentation())
        content = content_hash(data) if self.tta > MIRROR else ""
        views = [
            rendering.render(image, content, view) for view in range(self.tta) if view != MIRROR
        ]
        if self.tta > MIRROR:
            views.insert(MIRROR, views[0][:, ::-1])
        return np.stack(views)


def _digest_of(path: Path) -> str:
    return hashlib.blake2b(path.read_bytes(), digest_size=16).hexdigest()


@contextlib.contextmanager
def _explain_errors(path: Path, advice: str = ADVICE) -> Iterator[None]:
    """Say what to do about a file that is no saved model."""
    try:
        yield
    # A damaged archive, JSON or weights file raises what its reader pleases.
    except Exception as error:  # noqa: BLE001
        raise RunError(
            f"the model {str(path)!r} cannot be loaded: {one_line(error)}; {advice}"
        ) from None


def _mean_of(views: Sequence[ModelOutputs]) -> ModelOutputs:
    """Return what a model gives for an image, from what it gives for each of its views."""
    mean = np.mean([view.probabilities for view in views], axis=0)
    return ModelOutputs(mean, views[0].features)


def _batches(
    files: Iterator[tuple[Path, ArrayOrError]], size: int
) -> Iterator[tuple[list[tuple[Path, ArrayOrError]], list[np.ndarray]]]:
    """Yield batches of files, with unreadable ones among them, and the pixels of the others."""
    for batch in batched(files, size):
        yield batch, [image for _, image in batch if isinstance(image, np.ndarray)]
