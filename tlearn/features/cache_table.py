"""A table of the activation cache: rows of one kind, found by key.

Rows are read, not mapped: a memory map would count what was ever read as the process's memory,
which then would grow with the number of images.
"""

import contextlib
import time
import uuid
import zlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from io import FileIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tlearn.features.activation_store import RowFile, StoredTable
from tlearn.features.cache_index import CacheIndex, explain_errors
from tlearn.file_locks import lock_file

SEGMENT = 2**26  # bytes after which a new file is begun; files are evicted whole
KEYS_PER_QUERY = 500
MARK_SECONDS = 30.0  # after which rows are marked again as used


class _Place(NamedTuple):
    """Where a row is; the file has 0 bytes where a store alone has it."""

    segment: int
    file: str
    slot: int
    checksum: int
    bytes: int


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
        self,
        index: CacheIndex,
        number: int,
        shape: tuple[int, ...],
        dtype: np.dtype,
        stored: StoredTable | None = None,
    ) -> None:
        self.shape, self.dtype, self.damaged = shape, dtype, 0
        self.row_bytes = int(np.prod(shape)) * dtype.itemsize
        self._index, self._number, self._stored = index, number, stored
        self._segment: tuple[int, FileIO, int] | None = None  # id, file, rows in it
        self._marked = 0.0  # when rows were last marked as used

    def missing(self, keys: Sequence[bytes]) -> set[bytes]:
        """Return those keys that have no row; the others count as used now."""
        places = self._places(keys)
        self._mark_used(places)
        return set(keys) - places.keys()

    def _mark_used(self, places: dict[bytes, _Place]) -> None:
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
                    self._append(keys, rows)
                    break
            full = self._segment and self._segment[2] * self.row_bytes >= SEGMENT
            closed = self._close_file() if full else None
        if closed and self._stored:
            self._stored.upload(closed)

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

    def _close_file(self) -> tuple[int, str] | None:
        """Close the file that is written to; return its number and name, if there is one."""
        if self._segment is None:
            return None
        (segment, file, _), self._segment = self._segment, None
        file.close()
        return segment, Path(str(file.name)).name

    def finish(self) -> None:
        """Close the file that is written to; where there is a store, it has all rows after that.

        The next :meth:`put` begins another file.
        """
        closed = self._close_file()
        if self._stored:
            if closed:
                self._stored.upload(closed)
            self._stored.finish()

    def refresh(self) -> None:
        """Look for rows that other machines have put into the store, if there is one.

        Raises:
            CacheError: If the store cannot be listed.
        """
        if self._stored:
            self._stored.refresh()

    @property
    def digest(self) -> str:
        """What it is called in the store; empty if there is none."""
        return self._stored.digest if self._stored else ""

    def add(self, file: RowFile) -> None:
        """Add a file of rows that another process has just written into the store."""
        if self._stored:
            self._stored.add(file)

    def close(self) -> None:
        """Finish, and end the threads of the table."""
        self.finish()
        if self._stored:
            self._stored.close()

    def get(self, keys: Sequence[bytes]) -> tuple[np.ndarray, np.ndarray]:
        """Return rows ``(len(keys), *shape)``, and which of them are there ``(len(keys),)``.

        A row whose checksum is wrong is forgotten and counts as not there.
        """
        out = np.empty((len(keys), *self.shape), self.dtype)
        present = np.zeros(len(keys), bool)
        places = self._places(keys)
        if time.time() - self._marked > MARK_SECONDS:
            self._mark_used(places)
        elsewhere = {place[:2] for place in places.values() if not place.bytes}
        if elsewhere and self._stored:
            self._stored.fetch(sorted(elsewhere))
            places = self._places(keys)
        by_segment: dict[tuple[int, str], list[int]] = defaultdict(list)
        in_store: list[int] = []
        for i, key in enumerate(keys):
            if key in places:
                place = places[key]
                (by_segment[place[:2]] if place.bytes else in_store).append(i)
        with explain_errors(self._index.root):
            for (segment, name), positions in by_segment.items():
                try:
                    with FileIO(self._index.segments / name) as file:
                        for i in positions:
                            present[i] = self._read(file, out[i : i + 1], places[keys[i]])
                except FileNotFoundError:  # evicted by another process
                    self._index.evict(segment, name)
                else:
                    self._forget(segment, [keys[i] for i in positions if not present[i]])
        if in_store and self._stored:
            self._read_stored(self._stored, keys, in_store, places, out, present)
        return out, present

    def _read(self, file: FileIO, row: np.ndarray, place: _Place) -> bool:
        """Read a row; return whether it is what was written."""
        content: Any = row.reshape(-1).view(np.uint8)
        with contextlib.suppress(OSError):
            file.seek(place.slot * self.row_bytes)
            length = file.readinto(content.data)
            return length == len(content) and zlib.crc32(content) == place.checksum
        return False

    def _read_stored(
        self,
        stored: StoredTable,
        keys: Sequence[bytes],
        positions: Sequence[int],
        places: Mapping[bytes, _Place],
        out: np.ndarray,
        present: np.ndarray,
    ) -> None:
        """Read rows for which there is no room on this machine."""
        rows = [places[keys[i]] for i in positions]
        starts = [(row.file, row.slot * self.row_bytes) for row in rows]
        parts = stored.read([(name, start, start + self.row_bytes) for name, start in starts])
        for i, row, content in zip(positions, rows, parts, strict=True):
            present[i] = len(content) == self.row_bytes and zlib.crc32(content) == row.checksum
            if present[i]:
                out[i] = np.frombuffer(content, self.dtype).reshape(self.shape)
            elif content:
                self._forget(row.segment, [keys[i]])

    def _places(self, keys: Sequence[bytes]) -> dict[bytes, _Place]:
        """Return where the rows of keys are, on this machine rather than in the store."""
        places: dict[bytes, _Place] = {}
        url = self._stored.url if self._stored else ""
        for start in range(0, len(keys), KEYS_PER_QUERY):
            part = keys[start : start + KEYS_PER_QUERY]
            query = (
                "SELECT key, segments.id, file, slot, checksum, bytes FROM rows JOIN segments "
                "ON segments.id = segment WHERE rows.space = ? AND (bytes > 0 OR store = ?) AND "
                f"key IN ({','.join('?' * len(part))}) ORDER BY bytes > 0"
            )
            rows = self._index.query(query, self._number, url, *part)
            places.update((row[0], _Place(*row[1:])) for row in rows)
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
        lock_file(file)  # as long as it is written to
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
