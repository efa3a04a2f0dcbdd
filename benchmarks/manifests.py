"""What listing, editing and splitting a very large data set takes, without a file of its photos."""

import ctypes
import gc
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa

from benchmarks.common import python
from tlearn.csv_files import read_columns
from tlearn.data.columns import NAMES, code_texts
from tlearn.data.data_source import DataSource
from tlearn.data.edits import Edit, Edits
from tlearn.data.file_table import FileTable
from tlearn.data.read_data import read_source
from tlearn.data.scan import Manifest
from tlearn.data.splits import COLUMNS, draw_splits
from tlearn.data.tables import read_table
from tlearn.features.image_views import ImageViews

CLASSES = 1000
EDITS = 1000
LISTED = 100_000  # files that are written, to be listed
T = TypeVar("T")


def generated(count: int, seed: int = 0) -> FileTable:
    """Return files of 1,000 classes with names of 40 characters, of which 1 % are copies."""
    rng, folder = np.random.default_rng(seed), Path("photos")
    per_class, tables = -(-count // CLASSES), []
    for k in range(CLASSES):
        its = min(per_class, count - k * per_class)
        if its <= 0:
            break
        label = f"species_{k:04d}"
        names = [f"{label}/IMG_20240517_{i:09d}_2.jpg" for i in range(its)]
        contents = rng.integers(0, 256, (its, 16), np.uint8)
        contents[: its // 100] = contents[its // 100 : 2 * (its // 100)]
        columns = {"label": label, "content": contents, "inner": len(label) + 1}
        tables.append(FileTable.of_columns(folder, pa.array(names, NAMES), **columns))
    return FileTable.concatenated(tables)


class Steps:
    """CPU and wall seconds of steps, and the memory that the process has after each and at most."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []

    def do(self, name: str, work: Callable[[], T]) -> T:
        """Do a step."""
        start, wall = time.process_time(), time.monotonic()
        result = work()
        seconds, wall = time.process_time() - start, time.monotonic() - wall
        most = status_mb("VmHWM")
        gc.collect()
        pa.default_memory_pool().release_unused()
        ctypes.CDLL(None).malloc_trim(0)  # what is free is not held
        row = {"step": name, "seconds": seconds, "wall": wall, "mb": status_mb("VmRSS")}
        self.rows.append(row | {"peak_mb": most})
        return result


def status_mb(key: str) -> float:
    """Return a figure of this process in MB; Linux alone has it."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(key)) * 1024 / 1e6


def measure(count: int) -> list[dict[str, Any]]:
    """Do with a generated manifest what a training does before the first photo is decoded."""
    steps = Steps()
    steps.do("imports", lambda: None)
    files = steps.do("generate", lambda: generated(count))
    manifest = Manifest(Path("photos"), Path("photos"), files, ())
    splits, _ = steps.do("split", lambda: draw_splits(manifest, 0.2, 0.1, 0))
    steps.do("count classes", lambda: (manifest.labels, manifest.counts, manifest.given))
    steps.do("digest", lambda: manifest.digest)
    lines = [Edit(file.name, "class", "species_0001", "t") for file in files[:EDITS]]
    lines.append(Edit("species_0002/", "class", "species_0003", "t"))
    steps.do("edit", lambda: Edits(tuple(lines)).apply(files))
    groups = code_texts(np.arange(count) // 5, [f"animal {i}" for i in range(-(-count // 5))])
    grouped = Manifest(Path("photos"), Path("photos"), files.replaced(group=groups), ())
    steps.do("split groups of 5", lambda: draw_splits(grouped, 0.2, 0.1, 0))
    views = steps.do("name 4 views of each", lambda: ImageViews.of(splits.train, 4))
    steps.do("leave out views of copies", views.unique)
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "splits.csv"

        def write() -> None:
            with path.open("w", encoding="utf-8", newline="") as file:
                file.writelines(splits.csv_parts())

        steps.do("write splits.csv", write)
        steps.do("read splits.csv", lambda: read_columns(path, COLUMNS))
    return steps.rows


@contextmanager
def empty_files(count: int) -> Iterator[Path]:
    """Give 100 class folders with empty files whose names have 26 characters."""
    with tempfile.TemporaryDirectory() as place:
        for k in range(100):
            folder = Path(place) / f"species_{k:02d}"
            folder.mkdir()
            for i in range(count // 100):
                (folder / f"IMG_20240517_{i:09d}.jpg").touch()
        yield Path(place)


def list_files(count: int) -> list[dict[str, Any]]:
    """List real files."""
    steps = Steps()
    steps.do("imports", lambda: None)
    with empty_files(count) as folder:
        source: DataSource = steps.do("list", lambda: read_source(folder))
        steps.do("list again", lambda: read_source(folder))
        steps.do("make each file", lambda: sum(len(file.name) for file in source.files))
    return steps.rows


def read_tables(count: int) -> list[dict[str, Any]]:
    """Read a table that names so many real files, with endings and without."""
    steps = Steps()
    steps.do("imports", lambda: None)
    with empty_files(count) as folder:
        path = folder / "labels.csv"
        for suffix, name in ((".jpg", "find files"), ("", "find files without endings")):
            with path.open("w", encoding="utf-8") as file:
                file.write("path,label\n")
                for k in range(100):
                    names = (f"IMG_20240517_{i:09d}{suffix}" for i in range(count // 100))
                    file.writelines(f"species_{k:02d}/{n},species {k}\n" for n in names)
            steps.do("read lines", lambda: read_table(path))
            source: DataSource = steps.do(name, lambda: read_source(path))
            assert len(source.files) == count // 100 * 100
    return steps.rows


def manifests(counts: list[int]) -> dict[str, Any]:
    """Measure each size in a process of its own."""
    results = {}
    each = ("measure({})", "read_tables({})")
    calls = [call.format(count) for count in counts for call in each]
    for call in [*calls, f"list_files({LISTED})"]:
        print(f"  {call}", flush=True)
        code = f"import json; from benchmarks import manifests; print(json.dumps(manifests.{call}))"
        results[call] = json.loads(python("-c", code).output.splitlines()[-1])
    return results


def manifests_tables(results: dict[str, Any]) -> list[str]:
    """Return a table of each size; memory is without that of the process after its imports."""
    lines = []
    for call, rows in results.items():
        base = rows[0]["mb"]
        lines += ["", f"`{call}`", "", "| step | CPU s | MB after | MB at most so far |"]
        lines += ["|---|---|---|---|"]
        lines += [
            f"| {row['step']} | {row['seconds']:.2f} | {row['mb'] - base:.0f} "
            f"| {row['peak_mb'] - base:.0f} |"
            for row in rows[1:]
        ]
    return lines
