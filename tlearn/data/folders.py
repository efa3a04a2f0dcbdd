"""Data folders as people make them: what is theirs, and which folders mean sides of a split."""

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Literal

from tlearn.data import images
from tlearn.errors import DataError
from tlearn.text import natural_key

Split = Literal["train", "validation", "test"]

SPLIT_FOLDERS: dict[str, Split] = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "val": "validation",
    "valid": "validation",
    "test": "test",
    "testing": "test",
}
SYSTEM_NAMES = frozenset({"__macosx", "thumbs.db", "desktop.ini", "$recycle.bin", "@eadir"})
SYSTEM_ENDINGS = (".cache",)


def named_image(path: Path) -> bool:
    """Tell whether a file's name says that it is an image."""
    return path.suffix.lower() in images.EXTENSIONS


def visible(path: Path) -> bool:
    """Tell whether an entry is the user's, not the system's or a tool's."""
    name = path.name.lower()
    return not (name.startswith(".") or name in SYSTEM_NAMES or name.endswith(SYSTEM_ENDINGS))


def listing(folder: Path) -> list[Path]:
    """Return the visible entries of a folder in the natural order of their names.

    Raises:
        DataError: If the folder cannot be listed.
    """
    try:
        paths = [path for path in folder.iterdir() if visible(path)]
    except OSError as error:
        raise DataError(
            f"the folder {str(folder)!r} cannot be listed: {error.strerror or error}; make it "
            f"readable or move it away"
        ) from None
    return sorted(paths, key=lambda path: natural_key(path.name))


def walk(folder: Path, above: frozenset[Path] = frozenset()) -> Iterator[Path]:
    """Yield the visible files below a folder in the natural order of their names.

    Links are followed, but not to a folder they stand in nor to one in ``above``.

    Raises:
        DataError: If a folder cannot be listed.
    """
    real = folder.resolve()
    if real in above:
        return
    for path in listing(folder):
        if path.is_dir():
            yield from walk(path, above | {real})
        elif path.is_file() or not path.exists():  # a pipe or device would be waited for
            yield path


def split_folders(root: Path) -> dict[Split, Path]:
    """Return the ``train/``, ``validation/`` and ``test/`` folders, empty where these are classes.

    They are split folders if they hold folders themselves: a class may be called "train" or "test"
    too, but then images stand directly in it.

    Raises:
        DataError: If folders of both kinds stand side by side, or two of them mean one side.
    """
    folders = [path for path in listing(root) if path.is_dir()]
    sides: dict[Split, Path] = {}
    others: list[str] = []
    doubled: list[str] = []
    for path in folders:
        side = SPLIT_FOLDERS.get(path.name.lower())
        if side is None:
            others.append(path.name)
        elif side in sides:
            doubled = [sides[side].name, path.name]
        else:
            sides[side] = path
    inside = [path for side in sides.values() for path in listing(side)]
    if not any(path.is_dir() for path in inside):
        return {}
    if others and ("train" not in sides or (len(sides) == 1 and any(map(named_image, inside)))):
        return {}
    if doubled:
        raise DataError(
            f"{str(root)!r} holds both {doubled[0]}/ and {doubled[1]}/, which mean the same side; "
            f"keep one of them"
        )
    if others:
        raise DataError(
            f"{str(root)!r} holds split folders ({', '.join(p.name for p in sides.values())}) and "
            f"also {', '.join(others[:5])}; move the latter into train/ or out of the folder"
        )
    return sides


def folder_times(root: Path, files: Iterable[Path]) -> dict[Path, int]:
    """Return when the folders of a data folder were last changed, in nanoseconds since 1970.

    They change when files or folders in them come, go or are renamed, but not when a file is
    written anew. To look at them takes far less than to look at all files.

    Args:
        root: The data folder.
        files: The files that were found in it.
    """
    folders = {root}
    for folder in {file.parent for file in files}:
        while folder not in folders and folder != folder.parent:
            folders.add(folder)
            folder = folder.parent
    for above in [root, *(path for path in _inner(root) if path.name.lower() in SPLIT_FOLDERS)]:
        folders |= _inner(above)  # classes without a photo too
    return {folder: _changed(folder) for folder in folders}


def unchanged(times: Mapping[Path, int]) -> bool:
    """Tell whether no folder has changed since :func:`folder_times` looked at them."""
    return all(_changed(folder) == then for folder, then in times.items())


def _inner(folder: Path) -> set[Path]:
    try:
        with os.scandir(folder) as entries:
            return {folder / entry.name for entry in entries if entry.is_dir()}
    except OSError:
        return set()


def _changed(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0
