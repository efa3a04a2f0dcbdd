"""The activation cache: arrays by all that their values depend on, and by nothing else.

    index.sqlite       which row of which table is where, with its checksum
    segments/*.rows    the rows; a file is appended to by one process, and then never changed
    compiled/          networks compiled for an engine

Nothing in it is ever needed: what is missing, damaged or evicted is computed again. A store may be
behind it, which machines share (:mod:`tlearn.features.activation_store`).
"""

import contextlib
import hashlib
import json
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tlearn.cache_folder import cache_folder
from tlearn.config import RunConfig
from tlearn.features.activation_store import ActivationStore, StoredTable
from tlearn.features.cache_index import FORMAT, CacheIndex, explain_errors
from tlearn.features.cache_table import CacheTable

DEFAULT_PART = 5  # the default budget is one part in so many of the free space
COMPILED = 2**31  # bytes that compiled networks may take


def compiled_path(root: Path, key: Mapping[str, object]) -> Path:
    """Return where a network that depends on ``key`` alone belongs, without its suffix.

    Raises:
        CacheError: If the folder cannot be used.
    """
    with explain_errors(root):
        (root / "compiled").mkdir(parents=True, exist_ok=True)
    return root / "compiled" / _digest(json.dumps({"format": FORMAT, **key}, sort_keys=True))


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=12).hexdigest()


@dataclass(frozen=True)
class TableInfo:
    """What a table holds: what its rows are, their bytes, and when they were used (since 1970)."""

    key: dict[str, Any]
    rows: int
    bytes: int
    used: float


