"""The image files that paths stand for: files, folders, shards, archives, tables."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, overload

import pyarrow as pa

from tlearn.data.archive_folder import is_archive, unpacked_folder
from tlearn.data.columns import array_of, texts_of
from tlearn.data.folders import named_image, walk
from tlearn.data.packed_photos import photo_path
from tlearn.data.shards import shard_source, shards_in
from tlearn.data.table_files import TableFiles
from tlearn.data.tables import is_table, read_table
from tlearn.errors import DataError
from tlearn.object_stores import as_path
from tlearn.progress import Progress, Silent
from tlearn.text import decode_name, encode_name

PathLike = str | Path


class PathColumn(Sequence[Path]):
    """Very many paths, in an Arrow array of their texts; each is made when it is asked for."""

    def __init__(self, texts: Any) -> None:
        self._texts = texts

    def __len__(self) -> int:
        return len(self._texts)

    @overload
    def __getitem__(self, place: int) -> Path: ...
    @overload
    def __getitem__(self, place: slice) -> "PathColumn": ...
    def __getitem__(self, place: int | slice) -> "Path | PathColumn":
        """Return a path by its position, or some by a slice."""
        if isinstance(place, slice):
            return PathColumn(self._texts[place])
        return photo_path(Path(), decode_name(self._texts[place].as_py()))

    def __iter__(self) -> Iterator[Path]:
        return (photo_path(Path(), decode_name(text)) for text in texts_of(self._texts))

    def __reduce__(self) -> tuple[Any, ...]:
        return PathColumn, (self._texts.take(pa.array(range(len(self)), pa.int64())),)


def image_paths(paths: Iterable[PathLike], progress: Progress | None = None) -> Sequence[Path]:
    """Return the given files, and those in folders, shards, archives and tables, in order.

    Of folders and archives they are the visible files. Archives are unpacked into the cache.

    Raises:
        DataError: If a path does not exist, no file is found, or an archive or a table is wrong.
    """
    places = [as_path(path) for path in paths]
    files = chain.from_iterable(_files_at(path, progress or Silent()) for path in places)
    texts = array_of(encode_name(str(file)) for file in files)
    if not len(texts):
        where = ", ".join(repr(str(path)) for path in places[:3]) or "no path"
        raise DataError(f"no files in {where}; give image files or folders of them")
    return PathColumn(texts)


def _files_at(path: Path, progress: Progress) -> Iterator[Path]:
    if shards := shards_in(path):
        source = shard_source(path, shards)
        yield from (file.path for file in source.files)
    elif path.is_dir():
        yield from walk(path)
    elif path.is_file() and is_table(path):
        named = TableFiles(read_table(path, classes=False), None, path.parent, outside=True)
        yield from (photo_path(path.parent, decode_name(name)) for name in texts_of(named.names))
    elif path.is_file() and not named_image(path) and is_archive(path):
        yield from walk(unpacked_folder(path, progress))
    elif path.exists():
        yield path
    else:
        raise DataError(f"there is no {str(path)!r}; give image files or folders of them")
