"""The results of reading files in earlier scans, so that unchanged files are not read again."""

import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import PIL
import pyarrow as pa
import pyarrow.compute as pc

from tlearn import __version__
from tlearn.atomic import atomic_file
from tlearn.cache_folder import cache_folder
from tlearn.data.columns import (
    HASH,
    HASH_BYTES,
    NAMES,
    TEXTS,
    code_texts,
    codes_of,
    fixed_array,
    fixed_bytes,
)
from tlearn.data.file_stamps import UNKNOWN, Stamp, are_settled, stamp_of
from tlearn.data.file_table import FileTable
from tlearn.data.packed_photos import shard_of
from tlearn.data.pixel_values import OwnRange
from tlearn.data.prefetch import prefetch_map
from tlearn.object_stores import LISTINGS, StorePath, Tree
from tlearn.progress import Task
from tlearn.store_access import is_url

FOLDER = "scans"  # in the user's cache folder
MOST = 100  # data sets whose results are there: those scanned last
STAMPED = 256  # files whose state a thread asks for at a time
SAVE_SECONDS = 120.0  # after which what was read so far is saved: reading a million takes hours
STAMP = pa.binary(5 * 8)
SCHEMA = pa.schema(
    # The result is JSON of what is more than a content hash, empty if nothing is.
    {"name": NAMES, "stamp": STAMP, "content": HASH, "result": TEXTS},
    # What reads the files: another version may find something else in them.
    metadata={"readers": f"tlearn {__version__}, Pillow {PIL.__version__}"},
)


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


class FileChecks:
    """The results of checking many files.

    Attributes:
        done: Which are checked, ``(n,)`` bool.
        contents: The content hashes of the readable images, ``(n, 16)`` uint8.
        special: The results that are more than a content hash, by the positions of their files.
    """

    def __init__(self, count: int) -> None:
        self.done = np.zeros(count, bool)
        self.contents = np.zeros((count, HASH_BYTES), np.uint8)
        self.special: dict[int, FileCheck] = {}

    @classmethod
    def of(cls, results: Sequence[FileCheck]) -> "FileChecks":
        """Return the results of files that are all checked."""
        checks = cls(len(results))
        checks.done[:] = True
        for place, result in enumerate(results):
            if result.content:
                checks.contents[place] = np.frombuffer(bytes.fromhex(result.content), np.uint8)
            if result.kind or result.reason or result.own or not result.lasting:
                checks.special[place] = result
        return checks

    def fill(self, places: np.ndarray, parts: Iterable["FileChecks"]) -> Iterator[int]:
        """Set the results of files at some places, as they come; yield how many came each time."""
        start = 0
        for part in parts:
            count = len(part.done)
            here = places[start : start + count]
            self.done[here], self.contents[here] = part.done, part.contents
            for place, result in part.special.items():
                self.special[int(here[place])] = result
            start += count
            yield count

    @property
    def is_image(self) -> np.ndarray:
        """Which are readable images, ``(n,)`` bool."""
        readable = self.done.copy()
        readable[[place for place, result in self.special.items() if result.kind]] = False
        return readable

    def in_order(self) -> Iterator[tuple[int, FileCheck]]:
        """Yield the special results in the order of the files."""
        return ((place, self.special[place]) for place in sorted(self.special))


