"""Changes to a data set: photos added, moved, grouped or excluded, classes renamed or merged."""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tlearn.atomic import atomic_file
from tlearn.data import images
from tlearn.data.archive_folder import is_archive
from tlearn.data.data_source import DataSource
from tlearn.data.edits import Change, EditedPhotos, Edits, append_edits
from tlearn.data.file_reading import CHECK_SIZE, content_hash
from tlearn.data.file_table import FileTable
from tlearn.data.filenames import class_folder_name, inside, repair_part, validate_class_name
from tlearn.data.layouts import relative_name
from tlearn.data.problems import Problem
from tlearn.data.read_data import class_label, read_source
from tlearn.errors import DataError, nearest, os_errors_as
from tlearn.text import numbered_names


@dataclass(frozen=True)
class AddedPhotos:
    """What adding photos did.

    Attributes:
        new: Names of the files that were written, as a manifest has them.
        moved: Names of files with the same content that were in another class or excluded; an edit
            moved them.
        left_out: Photos that the class has already, or that cannot be read or written.
    """

    new: tuple[str, ...]
    moved: tuple[str, ...]
    left_out: tuple[Problem, ...]


def exclude(data: Path | DataSource, names: Sequence[str]) -> None:
    """Exclude photos, named as in a manifest, from the data set.

    This and what follows takes a data set, or its files as they were listed before, which saves
    listing those of a large one again.

    Raises:
        DataError: If one is not there; nothing is changed then.
    """
    if not apply_changes(data, [Change(name, "exclude") for name in names]):
        raise DataError("nothing to change: all of these are excluded already")


def move(data: Path | DataSource, names: Sequence[str], label: str) -> None:
    """Move photos to another class, existing or new.

    Raises:
        DataError: If one is not there, all are of this class, or no class can be called so;
            nothing is changed then.
    """
    if not apply_changes(data, [Change(name, "class", label) for name in names]):
        raise DataError(f"nothing to change: all of these are of class {label!r} already")


def set_group(data: Path | DataSource, names: Sequence[str], group: str) -> None:
    """Give photos a group, whose photos are put into one split; none if it is empty.

    Raises:
        DataError: If one is not there; nothing is changed then.
    """
    apply_changes(data, [Change(name, "group", group) for name in names])


def apply_changes(data: Path | DataSource, changes: Sequence[Change]) -> tuple[Change, ...]:
    """Make changes as one user action, which one undo takes back; return those with an effect.

    Raises:
        DataError: If a photo or class is not there, or no class can be called so; nothing is
            changed then.
    """
    source = _listed(data)
    after = _edited(source, [change.path for change in changes])
    known = after.classes
    effective: list[Change] = []
    for change in changes:
        path, value = change.path, unicodedata.normalize("NFC", change.value)
        if change.action == "class":
            value = _label(value, known)
        if change.of_class:
            path = _class_path(change.of_class, known)
        elif after.place_of(path) is None:
            raise DataError(f"{path!r} is not in {str(source.data)!r}; scan the folder again")
        full = Change(path, change.action, value)
        if after.apply(full):
            effective.append(full)
    if effective:
        append_edits(source.data, effective)
    return tuple(effective)


def rename(data: Path | DataSource, label: str, new: str) -> None:
    """Give a class another name.

    Raises:
        DataError: If there is no such class, the new name is taken, or no class can be called so.
    """
    source = _listed(data)
    known = _edited(source).classes
    new = _label(new, known)
    if new in known:
        raise DataError(
            f"there is a class {new!r} already; choose another name, or merge {label!r} into it"
        )
    append_edits(source.data, [Change(_class_path(label, known), "class", new)])


def merge(data: Path | DataSource, labels: Sequence[str], into: str) -> None:
    """Merge classes into one, existing or new.

    Raises:
        DataError: If a class does not exist, nothing is to be merged, or the name is invalid.
    """
    source = _listed(data)
    known = _edited(source).classes
    into = _label(into, known)
    labels = [label for label in dict.fromkeys(labels) if label != into]
    changes = [Change(_class_path(label, known), "class", into) for label in labels]
    if not changes:
        raise DataError(f"there is nothing to merge into {into!r}; name other classes")
    append_edits(source.data, changes)


def add_class(data: Path | DataSource, label: str) -> None:
    """Make the folder of a new class, without a photo yet.

    Raises:
        DataError: If there is such a class, none can be called so, or a table names the classes.
    """
    source = _listed(data)
    if source.tables or not source.data.is_dir():
        raise DataError(
            f"the classes of {str(source.data)!r} are not folders; a new class begins with a "
            f"photo that is moved to it"
        )
    labels = {*_edited(source).classes, *source.class_folders.values()}
    new = _label(label, ())
    if new in labels:
        raise DataError(f"there is a class {new!r} already; choose another name")
    folder = _class_folder(source, new)
    advice = "make room on the disk, or let its folder be written to"
    with os_errors_as(DataError, f"the class {new!r} cannot be made", advice):
        folder.mkdir(parents=True, exist_ok=True)


def remove_class(data: Path | DataSource, label: str) -> None:
    """Remove the folder of a class that holds nothing.

    Raises:
        DataError: If there is no such folder, or it holds files.
    """
    source = _listed(data)
    folders = [source.folder / name for name, of in source.class_folders.items() if of == label]
    advice = "move the files in it away first"
    with os_errors_as(DataError, f"the class {label!r} cannot be removed", advice):
        for folder in folders:
            folder.rmdir()


