"""A store of activations that many machines share, behind the caches on their disks.

    URL/<table>/rows/<name>.rows      a file of rows as it is in the cache: never changed
    URL/<table>/keys/<name>.parquet   its keys, slots and checksums; written last

A table is the digest of all that its rows depend on, beside their keys. No other rows get a name
that was used, so that any number of machines write at once without locks; a file of rows without
its keys does not count. Nothing in a store is ever needed: what is missing or damaged is computed
again.
"""

import contextlib
import io
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

from tlearn.atomic import atomic_file
from tlearn.errors import CacheError
from tlearn.features.cache_index import CacheIndex
from tlearn.file_locks import is_locked
from tlearn.store_access import answer_in_time, is_url, open_store, store_errors_as

ADVICE = "check the address, the credentials and the network, or leave out --activation-store"
UPLOADS = 2  # files that may wait for being uploaded before more is computed
KEYS_AT_ONCE = 256  # files of keys in memory
FETCHES = 8  # at once

Segment = tuple[int, str]  # its number in the index, and the name of its file
Reserve = Callable[[int], bool]  # makes room for so many bytes, returns whether they fit


class RowFile(NamedTuple):
    """A file of rows in a store: its name, and the content of the file of its keys."""

    name: str
    keys: bytes


def put_rows(
    files: Any,
    root: str,
    digest: str,
    name: str,
    content: bytes,
    places: Sequence[tuple[bytes, int, int]],
) -> RowFile:
    """Write a file of rows into a store, and then its keys.

    Args:
        files: The file system of fsspec that the store is in.
        root: The path of the store there.
        digest: Of the table.
        name: Of the file; no other has it.
        content: The rows.
        places: Key, slot and checksum of each.

    Raises:
        Exception: Whatever the package of the store raises.
    """
    import pyarrow
    from pyarrow import parquet

    types = (pyarrow.binary(), pyarrow.uint32(), pyarrow.uint32())
    columns = map(pyarrow.array, zip(*places, strict=True), types)
    keys = io.BytesIO()
    parquet.write_table(pyarrow.table([*columns], ["key", "slot", "checksum"]), keys)
    files.pipe_file(f"{root}/{digest}/rows/{name}", content)
    files.pipe_file(f"{root}/{digest}/keys/{name[:-5]}.parquet", keys.getvalue())
    return RowFile(name, keys.getvalue())


class ActivationStore:
    """What tables of one URL share.

    Args:
        url: As fsspec takes it; a path is a folder that machines share, on NFS for instance.
        say: Called with a line where the store fails, once; it is not used any more after that.

    Attributes:
        usable: Whether it has not failed.
        place: The URL or, of a folder, its absolute path: as other processes may open it.

    Raises:
        CacheError: If it cannot be listed.
    """

    def __init__(self, url: str, say: Callable[[str], None]) -> None:
        self.url, self.usable, self._say = url, True, say
        self.files, self.root = open_store(self.url, CacheError)
        self.place = url if is_url(url) else self.root
        self.listed("none")  # there is none: only to see that the store answers

    def listed(self, folder: str) -> list[str]:
        """Return the paths of the files below a folder in the store, none if it is not there.

        Raises:
            CacheError: If it cannot be listed.
        """

        def find() -> list[str]:
            self.files.invalidate_cache()
            return list(self.files.find(f"{self.root}/{folder}"))

        what = f"the activation store {self.url!r} cannot be used"
        with store_errors_as(CacheError, what, ADVICE):
            return answer_in_time(find)

    @contextlib.contextmanager
    def sign(self) -> Iterator[str]:
        """Give the path of a file, there meanwhile, by which others see that a store is this one.

        It is empty if it cannot be written, which is said.
        """
        path = f"{self.root}/{uuid.uuid4().hex}.sign"
        with self.failures_said("written to"):
            self.files.pipe_file(path, b"")
        try:
            yield path if self.usable else ""
        finally:
            with contextlib.suppress(Exception):  # of any package; whoever can, deletes it
                self.files.rm_file(path)

    @contextlib.contextmanager
    def failures_said(self, action: str) -> Iterator[None]:
        """Where something fails, say so and use the store no more."""
        what = f"activations cannot be {action} the store {self.url!r}"
        try:
            with store_errors_as(CacheError, what, "this run goes on without it"):
                yield
        except CacheError as error:
            if self.usable:
                self._say(str(error))
            self.usable = False


