"""The files that tables name, with their classes; and tables that lie in a folder of photos."""

from collections.abc import Collection, Mapping, Sequence
from itertools import chain
from pathlib import Path

from tlearn.data.data_source import DataSource
from tlearn.data.edits import ENDING
from tlearn.data.file_table import FileTable, ImageFile
from tlearn.data.filenames import quote_name
from tlearn.data.folders import list_folder, named_image, visible, walk
from tlearn.data.layouts import SPLITS, Split, is_output, relative_name, split_of
from tlearn.data.problems import Problem
from tlearn.data.table_files import TableFiles
from tlearn.data.tables import ENDINGS, Row, is_table, read_table, unknown_columns
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
    found = [TableFiles(read_table(path), split, outside, left_out) for path, split in tables]
    rows = _merged(found)
    splits, notes = _splits_of(rows, found[0].folder)
    named = [_table_file(path, folder, row, splits[path]) for path, row in rows.items()]
    named.sort(key=lambda file: [natural_key(part) for part in file.name.split("/")])
    splits_of_folders = {file.path.parent: file.given for file in reversed(named)}
    if data.is_dir():
        beside = chain(*(walk(path) if path.is_dir() else [path] for path in _user_entries(folder)))
    else:
        beside = chain(*(files.unnamed() for files in found))
    unnamed = [
        _table_file(path, folder, None, splits_of_folders.get(path.parent))
        for path in beside
        if path not in rows and named_image(path)
    ]
    problems = [
        Problem(
            _name(path, folder),
            "duplicate",
            f"named twice by {files.table.path.name}, again in line {row.line:,}: counted once",
        )
        for files in found
        for path, row in files.repeated.items()
    ]
    given = {file.given for file in named}
    place = next((f.path for f in named if f.given in (None, "train")), named[0].path).parent
    names = [_name(files.folder / files.table.path.name, folder) for files in found]
    return DataSource(
        data,
        folder,
        FileTable.of(folder, (*unnamed, *named)),
        (*chain(*(files.notes(name) for files, name in zip(found, names, strict=True))), *notes),
        tuple(problems),
        place,
        splits={split: "" for split in SPLITS if split in given},
        tables=" and ".join(names),
    )


def _user_entries(folder: Path) -> list[Path]:
    return [path for path in list_folder(folder) if not is_output(path)]


def _merged(found: Sequence[TableFiles]) -> dict[Path, Row]:
    """Return the rows of all tables by their files.

    Raises:
        DataError: If tables say different things of one file.
    """
    rows: dict[Path, Row] = {}
    for files in found:
        for path, row in files.files:
            other = rows.setdefault(path, row)
            if (other.label, other.split, other.group) != (row.label, row.split, row.group):
                raise DataError(
                    f"{str(files.table.path)!r} and another table name {quote_name(row.path)} with "
                    f"different classes, splits or groups; leave it in one of them"
                )
    return rows


def _splits_of(
    rows: Mapping[Path, Row], folder: Path
) -> tuple[dict[Path, Split | None], list[str]]:
    """Return the split of each file, and a note where the folders in the paths give it.

    They do where the table gives no split, and each path begins with a folder that is called like
    one.
    """
    if any(row.split for row in rows.values()):
        return {path: row.split for path, row in rows.items()}, []
    firsts = {path: _name(path, folder).split("/") for path in rows}
    by_name = {parts[0]: split_of(parts[0]) for parts in firsts.values() if len(parts) > 1}
    if len(set(by_name.values())) < 2 or None in by_name.values():
        return dict.fromkeys(rows), []
    if any(len(parts) == 1 for parts in firsts.values()):
        return dict.fromkeys(rows), []
    listed = ", ".join(f"{name}/ as {split}" for name, split in sorted(by_name.items()))
    return {path: by_name[parts[0]] for path, parts in firsts.items()}, [f"splits: {listed}"]


def _table_file(path: Path, folder: Path, row: Row | None, split: Split | None) -> ImageFile:
    name = _name(path, folder)
    below = name if path.is_relative_to(folder) else encode_name("/".join(path.parts[1:]))
    label, group = (row.label, row.group) if row else ("", "")
    return ImageFile(path, name, label, given=split, group=group, below=below)


def _name(path: Path, folder: Path) -> str:
    inside = path.is_relative_to(folder)
    return relative_name(path, folder) if inside else encode_name(path.as_posix())
