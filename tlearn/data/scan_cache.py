"""The results of reading files in earlier scans, so that unchanged files are not read again."""

import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
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
from tlearn.data.columns import HASH, HASH_BYTES, NAMES, TEXTS, code_texts, fixed_array, fixed_bytes
from tlearn.data.file_table import FileTable
from tlearn.data.pixel_values import OwnRange
from tlearn.data.prefetch import prefetch_map
from tlearn.object_stores import StorePath
from tlearn.progress import Task

FOLDER = "scans"  # in the user's cache folder
MOST = 100  # data sets whose results are there: those scanned last
STAMPED = 256  # files whose state a thread asks for at a time
# A file written just now may be written again without a new time of change: some file systems
# count in steps of two seconds.
FRESH_NS = 2_000_000_000
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

    def put(self, place: int, result: FileCheck) -> None:
        """Set the result of one file."""
        self.done[place] = True
        if result.content:
            self.contents[place] = np.frombuffer(bytes.fromhex(result.content), np.uint8)
        if result.kind or result.reason or result.own or not result.lasting:
            self.special[place] = result

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

    A file counts as unchanged while its name, size, times of change and inode are the same. One
    that was modified less than two seconds before it was looked at is not cached. A file of
    results that is damaged, or that cannot be written, is as none.
    """

    def __init__(self, data: Path) -> None:
        key = hashlib.blake2b(os.fsencode(str(data.resolve())), digest_size=16).hexdigest()
        self.path = cache_folder() / FOLDER / f"{key}.arrow"

    def check(
        self,
        files: FileTable,
        read: Callable[[FileTable], Iterator[FileCheck]],
        task: Task,
        again: bool = False,
    ) -> FileChecks:
        """Check files; those that have not changed are not read, unless ``again``.

        What was read is saved also where an error or Ctrl-C ends it. ``read`` yields the results of
        files in their order.
        """
        now, stamps = time.time_ns(), _stamps_of(files)
        checks = FileChecks(len(files))
        if not again:
            self._load(files.names, stamps, checks)
        known = int(checks.done.sum())
        task.advance(known)
        rest = np.flatnonzero(~checks.done)
        # Before reading: what is written after this moment gets another time of change.
        settled = (stamps[:, 0] >= 0) & (now - stamps[:, 1] >= FRESH_NS)
        saved = time.monotonic()
        try:
            for place, result in zip(rest.tolist(), read(files[rest]), strict=True):
                checks.put(place, result)
                task.advance()
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
    return sum(file.stat().st_size for file in (cache_folder() / FOLDER).glob("*.arrow"))


def remove_scans() -> int:
    """Remove all results; return the bytes that are freed."""
    freed = scans_bytes()
    shutil.rmtree(cache_folder() / FOLDER, ignore_errors=True)
    return freed


def _stamps_of(files: FileTable) -> np.ndarray:
    """Return what changes with each file, ``(n, 5)`` int64.

    It is -1 for one that is not there, or in a store, which would be asked once for each.
    """
    stamps = np.full((len(files), 5), -1, np.int64)
    if isinstance(files.folder, StorePath):
        return stamps
    parts = [slice(start, start + STAMPED) for start in range(0, len(files), STAMPED)]

    def look(part: slice) -> list[tuple[int, ...]]:
        return [_stamp(path) for path in files[part].paths()]

    for part, states in zip(parts, prefetch_map(look, parts), strict=True):
        stamps[part] = states
    return stamps


def _stamp(path: str) -> tuple[int, ...]:
    try:
        state = os.stat(path)  # noqa: PTH116 - a third of the time of Path.stat
    except OSError:
        return (-1,) * 5
    # With the time of the last change of attributes: a new mode may make a file unreadable.
    inode = state.st_ino % 2**63  # some file systems use all 64 bits
    return (state.st_size, state.st_mtime_ns, state.st_ctime_ns, inode, state.st_dev % 2**63)


def _to_json(result: FileCheck) -> str:
    return json.dumps([result.kind, result.reason, result.own])


def _from_json(text: str) -> FileCheck:
    kind, reason, own = json.loads(text)
    values = None if own is None else OwnRange(own[0], tuple(own[1]), own[2])
    return FileCheck("", kind, reason, values)
