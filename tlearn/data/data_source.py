"""What is given as DATA, and its files before edits: class folders, a table, an archive."""

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from tlearn.data.archive_folder import is_archive, read_report, unpacked_folder
from tlearn.data.archives import archive_stem
from tlearn.data.filenames import quote_name
from tlearn.data.folders import walk
from tlearn.data.layouts import (
    SPLITS,
    FolderLayout,
    Split,
    read_layout,
    relative_name,
    split_of,
)
from tlearn.data.pixel_values import DEFAULT_RANGES, ValueRanges
from tlearn.data.problems import Problem
from tlearn.data.table_files import TableFiles
from tlearn.data.tables import Row, is_table, read_table
from tlearn.errors import DataError
from tlearn.progress import Progress, Silent
from tlearn.text import encode_name, natural_key

ALLOWED = (
    "a folder that holds one folder of images per class, a .zip or .tar of one, or a .csv or "
    ".jsonl table of paths and classes"
)


@dataclass(frozen=True)
class ImageFile:
    """One image, or in a data source a file that was not read yet.

    Attributes:
        name: Its path below the folder of the photos, encoded by :func:`tlearn.text.encode_name`;
            absolute where a table names a file elsewhere.
        label: Its class; empty outside class folders, and for what a table does not name.
        content: BLAKE2b hash of its bytes, 32 hexadecimal digits; empty if it was not read.
        given: The split of the ``train/``, ``validation/`` or ``test/`` folder that it is in, or
            that a table gives it.
        group: What the group pattern matched, or a table says; files of one group are put into one
            split.
        below: Its path below its class folder, or the folder of its table.
        ranges: The values that become black and white, if it has more than 8 bits.
    """

    path: Path
    name: str
    label: str
    content: str = ""
    given: Split | None = None
    group: str = ""
    below: str = ""
    ranges: ValueRanges = DEFAULT_RANGES


@dataclass(frozen=True)
class DataSource:
    """The files of a data set before edits, and how they were understood.

    Attributes:
        data: What was given: a folder, a table or an archive.
        folder: The folder that the names of files are relative to.
        files: Those outside any class first.
        notes: Lines that tell how the data was read.
        problems: Of folders and tables; of files those that are named twice.
        class_folders: The class of each class folder, by the folder's name.
        splits: The splits that are given, with what comes before the names of their classes.
        tables: The names of the tables; empty for class folders.
        place: The folder for new photos: of class folders, or for all photos that tables name.
    """

    data: Path
    folder: Path
    files: tuple[ImageFile, ...]
    notes: tuple[str, ...]
    problems: tuple[Problem, ...]
    place: Path
    class_folders: Mapping[str, str] = field(default_factory=dict)
    splits: Mapping[Split, str] = field(default_factory=dict)
    tables: str = ""


def check_data(data: Path) -> None:
    """Raise a DataError if ``data`` is neither a folder nor a table nor an archive."""
    if not data.is_dir() and not (data.is_file() and (is_table(data) or is_archive(data))):
        what = "is a file of another kind" if data.exists() else "is not there"
        raise DataError(f"the data {str(data)!r} {what}; give {ALLOWED}")


def data_name(data: Path) -> str:
    """Return what a data set is called: the name of its folder, or of its file without ending."""
    path = data.resolve()
    if path.is_dir():
        return path.name
    return path.stem if is_table(path) else archive_stem(path.name)


def read_source(data: Path, progress: Progress | None = None) -> DataSource:
    """List the files of a data set, before edits; an archive is unpacked into the cache first.

    Raises:
        DataError: If ``data`` cannot be used, a folder cannot be listed, or it is not clear what
            the folders or a table mean.
    """
    check_data(data)
    if data.is_dir():
        return _folder_source(data, read_layout(data))
    return _table_source(data) if is_table(data) else _archive_source(data, progress or Silent())


def _archive_source(data: Path, progress: Progress) -> DataSource:
    folder = unpacked_folder(data, progress)
    try:
        source = read_source(folder)
    except DataError as error:
        raise DataError(f"in the archive {quote_name(data.name)}: {error}") from None
    return replace(source, data=data, problems=(*source.problems, *read_report(folder)))


def class_label(folder_name: str) -> str:
    """Return the class of a folder of this name, in Unicode's form NFC."""
    return unicodedata.normalize("NFC", encode_name(folder_name))


def _folder_source(data: Path, layout: FolderLayout) -> DataSource:
    place = layout.splits.get("train", layout.place / "train") if layout.splits else layout.place
    return DataSource(
        data,
        layout.root,
        tuple(_class_files(layout)),
        (str(layout),),
        layout.problems,
        place,
        {relative_name(path, data): class_label(path.name) for path, _ in layout.classes},
        {split: f"{relative_name(path, data)}/" for split, path in layout.splits.items()},
    )


def _class_files(layout: FolderLayout) -> list[ImageFile]:
    root = layout.root
    files = [
        ImageFile(path, relative_name(path, root), "", given=split, below=encode_name(path.name))
        for path, split in layout.stray
    ]
    for folder, split in layout.classes:
        label = class_label(folder.name)
        parents = frozenset({root.resolve(), folder.parent.resolve()})
        start = len(relative_name(folder, root)) + 1
        for path in walk(folder, parents):
            name = relative_name(path, root)
            files.append(ImageFile(path, name, label, given=split, below=name[start:]))
    return files


def _table_source(data: Path) -> DataSource:
    """List the files that a table names; and those beside them, without a class."""
    found = TableFiles(read_table(data), outside=True)
    folder = found.folder
    rows = dict(found.files)
    splits, notes = _splits_of(rows, folder)
    named = [_table_file(path, folder, row, splits[path]) for path, row in found.files]
    named.sort(key=lambda file: [natural_key(part) for part in file.name.split("/")])
    splits_of_folders = {file.path.parent: file.given for file in reversed(named)}
    unnamed = [
        _table_file(path, folder, None, splits_of_folders[path.parent]) for path in found.unnamed()
    ]
    problems = tuple(
        Problem(
            _name(path, folder),
            "duplicate",
            f"named twice by {data.name}, again in line {row.line:,}: counted once",
        )
        for path, row in found.repeated.items()
    )
    given = {file.given for file in named}
    place = next((f.path for f in named if f.given in (None, "train")), named[0].path).parent
    return DataSource(
        data,
        folder,
        (*unnamed, *named),
        (*found.notes(), *notes),
        problems,
        place,
        splits={split: "" for split in SPLITS if split in given},
        tables=data.name,
    )


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
