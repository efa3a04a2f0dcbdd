"""The activation cache: kept by what a value depends on, and by nothing else.

    index.sqlite       which row of which space lies where, with its checksum
    segments/*.rows    the rows; a file is appended to by one process, and then never changed
    compiled/          networks made ready for an engine

Nothing in it is ever needed: what is missing, damaged or evicted is computed again.
"""

import contextlib
import hashlib
import json
import os
import shutil
import sqlite3
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import platformdirs

from tlearn.errors import one_line
from tlearn.features.cache_table import CacheTable, explained

FORMAT = 3  # raised whenever decoding, rendering or the layout of rows changes
SHARE = 5  # of the free space, one part in so many is the budget unless one is given

COMPILED = 2**31  # bytes that networks made ready for engines may take

# Numbers are never given twice: a process may still hold one that another has deleted.
SCHEMA = (
    """CREATE TABLE spaces (
    id INTEGER PRIMARY KEY AUTOINCREMENT, digest TEXT UNIQUE, described TEXT)""",
    """CREATE TABLE segments (
    id INTEGER PRIMARY KEY AUTOINCREMENT, space INTEGER, file TEXT UNIQUE, bytes INTEGER,
    used REAL)""",
    """CREATE TABLE rows (
    space INTEGER, key BLOB, segment INTEGER, slot INTEGER, checksum INTEGER,
    PRIMARY KEY (space, key)) WITHOUT ROWID""",
    "CREATE INDEX rows_by_segment ON rows (segment)",
    f"PRAGMA user_version = {FORMAT}",
)


def default_root() -> Path:
    """Return ``$TLEARN_CACHE``, or the user's cache folder of this system."""
    chosen = os.environ.get("TLEARN_CACHE")
    return Path(chosen) if chosen else Path(platformdirs.user_cache_dir("tlearn", False))


def compiled_path(root: Path, key: Mapping[str, object]) -> Path:
    """Return where a network that is made ready for an engine belongs, without its suffix.

    Args:
        root: The cache folder.
        key: All that it depends on.

    Raises:
        CacheError: If the folder cannot be used.
    """
    text = json.dumps({"format": FORMAT, **key}, sort_keys=True)
    with explained(root):
        (root / "compiled").mkdir(parents=True, exist_ok=True)
    return root / "compiled" / hashlib.blake2b(text.encode(), digest_size=12).hexdigest()


@dataclass(frozen=True)
class TableInfo:
    """What a space holds.

    Attributes:
        described: What the rows are, as given when the space was made.
        rows: How many there are.
        bytes: What they take on disk.
        used: When they were last used, in seconds since 1970.
    """

    described: dict[str, Any]
    rows: int
    bytes: int
    used: float


