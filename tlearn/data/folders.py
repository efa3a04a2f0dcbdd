"""The files and folders in a data folder, without those of systems and tools."""

import os
from collections.abc import Iterator
from pathlib import Path

from tlearn.errors import DataError, os_errors_as
from tlearn.object_stores import entries_of
from tlearn.text import natural_key

EXTENSIONS = frozenset(
    ".jpg .jpeg .jpe .jfif .mpo .png .apng .gif .bmp .dib .tif .tiff .webp .avif .jp2 .j2k .ppm "
    ".pgm .pbm .pnm .ico .qoi .pcx .sgi .dds .heic .heif .tga .psd".split()
)
SYSTEM_NAMES = frozenset({"__macosx", "thumbs.db", "desktop.ini", "$recycle.bin", "@eadir"})
SYSTEM_ENDINGS = (".cache",)


def named_image(path: Path) -> bool:
    """Return whether a file's name ends as that of an image."""
    return path.suffix.lower() in EXTENSIONS


def visible(name: str) -> bool:
    """Return whether an entry of this name is the user's, not the system's or a tool's."""
    name = name.lower()
    return not (name.startswith(".") or name in SYSTEM_NAMES or name.endswith(SYSTEM_ENDINGS))


def list_folder(folder: Path) -> list[Path]:
    """Return the visible entries of a folder in the natural order of their names.

    Raises:
        DataError: If the folder cannot be listed.
    """
    return [folder / entry.name for entry in _entries(folder)]


def _entries(folder: Path) -> list["os.DirEntry[str]"]:
    what = f"the folder {str(folder)!r} cannot be listed"
    with os_errors_as(DataError, what, "make it readable or move it away"):
        entries = [entry for entry in entries_of(folder) if visible(entry.name)]
    return sorted(entries, key=lambda entry: natural_key(entry.name))


def walk(folder: Path, parents: frozenset[Path] = frozenset()) -> Iterator[Path]:
    """Yield the visible files below a folder in the natural order of their names.

    Links are followed, except to the folders that contain them and those in ``parents``.

    Raises:
        DataError: If a folder cannot be listed.
    """
    real = folder.resolve()
    if real in parents:
        return
    for entry in _entries(folder):
        path = folder / entry.name
        kind = path if entry.is_symlink() else entry  # which knows without asking the disk
        if kind.is_dir():
            yield from walk(path, parents | {real})
        elif kind.is_file() or not path.exists():  # a pipe or device would be waited for
            yield path
