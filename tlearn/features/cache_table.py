"""A table of the activation cache: rows of one kind, found by key, read without a memory map.

Rows are read into the caller's arrays. A memory map would count what was ever read as the process's
memory, which then would grow with the number of images.
"""

import time
import uuid
import zlib
from collections.abc import Sequence
from io import FileIO
from typing import Any

import numpy as np

from tlearn.features.cache_index import CacheIndex, explained

SEGMENT = 2**26  # bytes after which a new file is begun: what is evicted at a time
ASKED = 500  # keys in one query
NOTED = 30.0  # seconds after which it is noted again which rows are used


class _EvictedError(Exception):
    """The file that is written to was deleted by another process."""


class CacheTable:
    """Arrays of one shape and type, computed in one way, found by row key.

    Made by :meth:`tlearn.features.activation_cache.Cache.table`.

    Attributes:
        shape: Shape of a row.
        dtype: Type of its numbers.
        row_bytes: Size of a row.
        damaged: Rows met so far that were not what was written, and count as missing.
    """

    def __init__(
        self, index: CacheIndex, number: int, shape: tuple[int, ...], dtype: np.dtype
    ) -> None:
        self.shape, self.dtype, self.damaged = shape, dtype, 0
        self.row_bytes = int(np.prod(shape)) * dtype.itemsize
        self._index, self._number = index, number
        self._segment: tuple[int, FileIO, int] | None = None  # id, file, rows in it
        self._noted = 0.0  # when it was last noted which rows are used

    def missing(self, keys: Sequence[bytes]) -> set[bytes]:
        """Return those keys for which no row is kept; the others count as used now."""
        found = self._places(keys)
        self._use(found)
        return set(keys) - found.keys()

    def _use(self, places: dict[bytes, tuple[int, str, int, int]]) -> None:
        """Note that these rows are used now, so that nobody evicts them."""
        self._noted = time.time()
        segments = [(self._noted, segment) for segment in {place[0] for place in places.values()}]
        with self._index.transaction() as connection:
            connection.executemany("UPDATE segments SET used = ? WHERE id = ?", segments)

    def put(self, keys: Sequence[bytes], parts: Sequence[np.ndarray]) -> None:
        """Keep rows: all of them or, if the process dies, none.

        Args:
            keys: Their keys.
            parts: Arrays ``(n, *shape)``, as many rows in all as there are keys.

        Raises:
            CacheError: If they cannot be written.
        """
        parts = [np.ascontiguousarray(part, self.dtype) for part in parts]
        checksums = [zlib.crc32(row) for part in parts for row in part]
        with self._index.lock, explained(self._index.root):
            for _ in range(2):
                try:
                    return self._append(keys, parts, checksums)
                except _EvictedError:  # by another process: into a new file, then
                    continue

    def _append(
        self, keys: Sequence[bytes], parts: Sequence[np.ndarray], checksums: Sequence[int]
    ) -> None:
        segment, file, rows = self._segment or self._begin()
        try:
            for part in parts:
                _write(file, part)
            entries = [
                (self._number, key, segment, rows + i, checksum)
                for i, (key, checksum) in enumerate(zip(keys, checksums, strict=True))
            ]
            rows += len(keys)
            with self._index.transaction() as connection:
                changed = connection.execute(
                    "UPDATE segments SET bytes = ?, used = ? WHERE id = ?",
                    (rows * self.row_bytes, time.time(), segment),
                )
                if not changed.rowcount:
                    raise _EvictedError
                connection.executemany(
                    "INSERT OR REPLACE INTO rows VALUES (?, ?, ?, ?, ?)", entries
                )
        except BaseException:
            self._segment = None  # where the file ends is not known: another is begun
            file.close()
            raise
        self._segment = (segment, file, rows)
        if rows * self.row_bytes >= SEGMENT:
            self.finish()

    def finish(self) -> None:
        """Close the file that is written to; the next :meth:`put` begins another."""
        if self._segment:
            self._segment[1].close()
            self._segment = None

    def get(self, keys: Sequence[bytes]) -> tuple[np.ndarray, np.ndarray]:
        """Return rows ``(len(keys), *shape)``, and which of them are there ``(len(keys),)``.

        A row whose checksum is wrong is forgotten and counts as not there.
        """
        out = np.empty((len(keys), *self.shape), self.dtype)
        there = np.zeros(len(keys), bool)
        places = self._places(keys)
        if time.time() - self._noted > NOTED:
            self._use(places)
        for i, key in enumerate(keys):
            if key in places:
                segment, file, slot, checksum = places[key]
                row: Any = out[i : i + 1].reshape(-1).view(np.uint8)
                there[i] = (
                    self._index.read(file, slot * self.row_bytes, row.data)
                    and zlib.crc32(row) == checksum
                )
                if not there[i]:
                    self._forget(key, segment, file)
        return out, there

    def _places(self, keys: Sequence[bytes]) -> dict[bytes, tuple[int, str, int, int]]:
        """Return segment, file, slot and checksum for the keys that are kept."""
        found: dict[bytes, tuple[int, str, int, int]] = {}
        with self._index.lock, explained(self._index.root):
            for start in range(0, len(keys), ASKED):
                some = keys[start : start + ASKED]
                query = (
                    "SELECT key, segments.id, file, slot, checksum FROM rows JOIN segments "
                    "ON segments.id = segment WHERE rows.space = ? AND key IN "
                    f"({','.join('?' * len(some))})"
                )
                answer = self._index.connection.execute(query, (self._number, *some))
                found.update((row[0], row[1:]) for row in answer)
        return found

    def _forget(self, key: bytes, segment: int, file: str) -> None:
        if (self._index.segments / file).exists():
            self.damaged += 1
            with self._index.transaction() as connection:
                connection.execute(
                    "DELETE FROM rows WHERE space = ? AND key = ? AND segment = ?",
                    (self._number, key, segment),
                )
        else:
            self._index.drop(segment, file)

    def _begin(self) -> tuple[int, FileIO, int]:
        """Begin a file of rows that this process alone writes to."""
        name = f"{uuid.uuid4().hex}.rows"
        file = FileIO(self._index.segments / name, "w")
        with self._index.transaction() as connection:
            cursor = connection.execute(
                "INSERT INTO segments (space, file, bytes, used) VALUES (?, ?, 0, ?)",
                (self._number, name, time.time()),
            )
        return int(cursor.lastrowid or 0), file, 0


def _write(file: FileIO, values: np.ndarray) -> None:
    """Write all of an array: on a disk that is nearly full, one write may write a part."""
    rest = values.reshape(-1).view(np.uint8).data
    while rest:
        rest = rest[file.write(rest) or 0 :]