class Cache:
    """A cache folder. Close it, or use it as a context manager; threads may share it.

    Args:
        root: The folder; made if need be.
        budget: Bytes that rows may take, or ``None`` for a fifth of what is free.
        say: Is told of what was lost.

    Raises:
        CacheError: If the folder cannot be used.
    """

    def __init__(
        self, root: Path, budget: float | None = None, say: Callable[[str], None] | None = None
    ) -> None:
        self.root, self._say = root, say or (lambda text: None)
        self.segments = root / "segments"
        self.lock = threading.RLock()
        self.files: OrderedDict[str, FileIO] = OrderedDict()
        self._opened = time.time()
        self._spaces: list[CacheTable] = []
        with explained(self.root):
            self.segments.mkdir(parents=True, exist_ok=True)
            self.index = self._open()
            self._prune()
            free = shutil.disk_usage(root).free
        everything = free + self.used_bytes()
        self.budget = everything // SHARE if budget is None else int(budget)

    def __enter__(self) -> "Cache":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close all files."""
        with self.lock:
            for space in self._spaces:
                space.finish()
            self.index.close()
            while self.files:
                self.files.popitem()[1].close()

    def _open(self) -> sqlite3.Connection:
        path = self.root / "index.sqlite"
        for again in (True, False):
            index = sqlite3.connect(path, 60.0, isolation_level=None, check_same_thread=False)
            try:
                _prepare(index, self.segments)
                damage = index.execute("PRAGMA quick_check(1)").fetchone()[0]
                if damage == "ok":
                    return index
                raise sqlite3.DatabaseError(damage)
            except sqlite3.OperationalError:  # locked, read-only: not damage
                index.close()
                raise
            except sqlite3.DatabaseError as error:
                index.close()
                if not again:
                    raise
                self._say(
                    f"the index of the activation cache {str(self.root)!r} is damaged "
                    f"({one_line(error)}): what was kept is computed again"
                )
                for file in (*self.root.glob("index.sqlite*"), *self.segments.glob("*.rows")):
                    file.unlink(missing_ok=True)
        raise AssertionError

    @contextlib.contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Change the index whole or not at all."""
        with self.lock, explained(self.root):
            self.index.execute("BEGIN IMMEDIATE")
            try:
                yield self.index
            except BaseException:
                if self.index.in_transaction:  # on a full disk SQLite does so by itself
                    self.index.execute("ROLLBACK")
                raise
            self.index.execute("COMMIT")

    def space(self, key: Mapping[str, object], shape: Sequence[int], dtype: str) -> "CacheTable":
        """Return the space for arrays of one shape and type that are computed in one way.

        Args:
            key: All that the values depend on, beside the row key; it can be written as JSON.
            shape: Shape of a row.
            dtype: Type of its numbers.
        """
        described = {"format": FORMAT, **key, "shape": list(shape), "dtype": dtype}
        text = json.dumps(described, sort_keys=True)
        digest = hashlib.blake2b(text.encode(), digest_size=12).hexdigest()
        row_bytes = int(np.prod(shape)) * np.dtype(dtype).itemsize
        with self.transaction() as index:
            index.execute(
                "INSERT OR IGNORE INTO spaces (digest, described) VALUES (?, ?)",
                (digest, text),
            )
            found = index.execute("SELECT id FROM spaces WHERE digest = ?", (digest,)).fetchone()
        space = CacheTable(self, found[0], tuple(shape), np.dtype(dtype), row_bytes)
        self._spaces.append(space)
        return space

    def used_bytes(self) -> int:
        """Return what the rows take on disk."""
        with self.lock, explained(self.root):
            return int(self.index.execute("SELECT total(bytes) FROM segments").fetchone()[0])

    def room(self) -> int:
        """Return how many bytes can still be kept, if all that is not in use were evicted."""
        with self.lock, explained(self.root):
            query = "SELECT total(bytes) FROM segments WHERE used >= ?"
            in_use = int(self.index.execute(query, (self._opened,)).fetchone()[0])
            free = shutil.disk_usage(self.root).free + self.used_bytes() - in_use
        return max(0, min(self.budget - in_use, free))

    def make_room(self, needed: int) -> int:
        """Evict what was used longest ago until ``needed`` more bytes fit; return bytes evicted.

        What was used since this cache was opened is left alone, by whichever process.
        """
        with explained(self.root):
            limit = min(self.budget, shutil.disk_usage(self.root).free + self.used_bytes())
            excess = self.used_bytes() + needed - limit
            with self.lock:
                query = "SELECT id, file, bytes FROM segments WHERE used < ? ORDER BY used"
                old = self.index.execute(query, (self._opened,)).fetchall()
            evicted = 0
            for segment, file, size in old:
                if evicted >= excess:
                    break
                self.drop(segment, file)
                evicted += size
        return evicted

    def drop(self, segment: int, file: str) -> None:
        """Forget a file of rows, and delete it."""
        with self.transaction() as index:
            index.execute("DELETE FROM rows WHERE segment = ?", (segment,))
            index.execute("DELETE FROM segments WHERE id = ?", (segment,))
            opened = self.files.pop(file, None)
            if opened:
                opened.close()
        with contextlib.suppress(OSError):  # on Windows, while another process reads it
            (self.segments / file).unlink()

    def tables(self) -> list[TableInfo]:
        """Return what is kept, space by space, last used first."""
        query = """
            SELECT described, (SELECT count(*) FROM rows WHERE rows.space = spaces.id),
                   total(bytes), max(used)
            FROM spaces JOIN segments ON segments.space = spaces.id
            GROUP BY spaces.id ORDER BY max(used) DESC"""
        with self.lock, explained(self.root):
            found = self.index.execute(query).fetchall()
        return [
            TableInfo(json.loads(text), rows, int(size), used) for text, rows, size, used in found
        ]

    def _prune(self) -> None:
        """Delete the compiled networks that were used longest ago, beyond what they may take.

        Every training leaves one, of the model that it saved.
        """
        files = [(f.stat(), f) for f in (self.root / "compiled").glob("*")]
        total = 0
        for stat, file in sorted(files, key=lambda entry: -entry[0].st_mtime):
            total += stat.st_size
            if total > COMPILED:
                file.unlink(missing_ok=True)

    def compiled_bytes(self) -> int:
        """Return what networks made ready for engines take on disk."""
        return sum(file.stat().st_size for file in (self.root / "compiled").glob("*"))

    def clear(self) -> int:
        """Delete everything that is kept; return the bytes freed.

        A training that runs meanwhile computes what it misses again.
        """
        freed = self.used_bytes() + self.compiled_bytes()
        with self.transaction() as index:
            for table in ("rows", "segments", "spaces"):
                index.execute(f"DELETE FROM {table}")
            while self.files:
                self.files.popitem()[1].close()
        with self.lock, explained(self.root):
            self.index.execute("VACUUM")
            for file in (*self.segments.glob("*.rows"), *(self.root / "compiled").glob("*")):
                file.unlink(missing_ok=True)
        return freed


def _prepare(index: sqlite3.Connection, segments: Path) -> None:
    """Make the tables; those of another format go, with their files."""
    index.execute("PRAGMA journal_mode = WAL")
    index.execute("PRAGMA synchronous = NORMAL")
    if index.execute("PRAGMA user_version").fetchone()[0] == FORMAT:
        return
    index.execute("BEGIN EXCLUSIVE")
    if index.execute("PRAGMA user_version").fetchone()[0] != FORMAT:  # nobody else was quicker
        for table in ("rows", "segments", "spaces"):
            index.execute(f"DROP TABLE IF EXISTS {table}")
        for statement in SCHEMA:
            index.execute(statement)
        for file in segments.glob("*.rows"):
            file.unlink(missing_ok=True)
    index.execute("COMMIT")
