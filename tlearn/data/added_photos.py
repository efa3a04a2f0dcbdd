"""Photos added to a class of a data set: ordinary files, each written once, to its place."""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from tlearn.atomic import atomic_file
from tlearn.data import images
from tlearn.data.class_names import validate_class_name
from tlearn.data.edits import Edits
from tlearn.data.edits_file import append_edits
from tlearn.data.filenames import inside
from tlearn.data.layouts import read_layout
from tlearn.data.name_rules import MOST_BYTES, unsafe_reason
from tlearn.data.problems import Problem
from tlearn.data.scan import (
    PROBE_SIZE,
    Entry,
    class_label,
    content_hash,
    list_entries,
    relative_name,
)
from tlearn.errors import DataError


@dataclass(frozen=True)
class AddedPhotos:
    """What became of photos that were to be added.

    Attributes:
        new: Names of the files that were written, as a manifest has them.
        moved: Names of files with the same content that were in another class or excluded; an edit
            moved them.
        left_out: What was not added, because the class has it already, or it cannot be read or
            written.
    """

    new: tuple[str, ...]
    moved: tuple[str, ...]
    left_out: tuple[Problem, ...]


def add_photos(data: Path, label: str, photos: Sequence[tuple[str, Path | bytes]]) -> AddedPhotos:
    """Add photos to a class, there already or new; to training where there are split folders.

    Args:
        data: The data folder.
        label: The class.
        photos: Each with the name that it would have; only the last part of it is used.

    Raises:
        DataError: If no class can be called so, or its folder is a link that leads elsewhere.
    """
    listed = list_entries(read_layout(data))
    edits = Edits.of(data)
    labels, _ = edits.apply({entry.name: entry.label for entry in listed})
    label = unicodedata.normalize("NFC", label)
    if label not in labels.values():
        label = validate_class_name(label)
    folder = _class_folder(data, label)
    known = _Contents(listed)
    new: list[str] = []
    moved: list[str] = []
    left_out: list[Problem] = []
    for name, photo in photos:
        try:
            content = photo if isinstance(photo, bytes) else images.read_bytes(photo)
            images.decode(content, PROBE_SIZE)
            same = known.names_of(content)
            there = [other for other in same if labels[other] == label]
            if there:
                reason = f"the same photo is in class {label!r} already, as {there[0]}"
                left_out.append(Problem(name, "duplicate", reason))
                continue
            if not same:
                same.append(relative_name(_write(folder, name, content), data))
                new += same
            else:
                moved += same
            labels |= dict.fromkeys(same, label)
        except DataError as error:
            left_out.append(Problem(name, "unreadable", str(error)))
        except OSError as error:
            reason = f"it cannot be written: {error.strerror or error}"
            left_out.append(Problem(name, "unreadable", reason))
    # A class may be called as a folder was that edits gave another name.
    after, _ = edits.apply(dict.fromkeys(new, label))
    changes = [(name, label) for name in (*new, *moved) if after.get(name) != label]
    if changes:
        append_edits(data, changes)
    return AddedPhotos(tuple(new), tuple(moved), tuple(left_out))


class _Contents:
    """Finds files by their content; reads those of the same size alone."""

    def __init__(self, listed: Sequence[Entry]) -> None:
        self._by_size: dict[int, list[Entry]] = defaultdict(list)
        self._by_hash: dict[str, list[str]] = defaultdict(list)
        for entry in listed:
            if entry.path.is_file():
                self._by_size[entry.path.stat().st_size].append(entry)

    def names_of(self, content: bytes) -> list[str]:
        """Return the names of the files with this content; a new one may be appended."""
        for entry in self._by_size.pop(len(content), ()):
            with suppress(DataError):  # one that cannot be read is no copy of one that can
                self._by_hash[content_hash(images.read_bytes(entry.path))].append(entry.name)
        return self._by_hash[content_hash(content)]


def _class_folder(data: Path, label: str) -> Path:
    """Return the folder of a class, there already or to be made."""
    layout = read_layout(data)
    place = layout.splits.get("train", layout.place / "train") if layout.splits else layout.place
    there = [path for path in place.glob("*") if class_label(path.name) == label]
    folder = min(there, default=place / label)
    if folder.exists() and not folder.is_dir():
        raise DataError(f"{str(folder)!r} is a file; move it away or choose another class name")
    inside(data, str(folder.absolute()))
    return folder


def _write(folder: Path, name: str, content: bytes) -> Path:
    """Write a photo under the next free name in a folder, which is made if it is missing."""
    name = unicodedata.normalize("NFC", re.split(r"[/\\]", name)[-1])
    stem, dot, suffix = name.rpartition(".")
    if not dot or unsafe_reason(name) or len(name.encode()) > MOST_BYTES - 20:
        stem, suffix = "photo", suffix if re.fullmatch(r"\w{1,5}", suffix, re.ASCII) else "jpg"
    is_new = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    names = (f"{stem}{f'-{number}' if number > 1 else ''}.{suffix}" for number in count(1))
    path = next(path for name in names if not (path := folder / name).exists())
    try:
        with atomic_file(path) as temporary:
            temporary.write_bytes(content)
    except OSError:
        if is_new:
            folder.rmdir()
        raise
    return path
