"""The files that tables name: found on the disk, each once, without an object for each."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tlearn.data.columns import CHUNK, NAMES, Codes, array_of, codes_of, texts_of
from tlearn.data.filenames import quote_name
from tlearn.data.folders import EXTENSIONS, list_folder
from tlearn.data.layouts import Split, relative_name, split_of
from tlearn.data.packed_photos import PackedPath, photo_path
from tlearn.data.tables import Row, Table
from tlearn.errors import DataError, StoreError
from tlearn.object_stores import absolute, as_path, entries_of
from tlearn.text import decode_name, encode_name

LEVELS = 3  # of folders below the one of a table, in which its files are searched
NONE, SEVERAL = -1, -2  # in place of a position
IMAGES = rf"(?i)[^/]\.({'|'.join(sorted(ending[1:] for ending in EXTENSIONS))})$"
# A path whose parts are names: not empty, ``.`` or ``..``.
_PLAIN = re.compile(r"(?:(?!\.{0,2}(?:/|$))[^/]+(?:/|$))+")


class TableFiles:
    """The files of one table.

    A path is relative to the folder of the table, or absolute. Where none of them is, each is the
    end of the path of a file in the folders below, such as ``images/``. The ending of the name of
    an image may be missing. Rows of files that were left out, such as damaged ones of an archive,
    do not count.

    Attributes:
        table: The table.
        prefix: Comes before the names of files in the folder of the table.
        names: The name of each file as manifests have it, an Arrow array in the order of the table.
        rows: The positions in the table of the lines that name them first, ``(n,)``.
        labels: The classes of all lines, as are ``splits`` and ``groups``.
        repeated: Positions of lines that name a file again, ``(m,)``.
        firsts: Those of the lines that named it before, ``(m,)``.
    """

    def __init__(
        self,
        table: Table,
        split: Split | None,
        folder: Path,
        outside: bool,
        left_out: Iterable[str] = (),
    ) -> None:
        """Find the files.

        Args:
            table: The table.
            split: The split of rows that name none.
            folder: What names are relative to; the table is in it.
            outside: Whether files outside the folder of the table are allowed.
            left_out: The paths of files that were left out when an archive was unpacked or an
                upload received, and were reported then.

        Raises:
            DataError: If one is not there, not allowed, could be any of several, or has two classes
                or splits.
        """
        self.table, self._split, self._outside = table, split, outside
        self.labels, self.groups = table.labels, table.groups
        self.splits = _with_default(table.splits, split or "")
        self.folder = absolute(table.path).parent
        inner = relative_name(self.folder, absolute(folder))
        self.prefix = "" if inner == "." else f"{inner}/"
        self._title = repr(str(table.path))
        self._files_of: dict[str, Any] = {}  # names of the files of each folder, as Arrow arrays
        self._completed = np.zeros(len(table), bool)  # rows whose ending was missing
        self._places: Counter[str] = Counter()  # how many files are in which folder below
        names = self._find()
        self._check_missing(names, _names_by_end(left_out))
        self._set(names)

    def row(self, i: int) -> Row:
        """Return a row of the table, with its split."""
        row = self.table.row(i)
        return row._replace(split=row.split or self._split)

    def notes(self, name: str) -> Iterator[str]:
        """Yield what to tell of how the table ``name`` was read and its files were found."""
        split = f" as {self._split}" if self._split else ""
        yield f"{len(self.rows):,} photos named by {name}{split}: {self.table.columns}"
        if self.table.encoding:
            yield f"{name} is not UTF-8: it was read as {self.table.encoding}"
        for place, n in self._places.most_common(3):
            yield f"{n:,} of them are in {place}/, not beside {name}"
        completed = np.flatnonzero(self._completed[self.rows])
        if len(completed):
            row = self.table.row(int(self.rows[completed[0]]))
            file = PurePosixPath(self.names[int(completed[0])].as_py()).name
            yield f"{len(completed):,} have no file ending in {name}: {row.path!r} is {file!r}"

    def _find(self) -> Any:
        """Return the name of the file of each row, null where there is none."""
        wanted = self._wanted()
        names = self._in_folders(wanted)
        # Were some there, files elsewhere would be a far guess.
        return self._below(wanted) if names.null_count == len(names) else names

    def _wanted(self) -> Any:
        """Return what the paths say, relative to the folder of the table where it is inside."""
        parts = []
        for start in range(0, len(self.table), CHUNK):
            paths = self.table.paths[start : start + CHUNK].to_pylist()
            plain = (_PLAIN.fullmatch(path) and "://" not in path for path in paths)
            names = [
                path if is_plain else self._resolved(start + i, decode_name(path))
                for i, (path, is_plain) in enumerate(zip(paths, plain, strict=True))
            ]
            parts.append(pa.array(names, NAMES))
        return pa.concat_arrays(parts)

    def _resolved(self, i: int, text: str) -> str:
        path = absolute(as_path(text) if "://" in text else self.folder / text)
        if path.is_relative_to(self.folder):
            return relative_name(path, self.folder)
        if not self._outside:
            row = self.table.row(i)
            raise DataError(
                f"line {row.line:,} of {self._title} names {quote_name(row.path)}, which "
                f"is outside the folder of the table; give a path inside it"
            )
        return encode_name(path.as_posix())

    def _in_folders(self, wanted: Any) -> Any:
        """Return the name of the file of each row at the place that it says, null where none is."""
        folders = codes_of(path[: path.rfind("/") + 1] for path in texts_of(wanted))
        parts, found = folders.places(), []
        for folder, rows in zip(folders.texts, parts, strict=True):
            files = self._names_in(folder)
            own = pc.replace_substring_regex(wanted.take(pa.array(rows)), "(?s)^.*/", "")
            at, self._completed[rows] = match_names(own, files)
            for i in np.flatnonzero(at == SEVERAL).tolist():
                raise self._ambiguous(int(rows[i]), own[i].as_py(), files)
            found.append(_with_prefix(folder, files.take(pa.array(at, mask=at < 0))))
        names = pa.concat_arrays(found).take(pa.array(np.argsort(np.concatenate(parts))))
        return pc.if_else(self._in_shards(wanted, names), wanted, names)

    def _in_shards(self, wanted: Any, names: Any) -> Any:
        """Return which files that are in no folder are in a shard, an Arrow array of bool."""
        perhaps = pc.match_substring_regex(wanted, r"(?i)\.(tar|parquet)/")
        perhaps = pc.and_(perhaps, names.is_null()).to_numpy(zero_copy_only=False)
        for i in np.flatnonzero(perhaps).tolist():
            path = photo_path(self.folder, decode_name(wanted[i].as_py()))
            perhaps[i] = isinstance(path, PackedPath) and path.is_file()
        return pa.array(perhaps)

    def _below(self, wanted: Any) -> Any:
        """Return the one file in the folders below whose path ends as a row says, else null."""
        files = array_of(map(encode_name, _files_below(self.folder, LEVELS)))
        at = np.full(len(wanted), NONE)
        parts = pc.count_substring(wanted, "/").to_numpy() + 1
        parts[pc.match_substring_regex(wanted, "^/|://").to_numpy(zero_copy_only=False)] = 0
        for count in np.unique(parts[parts > 0]).tolist():
            rows = np.flatnonzero(parts == count)
            pattern = rf"(?s)^.*/((?:[^/]+/){{{count - 1}}}[^/]+)$"
            ends = pc.replace_substring_regex(files, pattern, r"\1")
            at[rows], self._completed[rows] = match_names(wanted.take(pa.array(rows)), ends)
            self._choose_by_split(wanted, ends, files, at, rows[at[rows] == SEVERAL])
            there = files.take(pa.array(at[rows][at[rows] >= 0]))
            self._places.update(path.rsplit("/", count)[0] for path in texts_of(there))
        return files.take(pa.array(at, mask=at < 0))

    def _choose_by_split(
        self, wanted: Any, ends: Any, files: Any, at: np.ndarray, rows: np.ndarray
    ) -> None:
        """Set which of several files below are meant, by the split that rows or the table name."""
        if not len(rows):
            return
        own = split_of(self.table.path.stem)
        splits = np.array([self.row(i).split or own or "" for i in rows.tolist()])
        tops = np.array([split_of(path.partition("/")[0]) or "" for path in texts_of(files)])
        for split in np.unique(splits).tolist():
            its, inside = rows[splits == split], np.flatnonzero(tops == split)
            same = ends.take(pa.array(inside))
            found, self._completed[its] = match_names(wanted.take(pa.array(its)), same)
            for i in its[found < 0].tolist():
                raise self._ambiguous(i, wanted[i].as_py(), ends, files)
            at[its] = inside[found]

    def _ambiguous(self, i: int, name: str, ends: Any, files: Any = None) -> DataError:
        """Return that a row may be several files, whose names or paths end as some texts."""
        row = self.row(i)
        for keys in (_normal(ends), _stems(_normal(ends))):
            same = np.flatnonzero(pc.equal(keys, _normal(name)))
            if len(same) > 1:
                break
        texts = ends if files is None else files
        one, other = (texts[int(place)].as_py() for place in same[:2])
        return DataError(
            f"line {row.line:,} of {self._title} names {quote_name(row.path)}, which may "
            f"be {quote_name(one)} or {quote_name(other)}; write the path of one of them"
        )

    def _names_in(self, folder: str) -> Any:
        """Return the names of the files of a folder, none if it is not there."""
        if folder not in self._files_of:
            path = as_path(folder) if "://" in folder else self.folder / decode_name(folder)
            try:
                files = (entry.name for entry in entries_of(path) if not entry.is_dir())
                self._files_of[folder] = array_of(map(encode_name, files))
            except StoreError:
                raise
            except (OSError, ValueError):  # a path that the system cannot hold
                self._files_of[folder] = array_of([])
        return self._files_of[folder]

    def _check_missing(self, names: Any, left_out: dict[str, list[PurePosixPath]]) -> None:
        rows = np.flatnonzero(names.is_null())
        missing = [i for i in rows.tolist() if not (left_out and self._was_left_out(i, left_out))]
        if len(rows) == len(names):
            missing = rows.tolist()
        if missing:
            row = self.row(missing[0])
            raise DataError(
                f"{self._title} names {len(self.table):,} photos, but "
                f"{len(missing):,} of them cannot be found; the first is "
                f"{quote_name(row.path)} in line {row.line:,}; "
                f"correct the paths, which are relative to {str(self.folder)!r}, or put the "
                f"photos there"
            )

    def _was_left_out(self, i: int, left_out: dict[str, list[PurePosixPath]]) -> bool:
        path = PurePosixPath(_normal(self.table.row(i).path).as_py())
        if not path.parts or {"/", ".."} & {*path.parts}:
            return False
        before = path.parts[:-1]
        ends = left_out.get(path.name, ())
        return any(not before or p.parts[:-1][-len(before) :] == before for p in ends)

    def _set(self, names: Any) -> None:
        """Count each file once, and refuse rows of one that say different things."""
        there = np.flatnonzero(names.is_valid())
        names = names.take(pa.array(there))
        firsts = there[first_of_each(names)]
        again = firsts != there
        self.firsts, self.repeated = firsts[again], there[again]
        codes = (self.labels, self.splits, self.groups)
        for what, code in zip(("classes", "splits", "groups"), codes, strict=True):
            differ = np.flatnonzero(code.numbers[self.firsts] != code.numbers[self.repeated])
            if len(differ):
                one, other = (int(rows[differ[0]]) for rows in (self.firsts, self.repeated))
                lines = self.table.lines
                a, b = (code.texts[code.numbers[i]] or None for i in (one, other))
                raise DataError(
                    f"{self._title} gives {quote_name(self.row(other).path)} two {what}, {a!r} in "
                    f"line {lines[one]:,} and {b!r} in line {lines[other]:,}; delete one of them"
                )
        self.rows, names = there[~again], names.filter(pa.array(~again))
        outside = pc.match_substring_regex(names, "^/|://")
        self.names = pc.if_else(outside, names, _with_prefix(self.prefix, names))

    def beside(self) -> Any:
        """Return the names of the files in the folders of those of the table, an Arrow array."""
        folders = dict.fromkeys(name[: name.rfind("/") + 1] for name in texts_of(self.names))
        inner = ((folder, folder.removeprefix(self.prefix)) for folder in folders)
        return pa.concat_arrays([_with_prefix(f, self._names_in(place)) for f, place in inner])


def _with_default(codes: Codes, text: str) -> Codes:
    """Return texts with another one in place of the empty one."""
    of_text = codes_of(each or text for each in codes.texts)
    return of_text._replace(numbers=of_text.numbers[codes.numbers])


def match_names(wanted: Any, names: Any) -> tuple[np.ndarray, np.ndarray]:
    """Find names among others, whatever their Unicode forms; those of images without ending, too.

    Args:
        wanted: An Arrow array of names or paths.
        names: Another one.

    Returns:
        Where each is among the others, ``(len(wanted),)``: ``NONE`` where it is not, ``SEVERAL``
        where it is more than once; and which have an ending there alone, ``(len(wanted),)`` bool.
    """
    keys, wanted = _normal(names), _normal(wanted)
    at = _match(wanted, keys)
    rest = np.flatnonzero(at == NONE)
    completed = np.zeros(len(at), bool)
    if len(rest) and len(names):
        images = np.flatnonzero(pc.match_substring_regex(keys, IMAGES))
        found = _match(wanted.take(rest), _stems(keys.take(images)))
        at[rest] = np.where(found >= 0, images[found] if len(images) else NONE, found)
        completed[rest] = found >= 0
    return at, completed


def _match(wanted: Any, keys: Any) -> np.ndarray:
    coded = keys.dictionary_encode()
    numbers = coded.indices.to_numpy()
    found = pc.index_in(wanted, value_set=coded.dictionary).fill_null(-1).to_numpy()
    _, firsts, counts = np.unique(numbers, return_index=True, return_counts=True)
    # The last one is for those that are not there.
    at = np.append(np.where(counts > 1, SEVERAL, firsts), NONE)
    return np.asarray(at[found.astype(np.int64)])


def first_of_each(names: Any) -> np.ndarray:
    """Return for each of some names, an Arrow array, where it is first, ``(n,)``."""
    numbers = names.dictionary_encode().indices.to_numpy()
    return np.asarray(np.unique(numbers, return_index=True)[1][numbers])


def _normal(names: Any) -> Any:
    if isinstance(names, str):
        names = pa.scalar(names, NAMES)
    return pc.utf8_normalize(names, "NFC")


def _stems(names: Any) -> Any:
    return pc.replace_substring_regex(names, r"\.[^./]*$", "")


def _with_prefix(prefix: str, names: Any) -> Any:
    if not prefix:
        return names
    return pc.binary_join_element_wise(pa.scalar(prefix, NAMES), names, pa.scalar("", NAMES))


def _names_by_end(paths: Iterable[str]) -> dict[str, list[PurePosixPath]]:
    """Return paths by what the file of each may be called."""
    by_end: dict[str, list[PurePosixPath]] = {}
    for text in paths:
        path = PurePosixPath(_normal(text).as_py())
        ends = {path.name, path.stem} if re.search(IMAGES, path.name) else {path.name}
        for end in ends:
            by_end.setdefault(end, []).append(path)
    return by_end


def _files_below(folder: Path, levels: int) -> Iterator[str]:
    """Yield the paths of the files in the folders below, relative to it; not those in it."""

    def inner(place: Path, before: Sequence[str]) -> Iterator[str]:
        for path in list_folder(place):
            if not path.is_dir():
                if before:
                    yield "/".join((*before, path.name))
            elif len(before) < levels and not path.is_symlink():
                yield from inner(path, (*before, path.name))

    return inner(folder, ())
