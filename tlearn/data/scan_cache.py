"""What earlier scans found in files, so that what has not changed is not read again."""

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from tlearn.data.pixel_values import OwnRange

MOST = 500_000
# A file written just now may be written again without a new time of change: some file systems
# count in steps of two seconds.
FRESH_NS = 2_000_000_000


class FileCheck(NamedTuple):
    """What examining a file gave: the hash of its content, or a problem.

    Attributes:
        content: The content hash of a readable image, empty for a problem.
        kind: The kind of the problem, empty for a readable image.
        reason: Why, in words; for a readable image what else there is to know.
        own: What the values of a readable image of more than 8 bits need.
        lasting: Whether the same bytes give the same again: a disk that failed may not.
    """

    content: str = ""
    kind: str = ""
    reason: str = ""
    own: OwnRange | None = None
    lasting: bool = True


Stamp = tuple[int, ...]


class ScanCache:
    """Remembers in memory what examining files gave; may be shared by scans in many threads.

    A file counts as unchanged while its path, size, times of change and inode are the same. One
    that was modified less than two seconds before it was read is not remembered. Where ``most``
    are remembered, what was not asked for longest is forgotten.
    """

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._entries: dict[str, tuple[Stamp, FileCheck]] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._entries)

    def examined(self, path: Path, examine: Callable[[Path], FileCheck]) -> FileCheck:
        """Return what is known of a file if it has not changed, else examine it and remember."""
        key = os.path.abspath(path)  # noqa: PTH100 - a quarter of the time of Path.absolute
        try:
            state = path.stat()
        except OSError:
            return examine(path)
        # With the time of the last change of attributes: a new mode may make a file unreadable.
        stamp = (state.st_size, state.st_mtime_ns, state.st_ctime_ns, state.st_ino, state.st_dev)
        with self._lock:
            entry = self._entries.pop(key, None)
            if entry is not None and entry[0] == stamp:
                self._entries[key] = entry  # to the end: the one asked for last
                return entry[1]
        # Before reading: what is written after this moment gets another time of change.
        settled = time.time_ns() - state.st_mtime_ns >= FRESH_NS
        found = examine(path)
        if settled and found.lasting:
            with self._lock:
                self._entries[key] = (stamp, found)
                while len(self._entries) > self._most:
                    del self._entries[next(iter(self._entries))]
        return found
