"""The activation cache: kept by what a value depends on, and by nothing else."""

import contextlib
import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import lmdb
import numpy as np
import platformdirs

from tlearn.errors import CacheError, one_line

FORMAT = 1  # raised whenever decoding, rendering or the layout of rows changes
FIRST_MAP = 2**26  # bytes; a map grows by doubling, because Windows allocates all of it


def default_root() -> Path:
    """Return ``$TLEARN_CACHE``, or the user's cache folder of this system."""
    chosen = os.environ.get("TLEARN_CACHE")
    return Path(chosen) if chosen else Path(platformdirs.user_cache_dir("tlearn", False))


@contextlib.contextmanager
def _explained(folder: Path) -> Iterator[None]:
    """Say what to do when the disk or the file system does not play along."""
    try:
        yield
    except (OSError, lmdb.Error) as error:
        raise CacheError(
            f"activations cannot be kept in {str(folder)!r}: {one_line(error)}; delete that "
            f"folder, make room, or set TLEARN_CACHE to a folder on a local disk"
        ) from None


class Space:
    """Arrays of one shape and type, computed in one way, found by row key.

    A space is an LMDB environment in a folder named by the digest of ``key``; ``space.json`` beside
    it says in words what it holds. Close it, or use it as a context manager.

    Raises:
        CacheError: If the folder cannot be written or holds something else.
    """

    def __init__(
        self, root: Path, key: Mapping[str, object], shape: Sequence[int], dtype: str
    ) -> None:
        described = {"format": FORMAT, **key, "shape": list(shape), "dtype": dtype}
        text = json.dumps(described, sort_keys=True, indent=1)
        self.folder = root / hashlib.blake2b(text.encode(), digest_size=12).hexdigest()
        self.shape, self.dtype = tuple(shape), np.dtype(dtype)
        with _explained(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            (self.folder / "space.json").write_text(text, encoding="utf-8")
            file = self.folder / "data.mdb"
            present = file.stat().st_size if file.exists() else 0
            size = max(FIRST_MAP, present)
            self._env = lmdb.open(str(self.folder), map_size=size, readahead=False)

    @property
    def row_bytes(self) -> int:
        """The size of a row in bytes."""
        return int(np.prod(self.shape)) * self.dtype.itemsize

    def __enter__(self) -> "Space":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the environment."""
        self._env.close()

    def _begin(self, **options: Any) -> Any:
        try:
            return self._env.begin(**options)
        except lmdb.MapResizedError:  # another process has let it grow
            self._env.set_mapsize(0)
            return self._env.begin(**options)

    def missing(self, keys: Iterable[bytes]) -> set[bytes]:
        """Return those keys for which no row is kept."""
        with self._begin() as transaction:
            cursor = transaction.cursor()
            return {key for key in keys if not cursor.set_key(key)}

    def put(self, rows: Mapping[bytes, np.ndarray]) -> None:
        """Keep rows: all of them or, if the process dies, none.

        Raises:
            CacheError: If they cannot be written.
        """
        with _explained(self.folder):
            while True:
                try:
                    with self._begin(write=True) as transaction:
                        for key, row in rows.items():
                            transaction.put(key, np.ascontiguousarray(row, self.dtype).tobytes())
                    return
                except lmdb.MapFullError:
                    self._env.set_mapsize(2 * self._env.info()["map_size"])

    def get(self, keys: Sequence[bytes]) -> np.ndarray:
        """Return the rows, ``(len(keys), *shape)``.

        Raises:
            KeyError: If one is not kept.
        """
        out = np.empty((len(keys), *self.shape), self.dtype)
        with self._begin(buffers=True) as transaction:
            for i, key in enumerate(keys):
                value = transaction.get(key)
                if value is None:
                    raise KeyError(key.hex())
                out[i] = np.frombuffer(value, self.dtype).reshape(self.shape)
        return out
