"""The activations of images: read from the cache, or computed."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import chain
from pathlib import Path

import numpy as np

from tlearn.cluster.ray_stream import MOST_ITEMS
from tlearn.data.columns import CHUNK
from tlearn.data.file_table import ImageFile
from tlearn.data.prefetch import batched, in_store, prefetch_map, readers
from tlearn.data.scanned_photos import render_photo
from tlearn.data.views import Rendering
from tlearn.errors import CacheError
from tlearn.features.activation_cache import Cache, compiled_path
from tlearn.features.activation_store import RowFile
from tlearn.features.built_backbone import FEATURES, PIXELS, BuiltBackbone, BuiltBoundary
from tlearn.features.cache_table import CacheTable
from tlearn.features.cluster_engine import ClusterEngine
from tlearn.features.engines import Choice, Engine, outputs_of
from tlearn.features.engines.portable import PortableNetwork
from tlearn.features.image_views import ImageViews, by_image, row_keys
from tlearn.features.keras_build import digest_of
from tlearn.features.shard_rows import ShardRows
from tlearn.progress import Progress, Silent

WAITING = 2**25  # bytes of rendered views that may wait for the engine
BATCH = 64  # views at a time, where the engine has no say in it
PREFETCHED_BATCHES = 4
STORED_VIEWS = 1024  # that a worker writes into a store at a time
KEYS = 2**16  # rows that a table is asked for at a time: it writes down which are used

Arrays = dict[str, np.ndarray]  # rows by the output's name


class Activations:
    """The activations of views of images, at the taps and some boundaries of a backbone.

    Rows are found by the image's content and by what renders the view; tables by the backbone, the
    digest of its weights, the boundary, the size, the engine, the precision, and the boundaries
    computed together with it. They do not depend on paths, dates or runs, so every later run with
    the same boundaries finds them for the same photos.

    Args:
        built: The backbone with the weights it was loaded with.
        rendering: How views are made.
        boundaries: The boundaries whose activations are wanted; the pooled taps always are.
        cache: Where they are stored.
        choice: What computes them.
        progress: Where to show progress and failures of the cache.
        cluster: Where what is cached is computed, as of :class:`tlearn.config.RunConfig`; here if
            empty.
    """

    def __init__(
        self,
        built: BuiltBackbone,
        rendering: Rendering,
        boundaries: Iterable[BuiltBoundary],
        cache: Cache,
        choice: Choice,
        progress: Progress | None = None,
        cluster: str = "",
    ) -> None:
        self.built, self.rendering, self.choice, self.cache = built, rendering, choice, cache
        self.cluster = cluster
        self._usable = True  # until the cache fails
        self._progress = progress or Silent()
        boundaries = sorted(set(boundaries), key=lambda boundary: boundary.index)
        # What an engine rounds depends a little on what else it computes. So these are always
        # computed together, whichever of them is missing, and are part of what the rows are.
        wanted = {built.backbone.finetune_from, *(b.name for b in boundaries)}
        names = (b.name for b in built.boundaries[1:] if b.name in wanted)
        self._together = (*names, FEATURES)
        self._columns = built.feature_columns
        vectors = 2 if built.cached_pooling == "both" else 1
        width = sum(vectors * tap.channels for tap in built.taps)
        self._tables = {FEATURES: self._table(FEATURES, (width,), "float32")}
        for boundary in boundaries:
            shape = tuple(int(n) for n in boundary.tensor.shape[1:])
            dtype = "uint8" if boundary.name == PIXELS else "float16"
            self._tables[boundary.name] = self._table(
                boundary.name, shape, dtype, boundary.position
            )
        self._engines: dict[tuple[str, ...], Engine] = {}

    def _table(
        self, output: str, shape: Sequence[int], dtype: str, position: str = ""
    ) -> CacheTable:
        built = self.built
        key = {"output": output, "size": built.size, "resize": self.rendering.resize}
        if output != PIXELS:
            key |= {
                **self._network_key(),
                "position": position,
                "taps": [tap.name for tap in built.taps] if output == FEATURES else [],
                "together": self._together,
                "engine": self.choice.engine,
                "precision": self.choice.precision,
            }
        return self.cache.table(key, shape, dtype)

    def _network_key(self) -> dict[str, object]:
        backbone, pooling = self.built.backbone, self.built.cached_pooling
        return {
            "backbone": backbone.name,
            "weights": self.built.digest,
            "preprocess": repr(backbone.preprocess),
            **({} if pooling == "both" else {"pooling": pooling}),
        }

    @property
    def outputs(self) -> tuple[str, ...]:
        """The names of all outputs: boundaries, and the pooled taps."""
        return tuple(self._tables)

    def row_bytes(self, output: str) -> int:
        """Return the bytes of one view's row."""
        return self._tables[output].row_bytes

    def missing(self, views: ImageViews, outputs: Sequence[str]) -> dict[str, ImageViews]:
        """Return the views that lack each output, identical images once."""
        views = views.unique()
        lacking = {name: np.ones(len(views), bool) for name in outputs}
        try:
            for start in range(0, len(views), KEYS):
                keys = row_keys(self.rendering, views[start : start + KEYS])
                for name, lacks in lacking.items():
                    missing = self._tables[name].missing(keys)
                    lacks[start : start + KEYS] = [key in missing for key in keys]
        except CacheError as error:
            self._lose(error)
            return dict.fromkeys(outputs, views)
        return {name: views[lacks] for name, lacks in lacking.items()}

    def cache_missing(
        self, views: ImageViews, outputs: Sequence[str] | None = None, measured: bool = False
    ) -> int:
        """Compute and cache what is missing; return how many views were computed.

        The backbone must have the weights it was loaded with. Where rows cannot be written, it says
        so and stops caching.

        Args:
            views: The views.
            outputs: Names of boundaries, and ``features``; all if not given.
            measured: Whether it is done to measure this machine: without progress or a cluster.

        Raises:
            DataError: If an image can no longer be read.
            ClusterError: If the cluster cannot compute, or is lost; what it gave is cached.
        """
        if not self._usable:
            return 0
        progress = Silent() if measured else self._progress
        on_cluster = self.cluster and not measured
        compute = self.compute_views_on_cluster if on_cluster else self.compute_views
        lacking = self.missing(views, outputs or self.outputs)
        wanted = [name for name, its in lacking.items() if its]
        if not wanted:
            return 0
        todo = ImageViews.concatenated([lacking[name] for name in wanted]).unique()
        done = 0
        with progress.task("computing activations", len(todo), "views") as task:
            for keys, arrays in compute(todo, wanted):
                self._put(keys, arrays)
                done += len(keys)
                task.advance(len(keys))
                if not self._usable:
                    break
        return done

    def _put(self, keys: Sequence[bytes], arrays: Mapping[str, np.ndarray | RowFile]) -> None:
        try:
            for name, rows in arrays.items():
                table = self._tables[name]
                table.add(rows) if isinstance(rows, RowFile) else table.put(keys, rows)
        except CacheError as error:
            self._lose(error)

    def _lose(self, error: CacheError) -> None:
        if self._usable:
            self._progress.say(
                f"{error}. Continuing without the cache: activations are recomputed (slower)"
            )
        self._usable = False

    def batches(self, batches: Iterable[ImageViews], outputs: Sequence[str]) -> Iterator[Arrays]:
        """Yield the rows of each batch of views, ``(n, ...)`` per output.

        Batches are read, and views that are not cached rendered, in threads ahead of the caller.

        Args:
            batches: The views.
            outputs: Names of boundaries, and ``features``. Once the backbone is trained, only what
                lies below its trained layers is right.

        Raises:
            DataError: If an image can no longer be read.
        """

        def fetch(views: ImageViews) -> tuple[Arrays, list[int], list[np.ndarray]]:
            keys = row_keys(self.rendering, views)
            arrays, complete = {}, np.ones(len(views), bool)
            for name in outputs:
                arrays[name], present = self._read(name, keys)
                complete &= present
            rest = views[~complete]
            pixels = [self.render(file, [number])[0] for file, number in rest]
            return arrays, np.flatnonzero(~complete).tolist(), pixels

        before = self._damage_count()
        for arrays, lacking, pixels in prefetch_map(fetch, batches, PREFETCHED_BATCHES):
            if lacking:
                for name, rows in self.compute(pixels, outputs).items():
                    arrays[name][lacking] = rows
            features = arrays.get(FEATURES)
            if features is not None and len(self._columns) < features.shape[1]:
                arrays[FEATURES] = features[:, self._columns]
            yield arrays
        count = self._damage_count() - before
        if count:
            self._progress.say(f"{count} cached activations were damaged on disk and recomputed")

    def _read(self, output: str, keys: Sequence[bytes]) -> tuple[np.ndarray, np.ndarray]:
        table = self._tables[output]
        try:
            return table.get(keys)
        except CacheError as error:
            self._lose(error)
            return np.empty((len(keys), *table.shape), table.dtype), np.zeros(len(keys), bool)

    def _damage_count(self) -> int:
        return sum(table.damaged for table in self._tables.values())

    def rows(self, views: ImageViews, output: str) -> np.ndarray:
        """Return the rows of views, at least one: ``(n, ...)``.

        Those of ``features`` are the pooled taps, upwards, as the head sees them.
        """
        batches = self.batches(views.batches(BATCH), [output])
        return np.concatenate([arrays[output] for arrays in batches])

    def compute(self, pixels: Sequence[np.ndarray], outputs: Sequence[str]) -> Arrays:
        """Run the prefix over images without the cache; features come as they are cached.

        Args:
            pixels: Images, each ``(size, size, 3)`` uint8; at least one.
            outputs: Names of boundaries, and ``features``.
        """
        results = {PIXELS: np.stack(pixels)} if PIXELS in outputs else {}
        names = tuple(name for name in outputs if name != PIXELS)
        if names:
            results |= zip(names, outputs_of(self.engine(names), pixels), strict=True)
        return results

    def compute_views(
        self, views: ImageViews, outputs: Sequence[str]
    ) -> Iterator[tuple[list[bytes], Arrays]]:
        """Decode each image once, render its views, and yield batches of keys and rows.

        The cache is neither read nor written.

        Args:
            views: The views, those of an image after each other.
            outputs: Names of boundaries, and ``features``.
        """
        most = max(1, len(np.unique(views.numbers))) * 3 * self.built.size**2
        rendered = prefetch_map(
            lambda item: self.render(*item),
            by_image(views),
            max(4, WAITING // most),
            readers(file.path for file, _ in views[:1]),
        )
        keys = chain.from_iterable(row_keys(self.rendering, part) for part in views.batches(CHUNK))
        pairs = zip(keys, chain.from_iterable(rendered), strict=True)
        if set(outputs) <= {PIXELS}:
            for group in batched(pairs, BATCH):
                yield [key for key, _ in group], {PIXELS: np.stack([x for _, x in group])}
            return
        engine = self.engine(self._together)
        batches = ((group, [x for _, x in group]) for group in batched(pairs, engine.batch))
        for group, results in engine.map(batches):
            arrays = dict(zip(self._together, results, strict=True))
            arrays[PIXELS] = np.stack([x for _, x in group])
            yield [key for key, _ in group], {name: arrays[name] for name in outputs}

    def compute_views_on_cluster(
        self, views: ImageViews, outputs: Sequence[str]
    ) -> Iterator[tuple[list[bytes], Mapping[str, np.ndarray | RowFile]]]:
        """Do as :meth:`compute_views`, with the processors of the cluster.

        Where there is a store, workers write the rows into it, and their files come instead.

        Raises:
            ClusterError: If the cluster cannot compute, or is lost.
        """
        with_pixels = PIXELS in outputs
        network = None if set(outputs) <= {PIXELS} else self._portable()
        names = [*[PIXELS] * with_pixels, *(self._together if network else ())]
        tables = {name: (self._tables[name].dtype, self._tables[name].digest) for name in outputs}
        render = partial(render_photo, self.rendering, self.built.size)
        row, stored = sum(map(self.row_bytes, outputs)), in_store(f.path for f, _ in views[:1])
        with self.cache.sign_store() as (store, sign):
            rows = ShardRows(names, tables, self.rendering, store, sign)
            engine = ClusterEngine(self.cluster, network, with_pixels, by_image, rows.start)
            most, is_said = STORED_VIEWS if store else MOST_ITEMS, False
            for some, _, (arrays, problem) in engine.map(
                render, views, row, stored, most, self._progress.say
            ):
                if problem and not is_said:
                    self._progress.say(
                        f"workers cannot write to the activation store {store!r} ({problem}): "
                        f"this machine does, which is slower"
                    )
                    is_said = True
                yield row_keys(self.rendering, some), arrays

    def render(self, file: ImageFile, views: Sequence[int]) -> list[np.ndarray]:
        """Return views of an image, each ``(size, size, 3)`` uint8, made from one decoding.

        Raises:
            DataError: If it is no longer what was scanned.
        """
        return render_photo(self.rendering, self.built.size, (file, views))

    def engine(self, outputs: tuple[str, ...]) -> Engine:
        """Return the engine for a set of outputs, built when first needed."""
        if outputs not in self._engines:
            names, path = self._compiled()
            self._engines[outputs] = self.choice.engine_for(
                self.built.prefix, names, self.built.size, path, outputs
            )
        return self._engines[outputs]

    def _compiled(self) -> tuple[tuple[str, ...], Path | None]:
        """Return the outputs of the compiled network, and its path, if it may have one."""
        built = self.built
        names = (*(boundary.name for boundary in built.boundaries[1:]), FEATURES)
        key = {**self._network_key(), "size": built.size, "outputs": names}
        path = compiled_path(self.cache.root, key)
        known = path.with_suffix(".xml").exists()
        if not known and digest_of(built.base) != built.digest:
            return names, None  # the backbone was trained since it was loaded
        return names, path

    def _portable(self) -> PortableNetwork:
        """Return the prefix for workers."""
        (names, path), built = self._compiled(), self.built
        modules = built.backbone.modules
        return PortableNetwork.of(
            self.choice, built.prefix, names, built.size, path, self._together, modules
        )
