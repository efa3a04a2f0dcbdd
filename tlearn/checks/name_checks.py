"""Checks of names: those that other systems refuse or take for the same, and hidden photos."""

import os
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pyarrow as pa

from tlearn.checks.finding import Finding
from tlearn.data.columns import array_of, texts_of
from tlearn.data.file_table import FileTable
from tlearn.data.filenames import DEVICES, unsafe_reason
from tlearn.data.folders import SYSTEM_NAMES, named_image, visible
from tlearn.text import decode_name, encode_name

WINDOWS = '<>:"|?*'  # what its names cannot hold
LONG_PATH = 200  # characters below the data folder: Windows allows 260 for the whole path
_SPACES = re.compile(r"(?<!\d)\s+|\s+(?!\d)")  # not those between digits


def check_names(files: FileTable) -> list[Finding]:
    """Return the names, of files and of the folders above them, that other systems refuse.

    Class folders with similar names are left to :func:`tlearn.checks.class_checks.check_classes`,
    but for those that differ in Unicode form alone, which are one class.
    """
    folders: dict[str, bool] = {}  # whether it is a class folder
    for part in files.parts():
        for name, below in zip(part.names.to_pylist(), part.below(), strict=True):
            if _is_inside(name):
                _add_folders(folders, name, below)
    inside = (name for name in texts_of(files.names) if _is_inside(name))
    paths = array_of(chain(folders, inside))
    return [*_unsafe(texts_of(paths)), *_similar(paths, folders)]


def _is_inside(name: str) -> bool:
    """Return whether a file is in the folder of the photos, unlike others that a table names."""
    return not name.startswith("/") and "://" not in name


def _add_folders(folders: dict[str, bool], name: str, below: str) -> None:
    """Add the folders above a file with its name and its path below its class folder."""
    end = name.find("/") + 1
    while end:
        path = name[:end]
        folders[path] = folders.get(path, False) or name == path + below
        end = name.find("/", end) + 1


def _unsafe(paths: Iterable[str]) -> Iterator[Finding]:
    for path in paths:
        if reason := portability(decode_name(PurePosixPath(path).name)):
            yield Finding("unsafe name", (path,), reason, "note")
        elif len(path) > LONG_PATH and not path.endswith("/"):
            reason = f"a path of {len(path)} characters, too long for Windows"
            yield Finding("unsafe name", (path,), reason, "note")


def portability(name: str) -> str:
    """Return why a name of a file or folder fails on other systems, as a sentence, or empty."""
    if any(0xD800 <= ord(char) <= 0xDFFF for char in name):
        return "its name is not in UTF-8: other systems show or store it differently"
    for char in name:
        if char in WINDOWS:
            return f"its name holds {char!r}, which Windows does not allow"
    if DEVICES.match(name):
        return "its name is that of a device on Windows"
    if name != name.rstrip(". "):
        return "its name ends with a dot or a space, which Windows removes"
    reason = unsafe_reason(name)
    return f"its name {reason}" if reason else ""


def _similar(paths: Any, class_folders: Mapping[str, bool]) -> Iterator[Finding]:
    """Report names in one folder that differ in case, spaces or Unicode form alone."""
    numbers = array_of(map(_common_path, texts_of(paths))).dictionary_encode().indices.to_numpy()
    places = np.flatnonzero(np.bincount(numbers)[numbers] > 1)
    alike: dict[int, list[str]] = defaultdict(list)
    for number, path in zip(
        numbers[places].tolist(), paths.take(pa.array(places)).to_pylist(), strict=True
    ):
        alike[number].append(path)
    for first, *others in alike.values():
        name = PurePosixPath(first).name
        for path in others:
            own = PurePosixPath(path).name
            if class_folders.get(path) and _normal(own) != _normal(name):
                continue
            if _folded(own) == _folded(name):
                reason = (
                    f"its name is that of {name!r} in other capital letters or another Unicode "
                    f"form: Windows and macOS take them for one file"
                )
                yield Finding("similar names", (path, first), reason, "warning", 1)
            else:
                reason = f"its name differs from {name!r} in spaces or capital letters alone"
                yield Finding("similar names", (path, first), reason, "note")


def _common_path(path: str) -> str:
    """Return what a path and those with a similar name in the same folder have in common."""
    folder, _, name = path.rstrip("/").rpartition("/")
    return f"{folder}/{_folded(name, spaces=False)}"


def _normal(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _folded(name: str, spaces: bool = True) -> str:
    """Return the common form of names that differ in case or Unicode form, or in spaces too."""
    folded = _normal(_normal(name).casefold())
    return folded if spaces else _SPACES.sub("", folded)


def check_hidden(folder: Path) -> list[Finding]:
    """Return the hidden images below a folder, which scans pass over: one for each hidden folder.

    Those of systems and tools are not mentioned.
    """
    findings: list[Finding] = []
    for place, folders, files in os.walk(folder):
        here = Path(place)
        for name in sorted(folders):
            if name.lower() in SYSTEM_NAMES or name == ".git":
                folders.remove(name)
            elif not visible(name):
                folders.remove(name)
                hidden = (Path(file) for _, _, inner in os.walk(here / name) for file in inner)
                count = sum(map(_is_photo, hidden))
                if count:
                    path = encode_name((here / name).relative_to(folder).as_posix())
                    reason = (
                        f"a hidden folder: its images ({count}) are ignored; rename it to use them"
                    )
                    findings.append(Finding("hidden", (f"{path}/",), reason, "warning", count))
        for name in sorted(files):
            if not visible(name) and _is_photo(here / name):
                path = encode_name((here / name).relative_to(folder).as_posix())
                reason = "a hidden image: it is ignored; rename it to use it"
                findings.append(Finding("hidden", (path,), reason, "note"))
    return findings


def _is_photo(path: Path) -> bool:
    """Return whether a file is named as an image, unlike the ``._a.jpg`` that macOS writes."""
    return named_image(path) and not path.name.startswith("._")
