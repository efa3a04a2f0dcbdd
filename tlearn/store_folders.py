"""Folders of stores as they were listed: names, and what changes with each file, in columns.

A file takes some 25 bytes and its name, in place of a kilobyte in the package of the store.
"""

import datetime
import hashlib
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from tlearn.errors import StoreError

if TYPE_CHECKING:
    import numpy as np

DIGESTS = ("ETag", "etag", "md5Hash", "content_md5")  # what stores call that of a file
TIMES = ("LastModified", "last_modified", "updated", "mtime", "modified", "created")


class FileState(NamedTuple):
    """What changes with a file of a store.

    Attributes:
        size: In bytes.
        time: When it was written, in nanoseconds since 1970, if the store gives it no digest; else
            0. Without either it is the last moment there is.
        version: A number below 2**48 for its digest and size, or else for its time and size.
    """

    size: int
    time: int
    version: int


def state_of(info: Mapping[str, Any]) -> FileState:
    """Return the state of a file, of what fsspec knows of it."""
    size = int(info.get("size") or 0)
    digest = next((info[key] for key in DIGESTS if info.get(key)), "")
    # A listing may give it in another kind or, where there is a digest, precision than a file does.
    time = 0 if digest else _nanoseconds(next((info[key] for key in TIMES if info.get(key)), None))
    text = f"{digest or time}|{size}".encode()
    version = int.from_bytes(hashlib.blake2b(text, digest_size=6).digest())
    return FileState(size, time, version)


def _nanoseconds(when: Any) -> int:
    """Return a time of whatever kind a store gives it in; unknown ones are the last there is."""
    if isinstance(when, str):
        try:
            when = datetime.datetime.fromisoformat(when)
        except ValueError:
            return sys.maxsize
    if isinstance(when, datetime.datetime):
        when = when.timestamp()
    return int(when * 1e9) if isinstance(when, int | float) else sys.maxsize


class StoreFolder(NamedTuple):
    """What is in a folder of a store.

    Attributes:
        folders: The names of the folders in it.
        names: Those of the files, as an Arrow array.
        states: Size, time and version of each, ``(n, 3)`` int64.
    """

    folders: tuple[str, ...]
    names: Any
    states: "np.ndarray"

    def states_of(self, names: Sequence[str]) -> "np.ndarray":
        """Return the states of files, ``(len(names), 3)``; -1 for those that are not there."""
        import numpy as np
        import pyarrow as pa
        import pyarrow.compute as pc

        rows = pc.index_in(pa.array(names, pa.large_string()), value_set=self.names)
        places = rows.fill_null(-1).to_numpy().astype(np.int64)
        # The last row is for those that are not there.
        return np.asarray(np.concatenate([self.states, np.full((1, 3), -1)])[places])


def read_folder(path: str, infos: Sequence[Mapping[str, Any]]) -> StoreFolder:
    """Return a folder of what fsspec lists of it.

    Objects that stand for a folder alone, whose names end with a slash, are not in it, nor is a
    file that has the name of a folder.

    Raises:
        NotADirectoryError: If it is a file.
        StoreError: If a name in it cannot be part of a path.
    """
    import numpy as np  # which most commands need not wait for
    import pyarrow as pa

    folders: dict[str, None] = {}
    states: dict[str, FileState] = {}
    for info in infos:
        name, is_folder = info["name"], info["type"] == "directory"
        if name == path and not is_folder:
            raise NotADirectoryError
        part = name.rstrip("/").rpartition("/")[2]
        if part in ("", ".", "..") or (is_folder and name.rstrip("/") == path.rstrip("/")):
            raise StoreError(
                f"the store holds a name with a part that is empty, '.' or '..', where paths have "
                f"none: {name!r}; rename what is there"
            )
        if is_folder:
            folders[part] = None
        elif not name.endswith("/"):
            states[part] = state_of(info)
    for part in folders:
        states.pop(part, None)
    numbers = np.array([*states.values()], np.int64).reshape(-1, 3)
    return StoreFolder((*folders,), pa.array([*states], pa.large_string()), numbers)
