"""Uploads into a data root: received in a staging folder, unpacked, and moved in at once."""

import contextlib
import os
import secrets
import shutil
import threading
from collections.abc import Iterator
from dataclasses import replace
from io import FileIO
from pathlib import Path

from tlearn.data.archive_folder import name_problems, write_report
from tlearn.data.archives import (
    HEAD,
    UNPACKED,
    Limits,
    RefusedError,
    archive_kind,
    archive_stem,
    check_room,
)
from tlearn.data.filenames import UniqueNames, inside, leads_out, quote_name
from tlearn.data.folders import list_folder
from tlearn.data.layouts import split_of
from tlearn.data.problems import Problem
from tlearn.data.process_folder import process_folder
from tlearn.data.tables import is_table
from tlearn.data.unpacking import file_problem, is_visible, unpack
from tlearn.errors import DataError, os_errors_as
from tlearn.progress import Progress, Silent, format_bytes

STAGING = ".uploads"
ENDED = "this upload has ended; choose the files again"


class Upload:
    """Files in a staging folder of a data root, until they are placed as a data set.

    Files may be received in several threads at once. Placing ends the upload, and so does the end
    of the process.

    Attributes:
        token: The name of the staging folder, which cannot be guessed.
        files: Number of images, tables and archives.
        bytes: Their size.
        complete: Whether the sender said that nothing more comes.
        left_out: Files that were refused.
    """

    def __init__(
        self,
        root: Path,
        limits: Limits = Limits(),  # noqa: B008 - is frozen
        tables: bool = False,
    ) -> None:
        """Make a staging folder in ``root``; ``tables`` tells whether tables are taken, too.

        Raises:
            DataError: If the folder cannot be written to.
        """
        self.token, self.limits = secrets.token_hex(16), limits
        self.files = self.bytes = 0
        self.complete = False
        self.left_out: list[Problem] = []
        self._root, self._tables = root.absolute(), tables
        self._archives: dict[Path, str] = {}  # with their names
        self._names = UniqueNames()
        self._notes: list[Problem] = []  # changed names in archives
        self._lock = threading.RLock()
        with _data_errors("the upload"):
            self._folder = process_folder(inside(self._root, STAGING)) / self.token
            self._images = self._folder / "files"
            self._images.mkdir(parents=True)

    @property
    def is_open(self) -> bool:
        """Whether it was neither placed nor cancelled."""
        return self._images.is_dir()

    @property
    def report(self) -> list[Problem]:
        """Files that were left out, and names that were changed."""
        renamed = [
            Problem(name, "renamed", f"it is {quote_name(path)} now")
            for name, path in self._names.repaired.items()
        ]
        return [*self.left_out, *self._notes, *renamed]

    @contextlib.contextmanager
    def receiving(self, name: str) -> Iterator[FileIO]:
        """Give a file for :meth:`write`, of this path at the sender, added when the block ends.

        Files that are neither images nor archives are left out and reported; files of a system,
        such as ``.DS_Store``, are ignored. Names are repaired and reported where necessary.

        Raises:
            DataError: If the upload has ended, or has too many files.
        """
        with self._lock:
            if not self.is_open:
                raise DataError(ENDED)
            if self.files + len(self.left_out) >= self.limits.files:
                raise DataError(
                    f"{quote_name(name)} exceeds the {self.limits.files:,} files that are allowed; "
                    f"send them in several uploads"
                )
        path = self._folder / secrets.token_hex(8)
        try:
            with _data_errors(f"the file {quote_name(name)}"):
                file = path.open("xb", buffering=0)
            with file:
                yield file
            with _data_errors(f"the file {quote_name(name)}"):
                self._add(name, path)
        finally:
            with self._lock:  # else an upload that is cancelled may remove it in between
                if path.exists():
                    self.bytes -= path.stat().st_size
                    path.unlink()

    def write(self, file: FileIO, data: bytes) -> None:
        """Write the next bytes of a file.

        Raises:
            DataError: If they are more than is allowed, or the disk is full.
        """
        with _data_errors("the upload"), self._lock:
            if self.bytes + len(data) > self.limits.bytes:
                raise DataError(
                    f"the upload has more than the {format_bytes(self.limits.bytes)} that are "
                    f"allowed; send less, or in several uploads"
                )
            check_room(self._folder, len(data))
            rest = memoryview(data)
            while rest:
                written = file.write(rest)
                self.bytes += written
                rest = rest[written:]

    def _add(self, name: str, path: Path) -> None:
        """Add a received file to the images or the archives, or report it."""
        with path.open("rb") as file:
            packed = archive_kind(file.read(HEAD)) in UNPACKED
        table = self._tables and is_table(Path(name))
        problem = None if packed else file_problem(path, self.limits, table)
        if leads_out(name):
            problem = ("refused", "the name leads out of its folder")
        elif not is_visible(name):
            return
        with self._lock:
            if not self.is_open:
                raise DataError(ENDED)
            if problem:
                self.left_out.append(Problem(name, *problem))
                return
            self.files += 1
            if packed:
                self._archives[path.rename(path.with_suffix(".archive"))] = name
            else:
                target = self._images / self._names.add(name)
                target.parent.mkdir(parents=True, exist_ok=True)
                path.rename(target)

    def unpack(self, progress: Progress | None = None) -> None:
        """Unpack the archives that were received, and remove them.

        The images go to the one top folder of the archive, or else to a folder of its name.

        Raises:
            DataError: If an archive is damaged, dangerous or too large; it is removed, and those
                after it are not unpacked yet.
        """
        for path, name in sorted(self._archives.items(), key=lambda item: item[1]):
            del self._archives[path]
            self.files -= 1
            self.bytes -= path.stat().st_size
            try:
                with _data_errors(f"the archive {quote_name(name)}"):
                    self._unpack(name, path, progress or Silent())
            finally:
                path.unlink(missing_ok=True)

    def _unpack(self, name: str, path: Path, progress: Progress) -> None:
        limits = replace(
            self.limits,
            files=max(0, self.limits.files - self.files - len(self.left_out)),
            bytes=self.limits.bytes - self.bytes,
        )
        into = path.with_suffix("")
        unpacked = unpack(path, name, into, limits, progress, self._tables)
        parent, _, filename = name.replace("\\", "/").rpartition("/")
        entries = list(into.iterdir())
        single = len(entries) == 1 and entries[0].is_dir()
        source, title = (entries[0], entries[0].name) if single else (into, archive_stem(filename))
        with self._lock:
            if entries:
                target = self._images / self._names.add(f"{parent}/{title}".strip("/"))
                target.parent.mkdir(parents=True, exist_ok=True)
                source.rename(target)
            else:
                reason = "an archive without an image that can be used"
                self.left_out.append(Problem(name, "not an image", reason))
            self.files += unpacked.files
            self.bytes += unpacked.bytes
            self.left_out += [Problem(f"{name}/{file}", *why) for file, *why in unpacked.left_out]
            self._notes += name_problems(unpacked, f"{name}/", name)
        shutil.rmtree(into, ignore_errors=True)

    def images(self) -> list[Path]:
        """Return the images that were received and unpacked, to be copied before the upload ends.

        Raises:
            DataError: If there is none, or an archive is not unpacked.
        """
        with self._lock:
            self._check_usable()
            return sorted(path for path in self._images.rglob("*") if path.is_file())

    def place(self, target: Path) -> Path:
        """Move the images to a new data set, and end the upload; return ``target``, resolved.

        A single top folder that holds folders is removed, so that ``target`` holds class folders.
        The report is written there for :func:`~tlearn.data.archive_folder.read_report`.

        Raises:
            DataError: If no image was received, or ``target`` exists or is not inside the root.
        """
        with self._lock, _data_errors("the data set"):
            target, root = inside(self._root, str(target.absolute())), self._root.resolve()
            if target == root or target.relative_to(root).parts[0] == STAGING:
                raise DataError(f"{quote_name(str(target))} is not for data; give a path in {root}")
            if os.path.lexists(target):
                raise DataError(f"{target.name!r} exists already; choose another name")
            self._check_usable()
            source = self._images
            while len(entries := list_folder(source)) == 1 and entries[0].is_dir():
                if not any(path.is_dir() for path in list_folder(entries[0])):
                    break
                if source != self._images and split_of(entries[0].name):
                    break
                source = entries[0]
            write_report(source, self.report)
            target.parent.mkdir(parents=True, exist_ok=True)
            source.rename(target)
        self.cancel()
        return target

    def _check_usable(self) -> None:
        if self._archives:
            name = quote_name(min(self._archives.values()))
            raise DataError(f"the archive {name} is not unpacked yet; unpack it first")
        if not self.files:
            reasons = dict.fromkeys(f"{quote_name(p.name)}: {p.reason}" for p in self.left_out[:3])
            why = f" ({'; '.join(reasons)})" if reasons else ""
            raise DataError(
                f"none of the {len(self.left_out)} files received is an image that can be used"
                f"{why}; send images, or zip or tar archives of images"
            )

    def cancel(self) -> None:
        """Remove the staging folder."""
        with self._lock:
            shutil.rmtree(self._folder, ignore_errors=True)


@contextlib.contextmanager
def _data_errors(what: str) -> Iterator[None]:
    """Raise a DataError of one line about ``what`` for an error of the system or a full disk."""
    advice = "make room on the disk, or let its folder be written to"
    try:
        with os_errors_as(DataError, f"{what} cannot be written", advice):
            yield
    except RefusedError as error:
        raise DataError(f"{what} {error}") from None
