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
    names = sorted((entry.name for entry in _entries(folder)), key=natural_key)
    return [folder / name for name in names]


def _entries(folder: Path) -> list["os.DirEntry[str]"]:
    """Return the visible entries of a folder in any order."""
    what = f"the folder {str(folder)!r} cannot be listed"
    with os_errors_as(DataError, what, "make it readable or move it away"):
        return [entry for entry in entries_of(folder) if visible(entry.name)]


def walk(folder: Path, parents: frozenset[Path] = frozenset()) -> Iterator[Path]:
    """Yield the visible files below a folder in the natural order of their names.

    Links are followed, except to the folders that contain them and those in ``parents``.

    Raises:
        DataError: If a folder cannot be listed.
    """
    return (folder / name for name in walk_names(folder, parents))


def walk_names(folder: Path, parents: frozenset[Path] = frozenset()) -> Iterator[str]:
    """Yield the paths of :func:`walk` relative to the folder, which takes a fifth of the time."""
    real = folder.resolve()
    if real in parents:
        return
    files: list[str] = []
    folders: set[str] = set()
    for entry in _entries(folder):
        # The entry knows without asking the disk, but for a link.
        kind = folder / entry.name if entry.is_symlink() else entry
        if kind.is_dir():
            folders.add(entry.name)
        elif kind.is_file() or not os.path.exists(entry):  # noqa: PTH110 - a pipe would be waited for
            files.append(entry.name)
    for name in sorted([*files, *folders], key=natural_key):
        if name in folders:
            inner = walk_names(folder / name, parents | {real})
            yield from (f"{name}/{path}" for path in inner)
        else:
            yield name
