"""The image files that paths stand for: files, folders, archives, tables."""

from collections.abc import Iterable
from pathlib import Path

from tlearn.data.archive_folder import is_archive, unpacked_folder
from tlearn.data.columns import texts_of
from tlearn.data.folders import named_image, walk
from tlearn.data.packed_photos import photo_path
from tlearn.data.table_files import TableFiles
from tlearn.data.tables import is_table, read_table
from tlearn.errors import DataError
from tlearn.object_stores import as_path
from tlearn.progress import Progress, Silent
from tlearn.text import decode_name

PathLike = str | Path


def image_paths(paths: Iterable[PathLike], progress: Progress | None = None) -> list[Path]:
    """Return the given files, and those in folders, archives and tables, in order.

    Of folders and archives they are the visible files. Archives are unpacked into the cache.

    Raises:
        DataError: If a path does not exist, no file is found, or an archive or a table is wrong.
    """
    files: list[Path] = []
    places = [as_path(path) for path in paths]
    for path in places:
        if path.is_dir():
            files += walk(path)
        elif path.is_file() and is_table(path):
            named = TableFiles(read_table(path, classes=False), None, path.parent, outside=True)
            files += (photo_path(path.parent, decode_name(n)) for n in texts_of(named.names))
        elif path.is_file() and not named_image(path) and is_archive(path):
            files += walk(unpacked_folder(path, progress or Silent()))
        elif path.exists():
            files.append(path)
        else:
            raise DataError(f"there is no {str(path)!r}; give image files or folders of them")
    if not files:
        where = ", ".join(repr(str(path)) for path in places[:3]) or "no path"
        raise DataError(f"no files in {where}; give image files or folders of them")
    return files