class ScanCache:
    """The results of checking the files of one data set, in a file of the user's cache folder.

    A file counts as unchanged while its name, size, times of change and inode are the same; in a
    store, its digest, or time and size. For a photo in a shard that of the shard counts. One that
    was modified less than two seconds before it was looked at is not cached. A file of results
    that is damaged, or that cannot be written, is as none.
    """

    def __init__(self, data: Path) -> None:
        key = hashlib.blake2b(os.fsencode(str(data.resolve())), digest_size=16).hexdigest()
        self.path = cache_folder() / FOLDER / f"{key}.arrow"

    def check(
        self,
        files: FileTable,
        read: Callable[[FileTable], Iterator[FileChecks]],
        task: Task,
        tree: Tree,
        again: bool = False,
    ) -> FileChecks:
        """Check files; those that have not changed are not read, unless ``again``.

        What was read is saved also where an error or Ctrl-C ends it. ``read`` yields the results of
        files in their order. ``tree`` is what was listed of the store that they are in.
        """
        now, stamps = time.time_ns(), _stamps_of(files, tree)
        checks = FileChecks(len(files))
        if not again:
            self._load(files.names, stamps, checks)
        known = int(checks.done.sum())
        task.advance(known)
        rest = np.flatnonzero(~checks.done)
        # Before reading: what is written after this moment gets another time of change.
        settled = are_settled(stamps, now)
        saved = time.monotonic()
        try:
            for count in checks.fill(rest, read(files[rest])):
                task.advance(count)
                if time.monotonic() - saved > SAVE_SECONDS:
                    self._save(files.names, stamps, settled, checks)
                    saved = time.monotonic()
        finally:
            if len(rest):
                self._save(files.names, stamps, settled, checks)
        return checks

    def _load(self, names: Any, stamps: np.ndarray, checks: FileChecks) -> None:
        """Set the results of the files that have not changed."""
        try:
            with pa.memory_map(str(self.path)) as file:
                table = pa.ipc.open_file(file).read_all()
            table.validate(full=True)
        except (OSError, ValueError):
            return
        if not table.schema.equals(SCHEMA, check_metadata=True):
            return
        with suppress(OSError):
            self.path.touch()  # the ones used last are not removed
        before, stamp, content, result = (column.combine_chunks() for column in table.columns)
        if before.equals(names):
            rows = np.arange(len(before))
        else:  # files have come or gone
            rows = pc.index_in(names, value_set=before).fill_null(-1).to_numpy().astype(np.int64)
        places = np.flatnonzero(rows >= 0)
        then = fixed_bytes(stamp).view(np.int64)
        places = places[(then[rows[places]] == stamps[places]).all(axis=1)]
        rows = rows[places]
        checks.done[places] = True
        checks.contents[places] = fixed_bytes(content)[rows]
        results = [_from_json(text) if text else None for text in result.dictionary.to_pylist()]
        numbers = result.indices.to_numpy()[rows]
        special = np.array([each is not None for each in results], bool)[numbers]
        for place, number in zip(places[special].tolist(), numbers[special].tolist(), strict=True):
            checks.special[place] = cast(FileCheck, results[number])

    def _save(
        self, names: Any, stamps: np.ndarray, settled: np.ndarray, checks: FileChecks
    ) -> None:
        """Write the results that will hold, in place of all that were there."""
        number_of = {"": 0}
        numbers, lasting = np.zeros(len(names), np.int32), np.ones(len(names), bool)
        for place, result in checks.special.items():
            numbers[place] = number_of.setdefault(_to_json(result), len(number_of))
            lasting[place] = result.lasting
        rows = np.flatnonzero(checks.done & settled & lasting)
        arrays = [
            names.take(pa.array(rows)),
            fixed_array(stamps[rows].view(np.uint8)),
            fixed_array(checks.contents[rows]),
            code_texts(numbers[rows], tuple(number_of)),
        ]
        with suppress(OSError):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with (
                atomic_file(self.path) as temporary,
                pa.OSFile(str(temporary), "wb") as file,
                pa.ipc.new_file(file, SCHEMA) as writer,
            ):
                writer.write_table(pa.Table.from_arrays(arrays, schema=SCHEMA))
            files = sorted(self.path.parent.glob("*.arrow"), key=lambda file: file.stat().st_mtime)
            for file in files[:-MOST]:
                file.unlink()


def scans_bytes() -> int:
    """Return the size of all results in the user's cache folder."""
    return sum(file.stat().st_size for file in (cache_folder() / FOLDER).rglob("*.arrow"))


def remove_scans() -> int:
    """Remove all results; return the bytes that are freed."""
    freed = scans_bytes()
    shutil.rmtree(cache_folder() / FOLDER, ignore_errors=True)
    return freed


def _stamps_of(files: FileTable, tree: Tree) -> np.ndarray:
    """Return what changes with each file, ``(n, 5)`` int64; -1 for one that is not there."""
    stamps = np.full((len(files), 5), UNKNOWN, np.int64)
    shared = np.ones(len(files), bool)  # with a listing or a shard
    if not isinstance(files.folder, StorePath):
        pattern = r"://|\.(?i:tar|parquet)/"
        shared = pc.match_substring_regex(files.names, pattern).to_numpy(zero_copy_only=False)
    alone = np.flatnonzero(~shared)
    parts = [alone[start : start + STAMPED] for start in range(0, len(alone), STAMPED)]

    def look(places: np.ndarray) -> list[Stamp]:
        return [stamp_of(path) for path in files[places].paths()]

    for places, found in zip(parts, prefetch_map(look, parts), strict=True):
        stamps[places] = found
    _stamp_shared(files, np.flatnonzero(shared), stamps, tree)
    return stamps


def _stamp_shared(files: FileTable, places: np.ndarray, stamps: np.ndarray, tree: Tree) -> None:
    """Set the stamps of files at some places, in stores or shards; folders are listed once."""
    if not len(places):
        return
    owners = codes_of(_owner(path)[0] for path in files[places].paths())
    parts = [places[its] for its in owners.places()]

    def look(part: tuple[str, np.ndarray]) -> np.ndarray:
        owner, its = part
        if not is_url(owner):
            return np.tile(stamp_of(owner), (len(its), 1))
        names = [_owner(path)[1] for path in files[its].paths()]
        try:
            states = (tree[owner] if owner in tree else StorePath(owner).folder()).states_of(names)
        except FileNotFoundError:
            return np.full((len(its), 5), UNKNOWN)
        return np.pad(states, ((0, 0), (0, 2)))

    owned = zip(owners.texts, parts, strict=True)
    for part, found in zip(parts, prefetch_map(look, owned, threads=LISTINGS), strict=True):
        stamps[part] = found


def _owner(path: str) -> tuple[str, str]:
    """Return what the stamp of a file is asked of: a shard, or a folder of a store, with a name."""
    file = shard_of(path) or path
    folder, _, name = file.rpartition("/")
    return (folder, name) if is_url(file) else (file, "")


def _to_json(result: FileCheck) -> str:
    return json.dumps([result.kind, result.reason, result.own])


def _from_json(text: str) -> FileCheck:
    kind, reason, own = json.loads(text)
    values = None if own is None else OwnRange(own[0], tuple(own[1]), own[2])
    return FileCheck("", kind, reason, values)
