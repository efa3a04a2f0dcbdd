"""Measures what the model of :mod:`benchmarks.cluster_costs` is made of, and runs beside it."""

import statistics
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import count, islice
from pathlib import Path
from typing import Any

import fsspec
import numpy as np

from benchmarks.cluster_costs import Parts
from benchmarks.common import SHARED, WEIGHTS, rate, seconds_of
from benchmarks.rates import loaded
from tlearn.cluster.ray_connection import disconnecting
from tlearn.cluster.ray_stream import stream
from tlearn.config import Augmentation
from tlearn.data.file_reading import SHARD
from tlearn.data.file_table import ImageFile
from tlearn.data.read_data import read_source
from tlearn.data.scan import scan
from tlearn.data.scan_cache import FileCheck, FileChecks
from tlearn.data.views import Rendering
from tlearn.features.activation_cache import Cache
from tlearn.features.activation_store import RowFile, put_rows
from tlearn.features.activations import STORED_VIEWS, Activations
from tlearn.features.engines import choose, outputs_of
from tlearn.features.image_views import ImageViews, row_keys
from tlearn.features.shard_rows import ShardRows

BLANK = 8192  # rows without content that are sent to measure what receiving takes
NOTED = 65536  # photos of which little is sent: what reading gave, or where rows are
BATCH = 64
PHOTOS = 1000  # that parts are measured on


def copies(folder: Path, count: int) -> Path:
    """Write so many photos of flowers, each with a content of its own."""
    photos = sorted((SHARED / "data/flowers").rglob("*.jpg"))
    for i in range(count):
        photo = photos[i % len(photos)]
        target = folder / photo.parent.name / f"{i}.jpg"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(photo.read_bytes() + str(i).encode())  # after the end of the picture
    return folder


@dataclass(frozen=True)
class Blank:
    """A computation of rows without content; see :class:`tlearn.cluster.ray_stream.Computation`."""

    row_bytes: int

    def start(self, threads: int) -> Callable[[Sequence[Any]], np.ndarray]:
        """Return what gives the rows of a shard."""
        return lambda shard: np.zeros((len(shard), self.row_bytes), np.uint8)


@dataclass(frozen=True)
class Named:
    """A computation of files of rows that nobody has written."""

    rendering: Rendering

    def start(self, threads: int) -> Callable[[Any], RowFile]:
        """Return what gives the file of a shard of views."""
        files = fsspec.filesystem("memory")

        def name(views: Any) -> RowFile:
            places = [(key, i, 0) for i, key in enumerate(row_keys(self.rendering, views))]
            return put_rows(files, "/store", "rows", f"{uuid.uuid4().hex}.rows", b"", places)

        return name


def activations(cache: Cache, cluster: str = "") -> Activations:
    """Return those of the boundary that MobileNetV2 is fine-tuned from, and of its taps."""
    built, boundary = loaded("mobilenet_v2", WEIGHTS)
    rendering = Rendering(built.size, "squash", Augmentation())
    return Activations(built, rendering, [boundary], cache, choose(), cluster=cluster)


def measured_parts() -> dict[str, float]:
    """Measure each part; return the fields of :class:`Parts`."""
    with tempfile.TemporaryDirectory() as place, cache_with_store(Path(place)) as cache:
        folder = copies(Path(place) / "photos", PHOTOS)
        listing = seconds_of(lambda: read_source(folder)) / PHOTOS
        scanning = cpu_seconds_of(lambda: scan(read_source(folder))) / PHOTOS - listing
        files, made = scan(folder).files, activations(cache)
        pixels = [made.render(file, [0])[0] for file in files[:BATCH]]
        decoding = cpu_seconds_of(lambda: [made.render(file, [0]) for file in files]) / PHOTOS
        engine = made.engine(made.outputs)
        outputs_of(engine, pixels)
        computing = cpu_seconds_of(lambda: outputs_of(engine, 16 * pixels)) / 16 / BATCH
        row = sum(map(made.row_bytes, made.outputs))
        table, rows = cache.table({"output": "rows"}, (row,), "uint8"), np.ones((BATCH, row), "u1")
        numbers = count()

        def put() -> int:
            table.put([next(numbers).to_bytes(24) for _ in range(BATCH)], rows)
            return BATCH

        writing = 1 / rate(put)
        views = ImageViews(files)
        with cache.sign_store() as signed:
            types = {"rows": (table.dtype, table.digest)}
            finish = ShardRows(["rows"], types, made.rendering, *signed).start()
            every = [np.ones((PHOTOS, row), "u1")]
            putting = cpu_seconds_of(lambda: finish(views, every)) / PHOTOS
        many = files[np.arange(NOTED) % PHOTOS]
        with disconnecting(), cache_with_store(Path(place) / "other") as other:
            away = activations(other, "ray")
            start = seconds_of(lambda: away.cache_missing(ImageViews(files[:8])))
            receiving = seconds_of_stream(stream("ray", Blank(row), range(BLANK)), 1) / BLANK
            blank = (part for _, part in stream("ray", BlankChecks(), many, SHARD))
            checks = FileChecks(NOTED).fill(np.arange(NOTED), blank)
            collecting = seconds_of_stream(checks, 1) / NOTED
            named = stream("ray", Named(made.rendering), ImageViews(many), STORED_VIEWS)
            noting = seconds_of_stream(map(table.add, (file for _, file in named)), 1) / NOTED
        size = statistics.fmean(file.path.stat().st_size for file in files)
    parts = Parts(
        start=start,
        list=listing,
        scan=scanning,
        collect=collecting,
        decode=decoding,
        engine=computing,
        put=putting,
        note=noting,
        receive=receiving,
        write=writing,
        row_bytes=row,
        photo_bytes=size,
    )
    return asdict(parts)


def cache_with_store(place: Path) -> Cache:
    """Return a cache with a store behind it, both in a folder."""
    return Cache(place / "cache", store=str(place / "store"))


class BlankChecks:
    """A computation that gives what reading photos might, without reading them."""

    def start(self, threads: int) -> Callable[[Sequence[ImageFile]], FileChecks]:
        """Make ready what gives it."""
        return lambda files: FileChecks.of([FileCheck(content=file.content) for file in files])


def seconds_of_stream(results: Iterator[Any], first: int) -> float:
    """Return the seconds of the rest of a stream, after so many results."""
    list(islice(results, first))
    return seconds_of(lambda: list(results))


def cpu_seconds_of(work: Callable[[], Any]) -> float:
    """Return the CPU seconds of some work, in all threads."""
    start = time.process_time()
    work()
    return time.process_time() - start


def measured_run(photos: int) -> float:
    """List, scan and compute so many photos on a cluster of this machine; return the seconds."""
    with tempfile.TemporaryDirectory() as place, cache_with_store(Path(place)) as cache:
        folder, made = copies(Path(place) / "photos", photos), activations(cache, "ray")
        with disconnecting():
            return seconds_of(lambda: made.cache_missing(ImageViews(scan(folder).files)))