class StoredTable:
    """The part of a store that belongs to one table of a cache.

    Args:
        store: The store.
        index: The index of the cache on this machine, which knows the keys of the store, too.
        number: The table in the index.
        digest: The table in the store.
        row_bytes: The bytes of a row.
        reserve: Makes room in the cache.
    """

    def __init__(
        self,
        store: ActivationStore,
        index: CacheIndex,
        number: int,
        digest: str,
        row_bytes: int,
        reserve: Reserve,
    ) -> None:
        self.url, self._store, self._index, self._number = store.url, store, index, number
        self.digest, self._row_bytes, self._reserve = digest, row_bytes, reserve
        self._fetching = threading.Lock()
        self._uploads: list[Future[None]] = []
        self._pool = ThreadPoolExecutor(1)

    def _rows(self, name: str) -> str:
        return f"{self._store.root}/{self.digest}/rows/{name}"

    def refresh(self) -> None:
        """Read the keys of what other machines have written, and forget what is gone.

        Raises:
            CacheError: If the store cannot be listed.
        """
        paths = self._store.listed(f"{self.digest}/keys")
        there = {path.rpartition("/")[2].replace(".parquet", ".rows"): path for path in paths}
        query = "SELECT file, id FROM segments WHERE space = ? AND store = ?"
        known = dict(self._index.query(query, self._number, self.url))
        for name in known.keys() - there.keys():
            self._index.forget_stored(known[name])
        new = [(name, path) for name, path in there.items() if name not in known]
        with self._store.failures_said("read from"):
            for start in range(0, len(new), KEYS_AT_ONCE):
                part = new[start : start + KEYS_AT_ONCE]
                contents = self._store.files.cat([path for _, path in part], on_error="omit")
                for name, path in part:
                    if path in contents:
                        self.add(RowFile(name, contents[path]))

    def add(self, file: RowFile) -> None:
        """Add a file of the store to the index, unless its keys are damaged or being written."""
        import pyarrow
        from pyarrow import parquet

        try:
            columns = parquet.read_table(io.BytesIO(file.keys)).to_pydict()
            rows = list(zip(columns["key"], columns["slot"], columns["checksum"], strict=True))
        except (pyarrow.ArrowException, KeyError, ValueError):
            return
        with self._index.transaction() as connection:
            connection.execute(
                "INSERT INTO segments (space, file, bytes, used, store) VALUES (?, ?, 0, 0, ?) "
                "ON CONFLICT (file) DO UPDATE SET store = excluded.store",
                (self._number, file.name, self.url),
            )
            query = "SELECT id FROM segments WHERE file = ?"
            segment = connection.execute(query, (file.name,)).fetchone()[0]
            connection.executemany(
                "INSERT OR IGNORE INTO rows VALUES (?, ?, ?, ?, ?)",
                ((self._number, key, segment, slot, checksum) for key, slot, checksum in rows),
            )

    def upload(self, segment: Segment) -> None:
        """Begin to upload a file of rows that is complete."""
        while len(self._uploads) >= UPLOADS:
            self._uploads.pop(0).result()
        self._uploads.append(self._pool.submit(self._upload, *segment))

    def finish(self) -> None:
        """Wait until everything is uploaded."""
        while self._uploads:
            self._uploads.pop(0).result()

    def close(self) -> None:
        """Upload what is here alone, too, finish, and end the thread that uploads."""
        self._upload_rest()
        self.finish()
        self._pool.shutdown()

    def _upload_rest(self) -> None:
        """Upload files with rows that the store lacks, such as a killed process has left."""
        query = """
            SELECT id, file FROM segments WHERE space = ? AND store != ? AND bytes > 0 AND EXISTS (
                SELECT 1 FROM rows WHERE segment = segments.id AND NOT EXISTS (
                    SELECT 1 FROM rows AS others JOIN segments AS stored ON stored.id = segment
                    WHERE others.space = rows.space AND others.key = rows.key AND store = ?))"""
        for segment, name in self._index.query(query, self._number, self.url, self.url):
            with contextlib.suppress(OSError):  # evicted meanwhile
                if not is_locked(self._index.segments / name):  # else its writer uploads it
                    self.upload((segment, name))

    def _upload(self, segment: int, name: str) -> None:
        if not self._store.usable:
            return
        query = "SELECT key, slot, checksum FROM rows WHERE segment = ? ORDER BY slot"
        rows = self._index.query(query, segment)
        path = self._index.segments / name
        if not rows or not path.exists():  # evicted by another process
            return
        with self._store.failures_said("written to"):
            files, root = self._store.files, self._store.root
            put_rows(files, root, self.digest, name, path.read_bytes(), rows)
            with self._index.transaction() as connection:
                values = (self.url, segment)
                connection.execute("UPDATE segments SET store = ? WHERE id = ?", values)
            if not self._reserve(0):  # there is more than fits here
                self._index.evict(segment, name)

    def fetch(self, segments: Sequence[Segment]) -> None:
        """Copy files of rows into the cache, as many as fit; those that are gone are forgotten."""
        with self._fetching:  # what another thread fetched is here by then
            chosen, total = [], 0
            for segment, name in segments:
                query = "SELECT max(slot) + 1 FROM rows JOIN segments ON segments.id = segment "
                [[count]] = self._index.query(f"{query} WHERE id = ? AND bytes = 0", segment)
                size = (count or 0) * self._row_bytes
                if size and self._reserve(total + size):
                    chosen.append((segment, name))
                    total += size
            with ThreadPoolExecutor(FETCHES) as pool:
                list(pool.map(self._fetch, chosen))

    def _fetch(self, place: Segment) -> None:
        segment, name = place
        with self._store.failures_said("read from"):
            if not self._store.usable:
                return
            try:
                with atomic_file(self._index.segments / name) as temporary:
                    self._store.files.get_file(self._rows(name), str(temporary))
                    size = temporary.stat().st_size
            except FileNotFoundError:
                self._index.forget_stored(segment)
                return
            with self._index.transaction() as connection:
                query = "UPDATE segments SET bytes = ?, used = ? WHERE id = ?"
                connection.execute(query, (size, time.time(), segment))

    def read(self, places: Sequence[tuple[str, int, int]]) -> list[bytes]:
        """Return parts of files of rows, by name, start and end; empty if they are not there."""
        with self._store.failures_said("read from"):
            if self._store.usable:
                paths = [self._rows(name) for name, _, _ in places]
                starts, ends = [start for _, start, _ in places], [end for _, _, end in places]
                parts = self._store.files.cat_ranges(paths, starts, ends, on_error="return")
                return [part if isinstance(part, bytes) else b"" for part in parts]
        return [b""] * len(places)
