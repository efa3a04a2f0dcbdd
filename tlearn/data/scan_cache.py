"""The results of checking files in earlier scans, so that unchanged files are not read again."""

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from tlearn.data.pixel_values import OwnRange
from tlearn.object_stores import StorePath

MOST = 500_000
# A file written just now may be written again without a new time of change: some file systems
# count in steps of two seconds.
FRESH_NS = 2_000_000_000


class FileCheck(NamedTuple):
    """The result of checking a file: the hash of its content, or a problem.

    Attributes:
        content: The content hash of a readable image, empty for a problem.
        kind: The kind of the problem, empty for a readable image.
        reason: The reason of the problem, or a note about a readable image.
        own: The values of a readable image of more than 8 bits.
        lasting: Whether the same bytes give the same again: a disk that failed may not.
    """

    content: str = ""
    kind: str = ""
    reason: str = ""
    own: OwnRange | None = None
    lasting: bool = True


Stamp = tuple[int, ...]


def _key(path: Path) -> str:
    return os.path.abspath(path)  # noqa: PTH100 - a quarter of the time of Path.absolute


def _stamp(path: Path) -> Stamp:
    """Return what changes with a file; nothing if it is not there, or in a store."""
    if isinstance(path, StorePath):  # which would be asked once for each file
        return ()
    try:
        state = path.stat()
    except OSError:
        return ()
    # With the time of the last change of attributes: a new mode may make a file unreadable.
    return (state.st_size, state.st_mtime_ns, state.st_ctime_ns, state.st_ino, state.st_dev)


class ScanCache:
    """A thread-safe cache in memory of the ``most`` files that were checked last.

    A file counts as unchanged while its path, size, times of change and inode are the same. One
    that was modified less than two seconds before it was read is not cached.
    """

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._entries: dict[str, tuple[Stamp, FileCheck]] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._entries)

    def known(self, path: Path) -> FileCheck | None:
        """Return the cached result for a file if it has not changed."""
        key = _key(path)
        if key not in self._entries:
            return None
        stamp = _stamp(path)
        with self._lock:
            entry = self._entries.pop(key, None)
            if entry is None or entry[0] != stamp:
                return None
            self._entries[key] = entry  # to the end: the one asked for last
            return entry[1]

    def check(self, path: Path, check_file: Callable[[Path], FileCheck]) -> FileCheck:
        """Return the cached result for a file if it has not changed, else check it."""
        if (known := self.known(path)) is not None:
            return known
        stamp = _stamp(path)
        # Before reading: what is written after this moment gets another time of change.
        settled = stamp and time.time_ns() - stamp[1] >= FRESH_NS
        result = check_file(path)
        if settled and result.lasting:
            with self._lock:
                self._entries[_key(path)] = (stamp, result)
                while len(self._entries) > self._most:
                    del self._entries[next(iter(self._entries))]
        return result
