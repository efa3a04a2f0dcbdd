"""The files that tables name, with their classes; and tables that lie in a folder of photos."""

from collections.abc import Collection, Iterator, Sequence
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tlearn.data.columns import Codes, array_of, code_texts, codes_of, texts_of
from tlearn.data.data_source import DataSource
from tlearn.data.edits import ENDING
from tlearn.data.file_table import FileTable
from tlearn.data.filenames import quote_name
from tlearn.data.folders import list_folder, visible, walk_names
from tlearn.data.layouts import SPLITS, Split, is_output, relative_name, split_of
from tlearn.data.problems import Problem
from tlearn.data.table_files import IMAGES, TableFiles, first_of_each
from tlearn.data.tables import ENDINGS, is_table, read_table, unknown_columns
from tlearn.errors import DataError
from tlearn.object_stores import absolute, entries_of
from tlearn.text import encode_name, natural_key

GivenTable = tuple[Path, Split | None]  # a table, and the split of what it names
METADATA = "metadata"  # what tables of Hugging Face are called
MOST_LEVELS = 4  # of folders in each other that are opened where they hold nothing but one folder


def tables_in(folder: Path) -> Sequence[GivenTable]:
    """Return the tables that say what the photos in a folder are.

    They are ``metadata.csv`` or ``metadata.jsonl``, in the folder or in its split folders, as in
    the ``imagefolder`` layout of Hugging Face; else those called as splits are, such as
    ``train.csv``; else all. Tables without columns for paths and classes do not count.

    Raises:
        DataError: If a folder cannot be listed.
    """
    for _ in range(MOST_LEVELS):
        paths = list_folder(folder)
        if len(paths) != 1 or not paths[0].is_dir() or split_of(paths[0].name):
            break
        folder = paths[0]
    if metadata := _metadata_in(folder):
        return [(metadata, None)]
    split_folders = [(path, split_of(path.name)) for path in paths if path.is_dir()]
    of_splits = [(_metadata_in(path), split) for path, split in split_folders if split]
    if in_splits := [(path, split) for path, split in of_splits if path]:
        return in_splits
    tables = [(path, split_of(path.stem)) for path in paths if is_data_table(path)]
    tables = [(path, split) for path, split in tables if split] or tables
    return [(tables[0][0], None)] if len(tables) == 1 else tables


def unknown_tables_in(folder: Path) -> list[tuple[Path, str]]:
    """Return the first table in a folder, or in those there, with what is unknown in it."""
    places = [folder, *(path for path in _user_entries(folder) if path.is_dir())]
    paths = (path for place in places for path in list_folder(place) if _is_users_table(path))
    unknown = ((path, unknown_columns(path)) for path in paths)
    return [each for each in unknown if each[1]][:1]


def _metadata_in(folder: Path) -> Path | None:
    paths = (path for path in list_folder(folder) if path.stem.casefold() == METADATA)
    return next((path for path in paths if is_data_table(path)), None)


def holds_table(folder: Path) -> bool:
    """Return whether there is a table of photos and classes in a folder."""
    try:
        names = [entry.name for entry in entries_of(folder) if named_table(entry.name)]
    except OSError:
        return False  # it could not be scanned either
    return any(is_data_table(folder / name) for name in names)


def named_table(name: str) -> bool:
    """Return whether a file of this name is perhaps a table."""
    return name.lower().endswith(tuple(ENDINGS)) and visible(name)


def is_data_table(path: Path) -> bool:
    """Return whether a file is a table of photos and classes, and not one that programs write."""
    return _is_users_table(path) and not unknown_columns(path)


def _is_users_table(path: Path) -> bool:
    other = path.name.endswith(ENDING) or "submission" in path.name.casefold()
    return is_table(path) and path.is_file() and not other


def table_source(
    data: Path,
    folder: Path,
    tables: Sequence[GivenTable],
    outside: bool,
    left_out: Collection[str] = (),
) -> DataSource:
    """List the files that tables name; and those beside them, without a class.

    Args:
        data: The data set.
        folder: The folder that names are relative to.
        tables: The tables, with the split of what they name.
        outside: Whether files outside the folders of the tables are allowed.
        left_out: Files that were left out when the data were unpacked or uploaded.

    Raises:
        DataError: If a table is wrong, or names files that are not there.
    """
    folder = absolute(folder)
    found = [
        TableFiles(read_table(path), split, folder, outside, left_out) for path, split in tables
    ]
    labels, given, groups = (_joined(found, column) for column in ("labels", "splits", "groups"))
    names = pa.concat_arrays([files.names for files in found])
    once = _once(found, names, (labels, given, groups))
    names = names.take(pa.array(once))
    labels, given, groups = (c._replace(numbers=c.numbers[once]) for c in (labels, given, groups))
    given, notes = _splits_of(names, given, found[0].prefix)
    order = _natural_order(names)
    columns = {
        column: code_texts(codes.numbers[order], codes.texts)
        for column, codes in (("label", labels), ("given", given), ("group", groups))
    }
    names = names.take(pa.array(order))
    named = FileTable.of_columns(folder, names, **columns, inner=_inner(names))
    beside = _images_beside(data, folder, found, names)
    splits_beside = _splits_beside(beside, named)
    unnamed = FileTable.of_columns(folder, beside, given=splits_beside, inner=_inner(beside))
    present = named.given.present
    first = np.flatnonzero(named.given.are("", "train"))
    titles = [_name(files.folder / files.table.path.name, folder) for files in found]
    return DataSource(
        data,
        folder,
        FileTable.concatenated([unnamed, named]),
        (*chain(*(files.notes(name) for files, name in zip(found, titles, strict=True))), *notes),
        tuple(chain(*map(_problems, found))),
        named[int(first[0]) if len(first) else 0].path.parent,
        splits={split: "" for split in SPLITS if split in present},
        tables=" and ".join(titles),
    )