class Cache:
    """A cache folder. Close it, or use it as a context manager; threads may share it.

    Args:
        root: The folder; made if need be.
        budget: Bytes that rows may take, or ``None`` for a fifth of what is free.
        say: Called with a line where the index is damaged, or the store fails.
        store: The URL of a store of activations behind it; empty for none.

    Raises:
        CacheError: If the folder or the store cannot be used.
    """

    def __init__(
        self,
        root: Path,
        budget: float | None = None,
        say: Callable[[str], None] | None = None,
        store: str = "",
    ) -> None:
        self.root = root
        say = say or (lambda text: None)
        self.store = ActivationStore(store, say) if store else None
        self.index = CacheIndex(root, say)
        self._opened = time.time()
        self._tables: list[CacheTable] = []
        with explain_errors(root):
            self._prune()
        self.budget = self._capacity() // DEFAULT_PART if budget is None else int(budget)

    def __enter__(self) -> "Cache":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Close all files."""
        for table in self._tables:
            table.close()
        self.index.close()

    def table(self, key: Mapping[str, object], shape: Sequence[int], dtype: str) -> CacheTable:
        """Return the table for rows of one shape and type that are computed in one way.

        ``key`` is all that their numbers depend on beside the row key, as JSON can hold it. Where
        there is a store, the table has the rows that it has by now.

        Raises:
            CacheError: If the store cannot be listed.
        """
        whole = {"format": FORMAT, **key, "shape": list(shape), "dtype": dtype}
        text = json.dumps(whole, sort_keys=True)
        with self.index.transaction() as connection:
            connection.execute(
                "INSERT OR IGNORE INTO spaces (digest, described) VALUES (?, ?)",
                (_digest(text), text),
            )
            query = "SELECT id FROM spaces WHERE digest = ?"
            number = connection.execute(query, (_digest(text),)).fetchone()[0]
        row_bytes = int(np.prod(shape)) * np.dtype(dtype).itemsize
        stored = None
        if self.store:
            place = (number, _digest(text), row_bytes)
            stored = StoredTable(self.store, self.index, *place, self._reserve)
        table = CacheTable(self.index, number, tuple(shape), np.dtype(dtype), stored)
        self._tables.append(table)
        table.refresh()
        return table

    @property
    def usable_store(self) -> ActivationStore | None:
        """The store, unless there is none or it has failed."""
        return self.store if self.store and self.store.usable else None

    @contextlib.contextmanager
    def sign_store(self) -> Iterator[tuple[str, str]]:
        """Give the place of the store and :meth:`ActivationStore.sign`; empty if there is none."""
        store = self.usable_store
        if not store:
            yield "", ""
            return
        with store.sign() as sign:
            yield (store.place, sign) if sign else ("", "")

    def _reserve(self, size: int) -> bool:
        """Evict until so many more bytes fit, if that is possible; return whether they do."""
        self.make_room(size)
        return self.used_bytes() + size <= min(self.budget, self._capacity())

    def used_bytes(self) -> int:
        """Return what the rows take on disk."""
        return int(self.index.query("SELECT total(bytes) FROM segments")[0][0])

    def _capacity(self) -> int:
        """Return what rows could take on this disk, without anything else having to go."""
        with explain_errors(self.root):
            return shutil.disk_usage(self.root).free + self.used_bytes()

    def room(self) -> int:
        """Return how many bytes can still be cached, if all that is not in use were evicted.

        A store has room for everything: what does not fit here is read there in place.
        """
        if self.usable_store:
            return sys.maxsize
        query = "SELECT total(bytes) FROM segments WHERE used >= ?"
        in_use = int(self.index.query(query, self._opened)[0][0])
        return max(0, min(self.budget, self._capacity()) - in_use)

    def make_room(self, needed: int) -> int:
        """Evict what was used longest ago until ``needed`` more bytes fit; return bytes evicted.

        What any process used since this cache was opened is not evicted.
        """
        excess = self.used_bytes() + needed - min(self.budget, self._capacity())
        query = "SELECT id, file, bytes FROM segments WHERE used < ? AND bytes > 0 ORDER BY used"
        evicted = 0
        for segment, file, size in self.index.query(query, self._opened):
            if evicted >= excess:
                break
            self.index.evict(segment, file)
            evicted += size
        return evicted

    def tables(self) -> list[TableInfo]:
        """Return what is in the cache, table by table, last used first."""
        query = """
            SELECT described,
                   (SELECT count(DISTINCT key) FROM rows JOIN segments ON segments.id = segment
                    WHERE rows.space = spaces.id AND bytes > 0),
                   total(bytes), max(used)
            FROM spaces JOIN segments ON segments.space = spaces.id WHERE bytes > 0
            GROUP BY spaces.id ORDER BY max(used) DESC"""
        return [
            TableInfo(json.loads(text), rows, int(size), used)
            for text, rows, size, used in self.index.query(query)
        ]

    def _prune(self) -> None:
        """Delete the compiled networks that were used longest ago, beyond what they may take.

        Every training leaves one, of the model that it saved.
        """
        total = 0
        for _, size, file in sorted(self._compiled_files(), reverse=True):
            total += size
            if total > COMPILED:
                file.unlink(missing_ok=True)

    def _compiled_files(self) -> list[tuple[float, int, Path]]:
        """Return time of use, size and path of the compiled networks.

        Another process may write one, under a temporary name, or delete one meanwhile.
        """
        files = []
        for file in (self.root / "compiled").glob("*"):
            with contextlib.suppress(FileNotFoundError):
                stat = file.stat()
                files.append((stat.st_mtime, stat.st_size, file))
        return files

    def compiled_bytes(self) -> int:
        """Return what compiled networks take on disk."""
        return sum(size for _, size, _ in self._compiled_files())

    def clear(self) -> int:
        """Delete everything on this machine; return the bytes freed.

        A training that runs meanwhile computes what it misses again.
        """
        freed = self.used_bytes() + self.compiled_bytes()
        self.index.clear()
        with explain_errors(self.root):
            for _, _, file in self._compiled_files():
                file.unlink(missing_ok=True)
        return freed


def open_cache(config: RunConfig, say: Callable[[str], None]) -> Cache:
    """Open the user's cache, with the budget and the store of a configuration.

    Raises:
        CacheError: If the folder or the store cannot be used.
    """
    return Cache(cache_folder(), config.disk_budget, say, config.activation_store)
