"""From what is given as DATA to its files before edits: class folders, tables, archives."""

import os
import unicodedata
from dataclasses import replace
from pathlib import Path

import pyarrow as pa

from tlearn.data.archive_folder import is_archive, read_report, unpacked_folder
from tlearn.data.archives import archive_stem
from tlearn.data.columns import CHUNK, NAMES
from tlearn.data.data_source import DataSource
from tlearn.data.file_table import FileTable, ImageFile
from tlearn.data.filenames import quote_name
from tlearn.data.folders import walk_names
from tlearn.data.layouts import FolderLayout, read_layout, relative_name
from tlearn.data.prefetch import batched
from tlearn.data.problems import Problem, ignored_table, with_ignored_table
from tlearn.data.shards import shard_source, shards_in
from tlearn.data.table_source import METADATA, table_source, tables_in, unknown_tables_in
from tlearn.data.tables import is_table
from tlearn.errors import DataError
from tlearn.object_stores import StorePath, as_path
from tlearn.progress import Progress, Silent
from tlearn.text import encode_name

ALLOWED = (
    "a folder that holds one folder of images per class, a .zip or .tar of one, a .csv or "
    ".jsonl table of paths and classes, or shards"
)
OTHER_TABLES = (".xlsx", ".xls", ".ods", ".json")


def check_data(data: Path) -> None:
    """Raise a DataError if ``data`` is no folder of photos, table or archive.

    Raises:
        StoreError: If it is in a store that does not answer.
    """
    if data.is_file() and data.suffix.lower() in OTHER_TABLES:
        raise DataError(f"{str(data)!r} is a table of another format; save it as .csv or .jsonl")
    what = ""
    if data.is_dir():
        what = "is a run directory, not photos" if (data / "run.yaml").is_file() else ""
    elif not (data.is_file() and (is_table(data) or shards_in(data) or is_archive(data))):
        what = "is a file of another kind" if data.exists() else "is not there"
    if what:
        raise DataError(f"the data {str(data)!r} {what}; give {ALLOWED}")


def data_name(data: Path) -> str:
    """Return what a data set is called: the name of its folder, or of its file without ending."""
    path = data.resolve()
    if path.is_dir():
        return path.name
    return path.stem if is_table(path) or shards_in(path) else archive_stem(path.name)


def read_source(data: Path, progress: Progress | None = None) -> DataSource:
    """List the files of a data set, before edits; an archive is unpacked into the cache first.

    The progress is told how the data was read.

    Raises:
        DataError: If ``data`` cannot be used, a folder cannot be listed, or it is not clear what
            the folders or a table mean.
    """
    check_data(data)
    progress = progress or Silent()
    if data.is_dir():
        source = _stored_source(data) if isinstance(data, StorePath) else _folder_source(data)
    elif shards := shards_in(data):
        source = shard_source(data, shards)
    elif is_table(data):
        source = table_source(data, data.parent, [(data, None)], outside=True)
    else:
        source = _archive_source(data, progress)
    for note in source.notes:
        progress.say(note)
    return source


def _stored_source(data: StorePath) -> DataSource:
    """Read a folder of a store, all of which is listed at once."""
    with data.listed() as tree:
        return replace(_folder_source(as_path(data)), tree=tree)


def _folder_source(data: Path) -> DataSource:
    """Read a folder by the shards or tables in it, or else by its class folders.

    Other tables than ``metadata`` count where they say more than the folders or something else, and
    where their files are all there, or there are no class folders.
    """
    if shards := shards_in(data):
        return shard_source(data, shards)
    tables = tables_in(data)
    if not tables:
        return _source_without_table(data)
    try:
        classes = _class_source(read_layout(data))
    except DataError:
        classes = None
    labels = set(classes.class_folders.values()) if classes else set()
    own = all(path.stem.casefold() == METADATA for path, _ in tables)
    try:
        if len(tables) > len({split for _, split in tables}):
            listed = " and ".join(path.name for path, _ in tables[:2])
            raise DataError(f"{str(data)!r} holds the tables {listed}; give one of them as DATA")
        left_out = [p.name for p in read_report(data) if p.kind != "renamed"]
        source = table_source(data, data, tables, outside=False, left_out=left_out)
    except DataError as error:
        if own or classes is None or len(labels) < 2:
            raise
        ignored = ignored_table(tables[0][0].name, error)
        return replace(classes, problems=(*classes.problems, ignored))
    if own or classes is None or len(labels) < 2:
        return source
    files = source.files
    more = bool({*files.groups.present} - {""})
    more |= not classes.splits and bool({*files.given.present} - {""})
    return source if more or labels - {*files.labels.present} else classes


def _source_without_table(data: Path) -> DataSource:
    """Read class folders; where there are not two, report a table whose columns are not known."""
    try:
        source = _class_source(read_layout(data))
    except DataError as error:
        raise DataError(with_ignored_table(str(error), _unknown_tables(data))) from None
    if len({*source.class_folders.values()}) > 1:
        return source
    return replace(source, problems=(*source.problems, *_unknown_tables(data)))


def _unknown_tables(data: Path) -> list[Problem]:
    """Return why a table is not used that is in a folder or in the folders there."""
    tables = unknown_tables_in(data)
    return [ignored_table(relative_name(path, data), reason) for path, reason in tables]


def _archive_source(data: Path, progress: Progress) -> DataSource:
    folder = unpacked_folder(data, progress)
    try:
        source = read_source(folder)
    except DataError as error:
        name = quote_name(data.name)
        inner = str(error).replace(repr(str(folder)), name).replace(f"{folder}{os.sep}", "")
        raise DataError(f"in the archive {name}: {inner}") from None
    return replace(source, data=data, problems=(*source.problems, *read_report(folder)))


def class_label(folder_name: str) -> str:
    """Return the class of a folder of this name, in Unicode's form NFC."""
    return unicodedata.normalize("NFC", encode_name(folder_name))


def _class_source(layout: FolderLayout) -> DataSource:
    data = layout.root
    place = layout.splits.get("train", layout.place / "train") if layout.splits else layout.place
    return DataSource(
        data,
        layout.root,
        _class_files(layout),
        (str(layout),),
        layout.problems,
        place,
        {relative_name(path, data): class_label(path.name) for path, _ in layout.classes},
        {split: f"{relative_name(path, data)}/" for split, path in layout.splits.items()},
    )


def _class_files(layout: FolderLayout) -> FileTable:
    """List the files outside any class, then those of each class folder."""
    root = layout.root
    stray = (
        ImageFile(path, relative_name(path, root), "", given=split, below=encode_name(path.name))
        for path, split in layout.stray
    )
    tables = [FileTable.of(root, stray)]
    for folder, split in layout.classes:
        parents = frozenset({root.resolve(), folder.parent.resolve()})
        before = f"{relative_name(folder, root)}/"
        inside = batched(map(encode_name, walk_names(folder, parents)), CHUNK)
        # The two parts of a name were encoded apart, which makes no difference: a slash is between.
        names = [pa.array([f"{before}{name}" for name in some], NAMES) for some in inside]
        columns = {"label": class_label(folder.name), "given": split or "", "inner": len(before)}
        tables += [FileTable.of_columns(root, part, **columns) for part in names]
    return FileTable.concatenated(tables)