def add_photos(data: Path, label: str, photos: Sequence[tuple[str, Path | bytes]]) -> AddedPhotos:
    """Add photos to a class, existing or new; to the training split where splits are given.

    They go to the folder of the class, or beside the photos of a table, with an edit.

    Photos have file names, of which only the last part is used, and paths or contents.

    Raises:
        DataError: If no class can be called so, its folder is a link that leads elsewhere, or the
            data is an archive.
    """
    source = read_source(data)
    if not data.is_dir() and is_archive(data):
        raise DataError(f"{str(data)!r} is an archive, to which nothing is added; unpack it first")
    edits = Edits.of(data)
    before = edits.apply(source.files)
    label = _label(label, before.classes)
    folder = source.place if source.tables else _class_folder(source, label)
    files = _FilesByContent(source.files)
    new: list[str] = []
    moved: list[str] = []
    left_out: list[Problem] = []
    for name, photo in photos:
        try:
            content = photo if isinstance(photo, bytes) else images.read_bytes(photo)
            images.decode(content, CHECK_SIZE)
            same = files.names_of(content)
            duplicates = [o for o in same if o in (*new, *moved) or before.label_of(o) == label]
            if duplicates:
                reason = f"the same photo is in class {label!r} already, as {duplicates[0]}"
                left_out.append(Problem(name, "duplicate", reason))
                continue
            if same:
                moved += same
            else:
                same = [relative_name(_write_photo(folder, name, content), source.folder)]
                files.add(content, *same)
                new += same
        except DataError as error:
            left_out.append(Problem(name, "unreadable", str(error)))
        except OSError as error:
            reason = f"it cannot be written: {error.strerror or error}"
            left_out.append(Problem(name, "unreadable", reason))
    # If edits renamed the class a to b, a new class a would be renamed, too.
    listed = "" if source.tables else class_label(folder.name)
    after = edits.apply(FileTable.of_columns(source.folder, new, label=listed), new)
    moves = [*(name for name in new if after.label_of(name) != label), *moved]
    if moves:
        append_edits(data, [Change(name, "class", label) for name in moves])
    return AddedPhotos(tuple(new), tuple(moved), tuple(left_out))


def _edited(source: DataSource, names: Sequence[str] = ()) -> EditedPhotos:
    """Return the class of every file after edits, and the groups that these or tables give.

    Args:
        source: The data set.
        names: Those of photos that changes are about.

    Raises:
        DataError: If the edits cannot be read.
    """
    after = Edits.of(source.data).apply(source.files, names)
    groups = source.files.groups
    for number, group in enumerate(groups.texts):
        own = (groups.numbers == number) & (after.groups.numbers < 0)
        if group:
            after.groups.set(np.flatnonzero(own), group)
    return after


def _listed(data: Path | DataSource) -> DataSource:
    return data if isinstance(data, DataSource) else read_source(data)


def _label(name: str, known: Iterable[str | None]) -> str:
    """Return the normalized label of an existing class, or validate that of a new one."""
    label = unicodedata.normalize("NFC", name)
    return label if label in known else validate_class_name(name)


def _class_path(label: str, known: Iterable[str | None]) -> str:
    """Return the path by which an edit names an existing class."""
    names = sorted(filter(None, known))
    if label not in names:
        raise DataError(
            f"there is no class {label[:100]!r}{nearest(label[:100], names)}; there are "
            f"{', '.join(names[:10])}"
        )
    return f"{label}/"


class _FilesByContent:
    """Finds files by their content; reads those of the same size alone."""

    def __init__(self, listed: FileTable) -> None:
        self._listed = listed
        self._sizes = np.array([_size(file.path) for file in listed], np.int64)
        self._by_hash: dict[str, list[str]] = defaultdict(list)

    def names_of(self, content: bytes) -> list[str]:
        """Return the names of the files with this content."""
        same_size = self._sizes == len(content)
        for file in self._listed[same_size]:
            with suppress(DataError):  # one that cannot be read is no copy of one that can
                self._by_hash[content_hash(images.read_bytes(file.path))].append(file.name)
        self._sizes[same_size] = -1  # they are read
        return list(self._by_hash[content_hash(content)])

    def add(self, content: bytes, name: str) -> None:
        """Add a new file, so that its copies are found."""
        self._by_hash[content_hash(content)].append(name)


def _size(path: Path) -> int:
    """Return the bytes of a file; -1 if it is not there any more."""
    try:
        return path.stat().st_size
    except OSError:
        return -1


def _class_folder(source: DataSource, label: str) -> Path:
    """Return the folder of a class, existing or new."""
    existing = [path for path in source.place.glob("*") if class_label(path.name) == label]
    folder = min(existing, default=source.place / class_folder_name(label))
    if folder.exists() and not folder.is_dir():
        raise DataError(f"{str(folder)!r} is a file; move it away or choose another class name")
    inside(source.folder, str(folder.absolute()))
    return folder


def _write_photo(folder: Path, name: str, content: bytes) -> Path:
    """Write a photo under the next free name in a folder, which is made if it is missing."""
    clean = Path(repair_part(re.split(r"[/\\]", name)[-1]))
    is_new = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    paths = (folder / each for each in numbered_names(clean.stem, clean.suffix))
    path = next(path for path in paths if not path.exists())
    try:
        with atomic_file(path) as temporary:
            temporary.write_bytes(content)
    except OSError:
        if is_new:
            folder.rmdir()
        raise
    return path
