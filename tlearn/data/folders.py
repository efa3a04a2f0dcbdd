"""What is in a data folder, without what systems and tools put there."""

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from tlearn.data import images
from tlearn.errors import DataError, os_errors_as
from tlearn.text import natural_key

SYSTEM_NAMES = frozenset({"__macosx", "thumbs.db", "desktop.ini", "$recycle.bin", "@eadir"})
SYSTEM_ENDINGS = (".cache",)


def named_image(path: Path) -> bool:
    """Tell whether a file's name says that it is an image."""
    return path.suffix.lower() in images.EXTENSIONS


def visible(path: Path) -> bool:
    """Tell whether an entry is the user's, not the system's or a tool's."""
    name = path.name.lower()
    return not (name.startswith(".") or name in SYSTEM_NAMES or name.endswith(SYSTEM_ENDINGS))


def list_folder(folder: Path) -> list[Path]:
    """Return the visible entries of a folder in the natural order of their names.

    Raises:
        DataError: If the folder cannot be listed.
    """
    what = f"the folder {str(folder)!r} cannot be listed"
    with os_errors_as(DataError, what, "make it readable or move it away"):
        paths = [path for path in folder.iterdir() if visible(path)]
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
    for path in list_folder(folder):
        if path.is_dir():
            yield from walk(path, above | {real})
        elif path.is_file() or not path.exists():  # a pipe or device would be waited for
            yield path


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
    for folder in {root, *(folder.parent for folder in folders - {root})}:
        folders |= _inner(folder)  # classes without a photo too
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
