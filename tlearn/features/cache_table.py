"""A table of the activation cache: rows of one kind, found by key.

Rows are read, not mapped: a memory map would count what was ever read as the process's memory,
which then would grow with the number of images.
"""

import contextlib
import time
import uuid
import zlib
from collections import defaultdict
from collections.abc import Sequence
from io import FileIO
from typing import Any

import numpy as np

from tlearn.features.cache_index import CacheIndex, explain_errors

SEGMENT = 2**26  # bytes after which a new file is begun; files are evicted whole
KEYS_PER_QUERY = 500
MARK_SECONDS = 30.0  # after which rows are marked again as used


class _EvictedError(Exception):
    """The file that is written to was deleted by another process."""


class CacheTable:
    """Arrays of one shape and type, computed in one way, found by row key.

    Made by :meth:`tlearn.features.activation_cache.Cache.table`.

    Attributes:
        shape: Of a row, as are ``dtype`` and ``row_bytes``.
        damaged: Rows met so far that were not what was written, and count as missing.
    """

    def __init__(
        self, index: CacheIndex, number: int, shape: tuple[int, ...], dtype: np.dtype
    ) -> None:
        self.shape, self.dtype, self.damaged = shape, dtype, 0
        self.row_bytes = int(np.prod(shape)) * dtype.itemsize
        self._index, self._number = index, number
        self._segment: tuple[int, FileIO, int] | None = None  # id, file, rows in it
        self._marked = 0.0  # when rows were last marked as used

    def missing(self, keys: Sequence[bytes]) -> set[bytes]:
        """Return those keys that have no row; the others count as used now."""
        places = self._places(keys)
        self._mark_used(places)
        return set(keys) - places.keys()

    def _mark_used(self, places: dict[bytes, tuple[int, str, int, int]]) -> None:
        """Mark rows as used now, so that no process evicts them."""
        self._marked = time.time()
        segments = [(self._marked, segment) for segment in {place[0] for place in places.values()}]
        with self._index.transaction() as connection:
            connection.executemany("UPDATE segments SET used = ? WHERE id = ?", segments)

    def put(self, keys: Sequence[bytes], rows: np.ndarray) -> None:
        """Store rows ``(len(keys), *shape)``: all of them or, if the process dies, none.

        Raises:
            CacheError: If they cannot be written.
        """
        rows = np.ascontiguousarray(rows, self.dtype)
        with self._index.lock, explain_errors(self._index.root):
            for _ in range(2):
                with contextlib.suppress(_EvictedError):  # by another process: into a new file
                    return self._append(keys, rows)

    def _append(self, keys: Sequence[bytes], rows: np.ndarray) -> None:
        segment, file, before = self._segment or self._begin()
        try:
            _write(file, rows)
            entries = [
                (self._number, key, segment, before + i, zlib.crc32(row))
                for i, (key, row) in enumerate(zip(keys, rows, strict=True))
            ]
            count = before + len(keys)
            with self._index.transaction() as connection:
                changed = connection.execute(
                    "UPDATE segments SET bytes = ?, used = ? WHERE id = ?",
                    (count * self.row_bytes, time.time(), segment),
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
        self._segment = (segment, file, count)
        if count * self.row_bytes >= SEGMENT:
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
        present = np.zeros(len(keys), bool)
        places = self._places(keys)
        if time.time() - self._marked > MARK_SECONDS:
            self._mark_used(places)
        by_segment: dict[tuple[int, str], list[int]] = defaultdict(list)
        for i, key in enumerate(keys):
            if key in places:
                by_segment[places[key][:2]].append(i)
        with explain_errors(self._index.root):
            for (segment, name), positions in by_segment.items():
                try:
                    with FileIO(self._index.segments / name) as file:
                        for i in positions:
                            present[i] = self._read(file, out[i : i + 1], *places[keys[i]][2:])
                except FileNotFoundError:  # evicted by another process
                    self._index.drop(segment, name)
                else:
                    self._forget(segment, [keys[i] for i in positions if not present[i]])
        return out, present

    def _read(self, file: FileIO, row: np.ndarray, slot: int, checksum: int) -> bool:
        """Read a row; return whether it is what was written."""
        content: Any = row.reshape(-1).view(np.uint8)
        with contextlib.suppress(OSError):
            file.seek(slot * self.row_bytes)
            return file.readinto(content.data) == len(content) and zlib.crc32(content) == checksum
        return False

    def _places(self, keys: Sequence[bytes]) -> dict[bytes, tuple[int, str, int, int]]:
        """Return segment, file, slot and checksum of the keys that have a row."""
        places: dict[bytes, tuple[int, str, int, int]] = {}
        for start in range(0, len(keys), KEYS_PER_QUERY):
            part = keys[start : start + KEYS_PER_QUERY]
            query = (
                "SELECT key, segments.id, file, slot, checksum FROM rows JOIN segments "
                "ON segments.id = segment WHERE rows.space = ? AND key IN "
                f"({','.join('?' * len(part))})"
            )
            rows = self._index.query(query, self._number, *part)
            places.update((row[0], row[1:]) for row in rows)
        return places

    def _forget(self, segment: int, keys: Sequence[bytes]) -> None:
        """Count rows as damaged and forget them."""
        self.damaged += len(keys)
        query = "DELETE FROM rows WHERE space = ? AND key = ? AND segment = ?"
        for key in keys:
            with self._index.transaction() as connection:
                connection.execute(query, (self._number, key, segment))

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
