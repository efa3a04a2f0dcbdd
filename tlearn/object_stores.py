"""Paths in object stores such as ``s3://bucket/folder``, with the methods of those of a disk."""

import contextlib
import errno
import os
import posixpath
import shutil
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import IO, Any, NamedTuple, TypeVar, cast

from tlearn.errors import StoreError
from tlearn.store_access import ADVICE, answer_in_time, is_url, open_store, store_errors_as
from tlearn.store_folders import FileState, StoreFolder, read_folder, state_of

T = TypeVar("T")
Tree = Mapping[str, StoreFolder]  # all folders below one, by their URLs
LISTING_SECONDS = 3600.0  # that a store has to list a folder, which may have millions of files
LISTINGS = 32  # folders that are listed at once
_trees: dict[str, Tree] = {}  # folders that are listed at the moment, by the URL of the top one


class StoreEntry(NamedTuple):
    """A file or folder in a folder of a store, with the methods of :class:`os.DirEntry`."""

    name: str
    directory: bool

    def is_dir(self) -> bool:
        """Return whether it is a folder."""
        return self.directory

    def is_file(self) -> bool:
        """Return whether it is a file."""
        return not self.directory

    def is_symlink(self) -> bool:
        """Return False."""
        return False


class StorePath(PurePosixPath):
    """A path in a store, as text ``s3://bucket/folder/file``.

    It has those methods of :class:`pathlib.Path` that are used for data, made by :func:`as_path`.
    They raise a FileNotFoundError for what is not there, and a StoreError for whatever else the
    package of the store raises.
    """

    def __str__(self) -> str:
        text = super().__str__()
        return text if text.startswith("/") else text.replace(":/", "://", 1)

    def relative_to(self, *other: Any, **options: Any) -> PurePosixPath:  # type: ignore[override]
        """Return the path below another."""
        return PurePosixPath(*super().relative_to(*other, **options).parts)

    def resolve(self) -> "StorePath":
        """Return it without ``..``."""
        protocol, _, rest = str(self).partition("://")
        return StorePath(f"{protocol}://{posixpath.normpath(rest)}")

    absolute = resolve

    @property
    def is_bucket(self) -> bool:
        """Whether it is the top of a store, which nothing can be beside."""
        return len(self.parts) < 3

    def _ask(self, what: Callable[[Any, str], T], seconds: float | None = None) -> T:
        """Return what a store answers in so many seconds, ``SECONDS`` if not given, 0 for any."""
        files, path = open_store(str(self), StoreError)
        try:
            if seconds == 0:
                return what(files, path)
            return answer_in_time(lambda: what(files, path), seconds)
        except (FileNotFoundError, NotADirectoryError):
            raise self._missing() from None
        except Exception as error:
            with store_errors_as(StoreError, f"{str(self)!r} cannot be used", ADVICE):
                raise error

    def _missing(self) -> FileNotFoundError:
        return FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(self))

    def _tree(self) -> Tree | None:
        """Return the folders that are listed at the moment, if it is in one of them."""
        place = str(self)
        trees = list(_trees.items())
        return next((t for top, t in trees if place == top or place.startswith(f"{top}/")), None)

    def state(self) -> FileState | None:
        """Return what changes with a file, ``None`` of a folder.

        Raises:
            FileNotFoundError: If it is not there.
        """

        def find(files: Any, path: str) -> FileState | None:
            files.invalidate_cache(path)
            info = files.info(path)
            return None if info["type"] == "directory" else state_of(info)

        tree = self._tree()
        if tree is None:
            return self._ask(find)
        if str(self) in tree:
            return None
        folder = tree.get(str(self.parent))
        states = folder.states_of([self.name]).tolist() if folder else [[-1]]
        if states[0][0] < 0:
            raise self._missing()
        return FileState(*states[0])

    def exists(self) -> bool:
        """Return whether it is there."""
        try:
            self.state()
        except FileNotFoundError:
            return False
        return True

    def is_dir(self) -> bool:
        """Return whether it is a folder: something is below it."""
        try:
            return self.state() is None
        except FileNotFoundError:
            return False

    def is_file(self) -> bool:
        """Return whether it is a file."""
        try:
            return self.state() is not None
        except FileNotFoundError:
            return False

    def is_symlink(self) -> bool:
        """Return False."""
        return False

    def stat(self) -> os.stat_result:
        """Return its size; the time stands for its version."""
        state = self.state() or FileState(0, 0, 0)
        return os.stat_result((0, 0, 0, 0, 0, 0, state.size, *[state.version] * 3))

    def version(self) -> int:
        """Return a number that changes with the file; 0 of a folder."""
        state = self.state()
        return state.version if state else 0

    def folder(self) -> StoreFolder:
        """Return what is in a folder.

        Raises:
            FileNotFoundError: If there is no such folder.
        """

        def read(files: Any, path: str) -> StoreFolder:
            files.invalidate_cache(path)
            folder = read_folder(path, files.ls(path, detail=True))
            files.invalidate_cache(path)  # a kilobyte for each file
            return folder

        tree = self._tree()
        if tree is None:
            return self._ask(read, LISTING_SECONDS)
        if str(self) not in tree:
            raise self._missing()
        return tree[str(self)]

    def entries(self) -> list[StoreEntry]:
        """Return what is in a folder."""
        folder = self.folder()
        folders = [StoreEntry(name, True) for name in folder.folders]
        return folders + [StoreEntry(name, False) for name in folder.names.to_pylist()]

    @contextlib.contextmanager
    def listed(self) -> Iterator[Tree]:
        """List all folders below, many at once; what is asked meanwhile is answered from that."""
        tree: dict[str, StoreFolder] = {}
        paths = [self]
        with ThreadPoolExecutor(LISTINGS) as pool:
            while paths:
                found = list(pool.map(StorePath.folder, paths))
                tree |= zip(map(str, paths), found, strict=True)
                inner = zip(paths, found, strict=True)
                paths = [path / name for path, folder in inner for name in folder.folders]
        _trees[str(self)] = tree
        try:
            yield tree
        finally:
            _trees.pop(str(self), None)

    def read_bytes(self) -> bytes:
        """Return its content."""
        return self._ask(lambda files, path: bytes(files.cat_file(path)), 0)

    def read_range(self, start: int, size: int) -> bytes:
        """Return so many bytes of its content."""
        ends = {"start": start, "end": start + size}
        return self._ask(lambda files, path: bytes(files.cat_file(path, **ends)), 0)

    def read_text(self, encoding: str = "utf-8") -> str:
        """Return its content as text."""
        return self.read_bytes().decode(encoding)

    def write_bytes(self, content: bytes) -> int:
        """Write it whole."""
        self._ask(lambda files, path: files.pipe_file(path, content), 0)
        return len(content)

    def create(self, content: bytes) -> None:
        """Write it whole, unless it is there: of several machines at once, one does.

        Raises:
            FileExistsError: If it is there.
        """
        try:
            self._ask(lambda files, path: files.pipe_file(path, content, mode="create"), 0)
        except StoreError:
            if self.exists():
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(self)) from None
            raise

    def unlink(self, missing_ok: bool = False) -> None:
        """Delete it."""
        try:
            self._ask(lambda files, path: files.rm_file(path))
        except FileNotFoundError:
            if not missing_ok:
                raise

    def mkdir(self, **options: bool) -> None:
        """Do nothing: folders of stores are there once something is in them."""

    def open(self, mode: str = "rb") -> IO[bytes]:
        """Open it to read bytes."""
        return self.open_with()

    def open_with(self, **options: Any) -> IO[bytes]:
        """Open it to read bytes, with options of fsspec such as ``cache_type``."""
        return cast(IO[bytes], self._ask(lambda files, path: files.open(path, "rb", **options)))

    def upload(self, source: Path) -> int:
        """Copy a file of this machine to it; return its version."""
        self._ask(lambda files, path: files.put_file(str(source), path), 0)
        return self.version()

    def download(self, target: Path) -> None:
        """Copy it to a file of this machine."""
        self._ask(lambda files, path: files.get_file(path, str(target)), 0)


def as_path(place: str | os.PathLike[str]) -> Path:
    """Return a path of this machine, or of a store if that is what a text or path says.

    A :class:`StorePath` stands for a Path, whose methods it has as far as data need them.
    """
    if isinstance(place, StorePath):
        return cast(Path, place)
    return cast(Path, StorePath(place)) if is_url(place) else Path(place)


def absolute(path: Path) -> Path:
    """Return a path from the root of its machine or store, without ``..``, links as they are."""
    return path.resolve() if isinstance(path, StorePath) else Path(os.path.abspath(path))  # noqa: PTH100


def copy_file(path: Path, target: Path) -> None:
    """Copy a file of this machine, with its times, or of a store to a file of this machine.

    Raises:
        OSError: If it cannot be read or written.
    """
    if isinstance(path, StorePath):
        path.download(target)
    else:
        shutil.copy2(path, target)


def entries_of(folder: Path) -> "list[os.DirEntry[str]]":
    """Return what is in a folder of this machine or of a store.

    Raises:
        OSError: If it cannot be listed.
    """
    if isinstance(folder, StorePath):
        return cast("list[os.DirEntry[str]]", folder.entries())
    with os.scandir(folder) as found:
        return list(found)
