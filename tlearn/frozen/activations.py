"""The activations of images: computed where they are missing, kept, and read back."""

import hashlib
import json
import shutil
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType

import keras
import numpy as np
from PIL import Image

from tlearn.data import images
from tlearn.data.ahead import map_ahead
from tlearn.data.scan import ImageFile, content_hash
from tlearn.data.views import Rendering
from tlearn.errors import CacheError, DataError
from tlearn.frozen.cache import Space
from tlearn.frozen.engine import BATCH, TensorFlowEngine
from tlearn.frozen.trunk import Cut, Trunk, pooled, preprocessed
from tlearn.progress import Progress, Silent

FEATURES = "features"  # the output that holds all pooled taps, side by side
HALF = np.finfo(np.float16)

Item = tuple[ImageFile, int]  # an image and the number of a view


class Activations:
    """What a trunk's frozen part gives for views of images, at its taps and at some cuts.

    Rows are found by the image's content and by what renders the view; spaces by the backbone, the
    digest of its weights, the place, the size and the precision. So neither a path nor a date nor
    a run plays a part, and every later run of the same photos finds them.

    Args:
        trunk: The backbone with its pristine weights.
        rendering: How views are made.
        cuts: The cuts whose activations are wanted; the pooled taps always are.
        root: The cache folder.
    """

    def __init__(self, trunk: Trunk, rendering: Rendering, cuts: Iterable[Cut], root: Path) -> None:
        self.trunk, self.rendering = trunk, rendering
        self._cuts = {cut.name: cut for cut in cuts}
        width = sum(tap.width for tap in trunk.taps)
        self._spaces = {FEATURES: self._space(root, FEATURES, (width,), "float32")}
        for name, cut in self._cuts.items():
            shape = tuple(int(n) for n in cut.tensor.shape[1:])
            dtype = "uint8" if cut.index == 0 else "float16"
            self._spaces[name] = self._space(root, name, shape, dtype, cut.side)
        self._hows: dict[int, bytes] = {}  # what renders a view, as the second half of row keys
        self._engines: dict[tuple[str, ...], TensorFlowEngine] = {}

    def _space(
        self, root: Path, output: str, shape: Sequence[int], dtype: str, side: str = ""
    ) -> Space:
        pixels = {"output": output, "size": self.trunk.size, "resize": self.rendering.resize}
        network = {
            "backbone": self.trunk.backbone.name,
            "weights": self.trunk.digest,
            "side": side,
            "preprocess": repr(self.trunk.backbone.preprocess),
            "taps": [tap.name for tap in self.trunk.taps] if output == FEATURES else [],
            "precision": "float32",
        }
        key = pixels if output == "pixels" else {**pixels, **network}
        return Space(root, key, shape, dtype)

    def __enter__(self) -> "Activations":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for space in self._spaces.values():
            space.close()

    def features(self, items: Sequence[Item]) -> np.ndarray:
        """Return the pooled taps, ``(n, width)`` float32, taps upwards, averages before maxima."""
        return self._spaces[FEATURES].get([self._row(*item) for item in items])

    def at(self, cut: Cut, items: Sequence[Item]) -> np.ndarray:
        """Return the activations at a cut: float16, or uint8 pixels at cut 0."""
        return self._spaces[cut.name].get([self._row(*item) for item in items])

    def keep(
        self,
        items: Sequence[Item],
        progress: Progress | None = None,
        outputs: Sequence[str] | None = None,
    ) -> int:
        """Compute and keep what is missing; return how many views were computed.

        Args:
            items: The views.
            progress: Where to show progress.
            outputs: Names of cuts, and :data:`FEATURES`; all if not given.

        Raises:
            DataError: If an image can no longer be read.
            CacheError: If there is no room for what is missing, or it cannot be written.
        """
        todo = self._missing(items, self._spaces if outputs is None else outputs)
        total = sum(len(views) for views in todo.values())
        if not total:
            return 0
        self._check_room(todo)
        waiting: dict[tuple[str, ...], list[tuple[bytes, np.ndarray]]] = defaultdict(list)
        with (progress or Silent()).task("computing activations", total, "views") as task:
            for key, outputs, pixels in self._rendered(todo):
                rows = waiting[outputs]
                rows.append((key, pixels))
                if len(rows) == BATCH:
                    self._compute(outputs, rows)
                    task.advance(len(rows))
                    rows.clear()
            for outputs, rows in waiting.items():
                if rows:
                    self._compute(outputs, rows)
                    task.advance(len(rows))
        return total

    def compute(self, pixels: np.ndarray, outputs: Sequence[str]) -> dict[str, np.ndarray]:
        """Run the frozen part over pixels without keeping anything.

        Args:
            pixels: uint8, ``(n, size, size, 3)``.
            outputs: Names of cuts, and :data:`FEATURES`.
        """
        results: dict[str, np.ndarray] = {}
        computed = tuple(name for name in outputs if name != "pixels")
        if computed:
            results = dict(zip(computed, self._engine(computed)(pixels), strict=True))
        for name in results.keys() - {FEATURES}:
            results[name] = np.clip(results[name], HALF.min, HALF.max).astype(np.float16)
        if "pixels" in outputs:
            results["pixels"] = pixels
        return results

    def _row(self, file: ImageFile, view: int) -> bytes:
        if view not in self._hows:  # the same for every image, and asked for at every step
            augment = json.dumps(self.rendering.key(view).get("augment"), sort_keys=True)
            how = hashlib.blake2b(f"{view}:{augment}".encode(), digest_size=8)
            self._hows[view] = how.digest()
        return bytes.fromhex(file.content) + self._hows[view]

    def _missing(
        self, items: Sequence[Item], outputs: Iterable[str]
    ) -> dict[ImageFile, dict[int, tuple[str, ...]]]:
        """For each image, its views that lack outputs, and which; identical images once."""
        rows = {self._row(file, view): (file, view) for file, view in reversed(items)}
        lacking: dict[bytes, list[str]] = defaultdict(list)
        for name in outputs:
            for key in self._spaces[name].missing(rows):
                lacking[key].append(name)
        todo: dict[ImageFile, dict[int, tuple[str, ...]]] = defaultdict(dict)
        for key in reversed(rows):  # in the order of the items
            if key in lacking:
                file, view = rows[key]
                todo[file][view] = tuple(lacking[key])
        return todo

    def _check_room(self, todo: Mapping[ImageFile, Mapping[int, tuple[str, ...]]]) -> None:
        names = [name for views in todo.values() for lacking in views.values() for name in lacking]
        needed = sum(self._spaces[name].row_bytes for name in names)
        folder = self._spaces[FEATURES].folder
        free = shutil.disk_usage(folder).free
        if needed > free:
            raise CacheError(
                f"keeping activations takes {needed / 1e9:.1f} GB, and {str(folder.parent)!r} has "
                f"{free / 1e9:.1f} GB free; use fewer --views, unfreeze fewer blocks, stream with "
                f"--views fresh, or set TLEARN_CACHE to a folder with room"
            )

    def _rendered(
        self, todo: Mapping[ImageFile, Mapping[int, tuple[str, ...]]]
    ) -> Iterator[tuple[bytes, tuple[str, ...], np.ndarray]]:
        """Decode each image once and yield its views: row key, outputs that lack it, pixels."""

        def work(file: ImageFile) -> list[tuple[bytes, tuple[str, ...], np.ndarray]]:
            image = read_checked(file, self.trunk.size)
            render = self.rendering.render
            return [
                (self._row(file, view), outputs, render(image, file.content, view))
                for view, outputs in todo[file].items()
            ]

        for rendered in map_ahead(work, todo):
            yield from rendered

    def _compute(self, outputs: tuple[str, ...], rows: list[tuple[bytes, np.ndarray]]) -> None:
        results = self.compute(np.stack([pixels for _, pixels in rows]), outputs)
        for name, values in results.items():
            keyed = ((key, value) for (key, _), value in zip(rows, values, strict=True))
            self._spaces[name].put(dict(keyed))

    def _engine(self, outputs: tuple[str, ...]) -> TensorFlowEngine:
        """Return the engine for a set of outputs, built when first needed."""
        if outputs not in self._engines:
            trunk = self.trunk
            tensors = [
                keras.layers.Concatenate()(pooled([tap.tensor for tap in trunk.taps]))
                if name == FEATURES
                else self._cuts[name].tensor
                for name in outputs
            ]
            prefix = keras.Model(trunk.base.input, tensors)
            pixels = keras.Input((trunk.size, trunk.size, 3))
            out = prefix(preprocessed(pixels, trunk.backbone.preprocess))
            self._engines[outputs] = TensorFlowEngine(keras.Model(pixels, out), trunk.size)
        return self._engines[outputs]


def read_checked(file: ImageFile, size: int) -> Image.Image:
    """Decode an image of a manifest, as :func:`tlearn.data.images.decode` does.

    Raises:
        DataError: If it is no longer what was scanned.
    """
    changed = f"{str(file.path)!r} changed while it was used"
    try:
        data = images.read_bytes(file.path)
        image = images.decode(data, size)
    except DataError as error:
        raise DataError(f"{changed}: {error}; start again") from None
    if content_hash(data) != file.content:
        raise DataError(f"{changed}; start again")
    return image
