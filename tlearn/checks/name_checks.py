"""Checks of names: those that other systems refuse or take for the same, and hidden photos."""

import os
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath

from tlearn.checks.finding import Finding
from tlearn.data.file_table import ImageFile
from tlearn.data.filenames import DEVICES, unsafe_reason
from tlearn.data.folders import SYSTEM_NAMES, named_image, visible
from tlearn.text import decode_name, encode_name

WINDOWS = '<>:"|?*'  # what its names cannot hold
LONG_PATH = 200  # characters below the data folder: Windows allows 260 for the whole path
_SPACES = re.compile(r"(?<!\d)\s+|\s+(?!\d)")  # not those between digits


def check_names(files: Iterable[ImageFile]) -> list[Finding]:
    """Return the names, of files and of the folders above them, that other systems refuse.

    Class folders with similar names are left to :func:`tlearn.checks.class_checks.check_classes`,
    but for those that differ in Unicode form alone, which are one class.
    """
    paths: dict[str, bool] = {}  # whether it is a class folder
    for file in files:
        if file.name.startswith("/"):  # that of a table, outside its folder
            continue
        for parent in reversed(PurePosixPath(file.name).parents):
            if parent.name:
                path = f"{parent}/"
                paths[path] = paths.get(path, False) or file.name == path + file.below
        paths[file.name] = False
    return [*_unsafe(paths), *_similar(paths)]


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


def _similar(paths: Mapping[str, bool]) -> Iterator[Finding]:
    """Report names in one folder that differ in case, spaces or Unicode form alone."""
    same: dict[tuple[PurePosixPath, str], list[str]] = defaultdict(list)
    for path in paths:
        pure = PurePosixPath(path)
        same[pure.parent, _folded(pure.name, spaces=False)].append(path)
    for alike in same.values():
        for path in alike[1:]:
            name = PurePosixPath(alike[0]).name
            if paths[path] and _normal(PurePosixPath(path).name) != _normal(name):
                continue
            if _folded(PurePosixPath(path).name) == _folded(name):
                reason = (
                    f"its name is that of {name!r} in other capital letters or another Unicode "
                    f"form: Windows and macOS take them for one file"
                )
                yield Finding("similar names", (path, alike[0]), reason, "warning", 1)
            else:
                reason = f"its name differs from {name!r} in spaces or capital letters alone"
                yield Finding("similar names", (path, alike[0]), reason, "note")


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
