"""Photos packed into shards: WebDataset's ``.tar`` and Hugging Face's ``.parquet``.

A photo in a shard has a path: that of the shard, and its name inside. It is read from there, by a
range of bytes of a ``.tar`` or a row group of a ``.parquet``; nothing is unpacked.
"""

import errno
import io
import os
import re
import threading
from functools import lru_cache
from pathlib import Path
from typing import IO, Any, cast

from tlearn.data.shard_index import Sample, columns_of, index_of, open_shard
from tlearn.object_stores import StorePath, as_path
from tlearn.store_folders import FileState

GROUPS = 8  # row groups that are in memory
SHARDS = 1 << 16  # paths of which it is known whether they are shards
_ENDING = re.compile(r"\.(tar|parquet)(?=/)", re.IGNORECASE)


class PackedPath(StorePath):
    """The path of a photo in a shard, on this machine or in a store."""

    def _sample(self) -> tuple[Path, Sample]:
        """Return the shard, and what it has of the photo."""
        folder = StorePath(shard_of(str(self)) or str(self))
        shard = as_path(str(folder))
        sample = index_of(shard).samples.get(str(self.relative_to(folder)))
        if sample is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(self))
        return shard, sample

    def state(self) -> FileState:
        """Return its size, 0 in a ``.parquet``, and a version that changes with the shard.

        Raises:
            FileNotFoundError: If it is not in the shard.
        """
        shard, sample = self._sample()
        version = hash((index_of(shard).stamp, sample.start)) % 2**48
        return FileState(sample.size, 0, version)

    def read_bytes(self) -> bytes:
        """Return its content.

        Raises:
            OSError: If it cannot be read.
        """
        shard, sample = self._sample()
        if shard.suffix.lower() == ".parquet":
            return _photo_of_row(shard, sample.start)
        if isinstance(shard, StorePath):
            return shard.read_range(sample.start, sample.size)
        with shard.open("rb") as file:
            file.seek(sample.start)
            return file.read(sample.size)

    def open_with(self, **options: Any) -> IO[bytes]:
        """Open its content, which is read whole."""
        return io.BytesIO(self.read_bytes())

    def download(self, target: Path) -> None:
        """Write it to a file of this machine."""
        target.write_bytes(self.read_bytes())


def photo_path(folder: Path, name: str) -> Path:
    """Return the path of a photo of a manifest, by the folder and its decoded name in it."""
    # A table may name it in a store: no other path has two slashes after each other.
    path = as_path(name) if "://" in name else folder / name
    return cast(Path, PackedPath(str(path))) if shard_of(str(path)) else path


def shard_of(path: str) -> str:
    """Return the shard that a path leads into, empty if none: a file that is called so."""
    ends = (match.end() for match in _ENDING.finditer(path))
    return next((path[:end] for end in ends if _is_file(path[:end])), "")


@lru_cache(maxsize=SHARDS)
def _is_file(path: str) -> bool:
    return as_path(path).is_file()


def forget_shards() -> None:
    """Forget what is known of shards, which may be others by now."""
    for known in (index_of, _is_file, _groups_of, _group):
        known.cache_clear()


def _photo_of_row(shard: Path, row: int) -> bytes:
    for group, first, count in _groups_of(shard):
        if row < first + count:
            content = _group(shard, group).content()[row - first]
            return bytes(content or b"")
    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(shard))


@lru_cache(maxsize=SHARDS)
def _groups_of(shard: Path) -> list[tuple[int, int, int]]:
    """Return number, first row and rows of each row group."""
    from pyarrow import parquet

    groups, first = [], 0
    with open_shard(shard, cache_type="none") as file, parquet.ParquetFile(file) as table:
        for number in range(table.metadata.num_row_groups):
            groups.append((number, first, table.metadata.row_group(number).num_rows))
            first += groups[-1][2]
    return groups


class _Group:
    """A row group, read once by the thread that comes first."""

    def __init__(self, shard: Path, number: int) -> None:
        self._shard, self._number, self._lock = shard, number, threading.Lock()
        self._content: list[bytes | None] | None = None

    def content(self) -> list[bytes | None]:
        """Return the bytes of its photos."""
        from pyarrow import parquet

        with self._lock:
            if self._content is None:
                with (
                    open_shard(self._shard, cache_type="none") as file,
                    parquet.ParquetFile(file) as table,
                ):
                    columns = columns_of(table.schema_arrow, self._shard)
                    rows = table.read_row_group(self._number, columns=[columns.bytes])
                images = rows.column(columns.image).to_pylist()
                if columns.bytes != columns.image:
                    images = [(image or {}).get("bytes") for image in images]
                self._content = images
            return self._content


@lru_cache(maxsize=GROUPS)
def _group(shard: Path, number: int) -> _Group:
    return _Group(shard, number)