def _user_entries(folder: Path) -> list[Path]:
    return [path for path in list_folder(folder) if not is_output(path)]


def _joined(found: Sequence[TableFiles], column: str) -> Codes:
    """Return a column of the lines that name the files of all tables."""
    number_of: dict[str, int] = {}
    parts = []
    for files in found:
        codes: Codes = getattr(files, column)
        numbers = [number_of.setdefault(text, len(number_of)) for text in codes.texts]
        parts.append(np.array(numbers, np.int32)[codes.numbers[files.rows]])
    return Codes(np.concatenate(parts), (*number_of,))


def _once(found: Sequence[TableFiles], names: Any, columns: Sequence[Codes]) -> np.ndarray:
    """Return the positions of files that no table before names.

    Raises:
        DataError: If tables say different things of one file.
    """
    firsts, places = first_of_each(names), np.arange(len(names))
    for codes in columns:
        for place in np.flatnonzero(codes.numbers != codes.numbers[firsts]).tolist():
            of_table = np.searchsorted(np.cumsum([len(f.rows) for f in found]), place, "right")
            raise DataError(
                f"{str(found[int(of_table)].table.path)!r} and another table name "
                f"{quote_name(names[place].as_py())} with different classes, splits or groups; "
                f"leave it in one of them"
            )
    return np.flatnonzero(firsts == places)


def _problems(files: TableFiles) -> Iterator[Problem]:
    """Yield the files that a table names again, each with the second line."""
    table = files.table
    firsts, second = np.unique(files.firsts, return_index=True)
    places = np.searchsorted(files.rows, firsts)
    for place, again in zip(places.tolist(), files.repeated[second].tolist(), strict=True):
        reason = (
            f"named twice by {table.path.name}, again in line {table.lines[again]:,}: counted once"
        )
        yield Problem(files.names[place].as_py(), "duplicate", reason)


def _splits_of(names: Any, given: Codes, prefix: str) -> tuple[Codes, list[str]]:
    """Return the split of each file, and a note where the folders in the paths give it.

    They do where the table gives no split, and each path, after ``prefix``, begins with a folder
    that is called like one.
    """
    if {*given.present} - {""}:
        return given, []
    inside = (name.removeprefix(prefix) for name in texts_of(names))
    firsts = codes_of(name.partition("/")[0] if "/" in name else "" for name in inside)
    by_name = {first: split_of(first) if first else None for first in firsts.texts}
    if len({*by_name.values()}) < 2 or None in by_name.values():
        return given, []
    splits = firsts._replace(texts=tuple(str(split) for split in by_name.values()))
    listed = ", ".join(f"{name}/ as {split}" for name, split in sorted(by_name.items()))
    return splits, [f"splits: {listed}"]


def _natural_order(names: Any) -> np.ndarray:
    """Return the positions of names in the order in which folders are walked."""
    key_of = lru_cache(natural_key)  # of folders, which many have
    parts = (name.split("/") for name in texts_of(names))
    keys = array_of("\0".join((*map(key_of, part[:-1]), natural_key(part[-1]))) for part in parts)
    return np.asarray(pc.sort_indices(keys))


def _images_beside(data: Path, folder: Path, found: Sequence[TableFiles], named: Any) -> Any:
    """Return the names of images that no table names, an Arrow array."""
    if data.is_dir():
        entries = _user_entries(folder)
        inside = ((path, walk_names(path) if path.is_dir() else None) for path in entries)
        names = array_of(
            encode_name(name)
            for path, below in inside
            for name in ([path.name] if below is None else (f"{path.name}/{n}" for n in below))
        )
    else:
        names = pa.concat_arrays([files.beside() for files in found])
        hidden = pc.match_substring_regex(names, r"(^|/)\.[^/]*$")
        names = names.filter(pc.invert(hidden))
    images = pc.match_substring_regex(names, IMAGES)
    return names.filter(pc.and_(images, pc.invert(pc.is_in(names, value_set=named))))


def _splits_beside(names: Any, named: FileTable) -> list[str]:
    """Return the split of each of some files: that of the first named one in its folder."""
    if not len(names):
        return []
    split_of_folder: dict[str, str] = {}
    given = named.given
    for name, number in zip(texts_of(named.names), given.numbers.tolist(), strict=True):
        split_of_folder.setdefault(name.rpartition("/")[0], given.texts[number])
    return [split_of_folder.get(name.rpartition("/")[0], "") for name in texts_of(names)]


def _inner(names: Any) -> Any:
    """Return where in each name the path below a folder begins: after the root or the protocol."""
    lengths = (n.find("://") + 3 if "://" in n else int(n[0] == "/") for n in texts_of(names))
    return pa.array(np.fromiter(lengths, np.int32, len(names)))


def _name(path: Path, folder: Path) -> str:
    inside = path.is_relative_to(folder)
    return relative_name(path, folder) if inside else encode_name(path.as_posix())
