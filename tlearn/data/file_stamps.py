"""What changes when a file does, on a disk or in a store: five numbers, its stamp."""

import os
from pathlib import Path
from typing import cast

import numpy as np

from tlearn.object_stores import StorePath, as_path

Stamp = tuple[int, int, int, int, int]
UNKNOWN: Stamp = (-1, -1, -1, -1, -1)  # of what is not there
# A file written just now may be written again without a new time of change: some file systems
# count in steps of two seconds.
FRESH_NS = 2_000_000_000


def stamp_of(path: str | Path) -> Stamp:
    """Return the stamp of a file: its size, times of change and inode, or its version in a store.

    Raises:
        StoreError: If the store does not answer.
    """
    place = as_path(path) if isinstance(path, str) and "://" in path else path
    if isinstance(place, StorePath):
        try:
            state = place.state()
        except FileNotFoundError:
            state = None
        return cast(Stamp, (*state, 0, 0)) if state else UNKNOWN
    try:
        known = os.stat(path)  # noqa: PTH116 - a third of the time of Path.stat
    except OSError:
        return UNKNOWN
    # With the time of the last change of attributes: a new mode may make a file unreadable.
    inode = known.st_ino % 2**63  # some file systems use all 64 bits
    return (known.st_size, known.st_mtime_ns, known.st_ctime_ns, inode, known.st_dev % 2**63)


def are_settled(stamps: np.ndarray, now: int) -> np.ndarray:
    """Return of which files, ``(n,)`` bool, the stamps will be others if they change after ``now``.

    Args:
        stamps: ``(n, 5)`` int64.
        now: The nanoseconds since 1970 before the stamps were taken.
    """
    return np.asarray((stamps[:, 0] >= 0) & (now - FRESH_NS >= stamps[:, 1]))
