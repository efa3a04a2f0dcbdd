"""The index of the activation cache: which row of which table is where."""

import contextlib
import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tlearn.errors import CacheError, one_line

FORMAT = 4  # raised whenever decoding, rendering or the layout of rows changes

# Numbers are never given twice: a process may still hold one that another has deleted.
# ``bytes`` are those of the file on this machine, 0 if it is not here; ``store`` is the URL of the
# store that has it.
SCHEMA = (
    """CREATE TABLE spaces (
    id INTEGER PRIMARY KEY AUTOINCREMENT, digest TEXT UNIQUE, described TEXT)""",
    """CREATE TABLE segments (
    id INTEGER PRIMARY KEY AUTOINCREMENT, space INTEGER, file TEXT UNIQUE, bytes INTEGER,
    used REAL, store TEXT NOT NULL DEFAULT '')""",
    """CREATE TABLE rows (
    space INTEGER, key BLOB, segment INTEGER, slot INTEGER, checksum INTEGER,
    PRIMARY KEY (space, key, segment)) WITHOUT ROWID""",
    "CREATE INDEX rows_by_segment ON rows (segment)",
    f"PRAGMA user_version = {FORMAT}",
)


@contextlib.contextmanager
def explain_errors(root: Path) -> Iterator[None]:
    """Raise errors of the disk or of SQLite as one that says what to do.

    Raises:
        CacheError: If there is one.
    """
    try:
        yield
    except (OSError, sqlite3.Error) as error:
        raise CacheError(
            f"activations cannot be cached in {str(root)!r}: {one_line(error)}; run 'tlearn cache "
            f"clear', make room, or set TLEARN_CACHE to a folder on a local disk"
        ) from None


class CacheIndex:
    """The index of one cache folder; threads may share it.

    Args:
        root: The folder; made if need be.
        say: Called with a line where the index is damaged.

    Attributes:
        lock: Held by whoever changes the index.
        segments: The folder with the files of rows.

    Raises:
        CacheError: If the folder cannot be used.
    """

    def __init__(self, root: Path, say: Callable[[str], None]) -> None:
        self.root = root
        self.segments = root / "segments"
        self.lock = threading.RLock()
        with explain_errors(root):
            self.segments.mkdir(parents=True, exist_ok=True)
            try:
                self._connection = _open(root)
            except sqlite3.OperationalError:  # locked, read-only: not damage
                raise
            except sqlite3.DatabaseError as error:
                say(
                    f"the index of the activation cache {str(root)!r} is damaged "
                    f"({one_line(error)}): activations are computed again"
                )
                for file in (*root.glob("index.sqlite*"), *self.segments.glob("*.rows")):
                    file.unlink(missing_ok=True)
                self._connection = _open(root)

    def query(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        """Return the rows that a ``SELECT`` gives."""
        with self.lock, explain_errors(self.root):
            return self._connection.execute(sql, values).fetchall()

    @contextlib.contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Change the index whole or not at all."""
        with self.lock, explain_errors(self.root):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
            except BaseException:
                if self._connection.in_transaction:  # on a full disk SQLite does so by itself
                    self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")

    def evict(self, segment: int, file: str) -> None:
        """Delete a file of rows; forget them, unless a store has them."""
        with self.transaction() as connection:
            kept = connection.execute(
                "UPDATE segments SET bytes = 0 WHERE id = ? AND store != ''", (segment,)
            )
            if not kept.rowcount:
                _forget(connection, segment)
        with contextlib.suppress(OSError):  # on Windows, while another process reads it
            (self.segments / file).unlink()

    def forget_stored(self, segment: int) -> None:
        """Note that the store no longer has a file of rows; forget them if they are not here."""
        with self.transaction() as connection:
            here = connection.execute(
                "UPDATE segments SET store = '' WHERE id = ? AND bytes > 0", (segment,)
            )
            if not here.rowcount:
                _forget(connection, segment)

    def clear(self) -> None:
        """Forget all rows, and delete their files."""
        with self.transaction() as connection:
            for table in ("rows", "segments", "spaces"):
                connection.execute(f"DELETE FROM {table}")
        with self.lock, explain_errors(self.root):
            self._connection.execute("VACUUM")
            for file in self.segments.glob("*.rows"):
                file.unlink(missing_ok=True)

    def close(self) -> None:
        """Close it."""
        with self.lock:
            self._connection.close()


def _forget(connection: sqlite3.Connection, segment: int) -> None:
    connection.execute("DELETE FROM rows WHERE segment = ?", (segment,))
    connection.execute("DELETE FROM segments WHERE id = ?", (segment,))


def _open(root: Path) -> sqlite3.Connection:
    """Connect to an index, made if need be.

    Raises:
        sqlite3.DatabaseError: If it is damaged.
    """
    path = root / "index.sqlite"
    connection = sqlite3.connect(path, 60.0, isolation_level=None, check_same_thread=False)
    try:
        _prepare(connection, root / "segments")
        damage = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        if damage != "ok":
            raise sqlite3.DatabaseError(damage)
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def _prepare(connection: sqlite3.Connection, segments: Path) -> None:
    """Make the tables; those of another format go, with their files."""
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    format_of = "PRAGMA user_version"
    if connection.execute(format_of).fetchone()[0] == FORMAT:
        return
    connection.execute("BEGIN EXCLUSIVE")
    if connection.execute(format_of).fetchone()[0] != FORMAT:  # no other process was quicker
        for table in ("rows", "segments", "spaces"):
            connection.execute(f"DROP TABLE IF EXISTS {table}")
        for statement in SCHEMA:
            connection.execute(statement)
        for file in segments.glob("*.rows"):
            file.unlink(missing_ok=True)
    connection.execute("COMMIT")
