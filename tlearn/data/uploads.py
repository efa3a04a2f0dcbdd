"""Files on their way into a data root: received aside, unpacked within limits, placed at once."""

import contextlib
import os
import secrets
import shutil
import threading
from collections.abc import Iterator
from dataclasses import replace
from io import FileIO
from pathlib import Path

from tlearn.csv_files import csv_rows, csv_text
from tlearn.data.archives import (
    HEAD,
    Limits,
    RefusedError,
    archive_kind,
    archive_stem,
    check_room,
)
from tlearn.data.filenames import UniqueNames, inside, leads_out, shown
from tlearn.data.folders import list_folder
from tlearn.data.layouts import split_of
from tlearn.data.problems import Problem
from tlearn.data.process_folder import process_folder
from tlearn.data.unpacking import image_problem, is_visible, unpack
from tlearn.errors import DataError, os_errors_as
from tlearn.progress import Progress, Silent, format_bytes
from tlearn.text import decode_name, encode_name

STAGING = ".uploads"
REPORT = ".upload.csv"  # in a data set: what its uploads left out and renamed
COLUMNS = ("file", "kind", "reason")
ENDED = "this upload has ended; choose the files again"


class Upload:
    """Files on their way into a data root; nothing is seen there until it is placed.

    Files may be received in several threads at once; placing ends the upload, and so does the end
    of the process.

    Attributes:
        token: The name of the staging folder, which cannot be guessed.
        files: How many images and archives there are.
        bytes: Their size.
        left_out: What was received or unpacked and not taken.
    """

    def __init__(self, root: Path, limits: Limits = Limits()) -> None:  # noqa: B008 - is frozen
        """Make a staging folder in ``root``, which is made too if it is missing.

        Raises:
            DataError: If the folder cannot be written to.
        """
        self.token, self.limits = secrets.token_hex(16), limits
        self.files = self.bytes = 0
        self.left_out: list[Problem] = []
        self._root = root.absolute()
        self._archives: dict[Path, str] = {}  # with the names that they were sent by
        self._names = UniqueNames()
        self._notes: list[Problem] = []  # what was changed in the names of archives
        self._lock = threading.RLock()
        with errors_as_data("the upload"):
            self._folder = process_folder(inside(self._root, STAGING)) / self.token
            self._images = self._folder / "files"
            self._images.mkdir(parents=True)

    @property
    def is_open(self) -> bool:
        """Whether it was neither placed nor cancelled."""
        return self._images.is_dir()

    @property
    def report(self) -> list[Problem]:
        """What a user should know of: files that were left out, names that were changed."""
        renamed = [
            Problem(name, "renamed", f"it is {shown(path)} now")
            for name, path in self._names.repaired.items()
        ]
        return [*self.left_out, *self._notes, *renamed]

    @contextlib.contextmanager
    def receiving(self, name: str) -> Iterator[FileIO]:
        """Give a file to write to with :meth:`write`; it is taken if the with statement ends well.

        What is neither an image nor an archive is left out and reported; files of a system, such
        as ``.DS_Store``, are passed over. A name that cannot stand is repaired and reported.

        Args:
            name: Its path as the sender has it.

        Raises:
            DataError: If the upload has ended, or has too much.
        """
        with self._lock:
            if not self.is_open:
                raise DataError(ENDED)
            if self.files + len(self.left_out) >= self.limits.files:
                raise DataError(
                    f"{shown(name)} comes after {self.limits.files:,} files, which are all that "
                    f"are allowed; send them in several uploads"
                )
        path = self._folder / secrets.token_hex(8)
        try:
            with errors_as_data(f"the file {shown(name)}"):
                file = path.open("xb", buffering=0)
            with file:
                yield file
            with errors_as_data(f"the file {shown(name)}"):
                self._take(name, path)
        finally:
            if path.exists():
                with self._lock:
                    self.bytes -= path.stat().st_size
                path.unlink()

    def write(self, file: FileIO, data: bytes) -> None:
        """Write the next bytes of a file.

        Raises:
            DataError: If they are more than is allowed, or than the disk has room for.
        """
        with errors_as_data("the upload"), self._lock:
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

    def _take(self, name: str, path: Path) -> None:
        """Put what was received with the images or the archives, or report it."""
        with path.open("rb") as file:
            packed = archive_kind(file.read(HEAD))
        problem = None if packed else image_problem(path, self.limits)
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

        What an archive holds goes to its one top folder, or else to a folder of the archive's
        name.

        Raises:
            DataError: If an archive is damaged, holds what could do harm, or more than is
                allowed; it is then as if it had not been received. Those after it still wait.
        """
        for path, name in sorted(self._archives.items(), key=lambda item: item[1]):
            del self._archives[path]
            self.files -= 1
            self.bytes -= path.stat().st_size
            try:
                with errors_as_data(f"the archive {shown(name)}"):
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
        unpacked = unpack(path, name, into, limits, progress)
        tops = list(into.iterdir())
        above, _, last = name.replace("\\", "/").rpartition("/")
        single = len(tops) == 1 and tops[0].is_dir()
        with self._lock:
            if unpacked.files:
                top = self._names.add_folder(above, tops[0].name if single else archive_stem(last))
                (self._images / top).parent.mkdir(parents=True, exist_ok=True)
                (tops[0] if single else into).rename(self._images / top)
            else:
                reason = "an archive without an image that can be used"
                self.left_out.append(Problem(name, "not an image", reason))
            self.files += unpacked.files
            self.bytes += unpacked.bytes
            self.left_out += unpacked.left_out
            if unpacked.encoding:
                reason = f"its names are not marked as UTF-8; they were read as {unpacked.encoding}"
                self._notes.append(Problem(name, "renamed", reason))
            self._notes += [
                Problem(f"{name}/{sent}", "renamed", f"it is {shown(given)} now")
                for sent, given in unpacked.repaired.items()
            ]
        shutil.rmtree(into, ignore_errors=True)

    def images(self) -> list[Path]:
        """Return the images that were received and unpacked, to be copied before the upload ends.

        Raises:
            DataError: If nothing usable was received.
        """
        with self._lock:
            self._check_usable()
            return sorted(path for path in self._images.rglob("*") if path.is_file())

    def place(self, target: Path) -> Path:
        """Make what was received a data set, at once, and end the upload.

        One top folder that holds folders is taken off, so that class folders stand in ``target``.
        What was left out and renamed is kept there for :func:`upload_report`.

        Args:
            target: A path inside the root where nothing is yet.

        Returns:
            ``target``, resolved.

        Raises:
            DataError: If nothing usable was received, or ``target`` is not free or not inside.
        """
        with self._lock, errors_as_data("the data set"):
            target, root = inside(self._root, str(target.absolute())), self._root.resolve()
            if target == root or target.relative_to(root).parts[0] == STAGING:
                raise DataError(f"{shown(str(target))} is not for data; give a path in {root}")
            if os.path.lexists(target):
                raise DataError(f"{target.name!r} is there already; choose another name")
            self._check_usable()
            source = self._images
            while len(entries := list_folder(source)) == 1 and entries[0].is_dir():
                if not any(path.is_dir() for path in list_folder(entries[0])):
                    break
                if source != self._images and split_of(entries[0].name):
                    break
                source = entries[0]
            if self.report:
                rows = [(encode_name(p.name), p.kind, p.reason) for p in self.report]
                (source / REPORT).write_text(csv_text(COLUMNS, rows), "utf-8", newline="")
            target.parent.mkdir(parents=True, exist_ok=True)
            source.rename(target)
        self.cancel()
        return target

    def _check_usable(self) -> None:
        if self._archives:
            raise DataError(
                f"the archive {shown(min(self._archives.values()))} is not unpacked yet; unpack it "
                f"first"
            )
        if not self.files:
            reasons = dict.fromkeys(f"{shown(p.name)}: {p.reason}" for p in self.left_out[:3])
            why = f" ({'; '.join(reasons)})" if reasons else ""
            raise DataError(
                f"none of the {len(self.left_out)} files received is an image that can be used"
                f"{why}; send images, or zip or tar archives of images"
            )

    def cancel(self) -> None:
        """Remove the staging folder with all that was received and not placed."""
        with self._lock:
            shutil.rmtree(self._folder, ignore_errors=True)


def upload_report(data: Path) -> list[Problem]:
    """Return what the upload of a data set left out and renamed."""
    try:
        rows = csv_rows((data / REPORT).read_text("utf-8"))
        return [Problem(decode_name(row["file"]), row["kind"], row["reason"]) for row in rows]
    except (OSError, ValueError, KeyError):
        return []  # a help and no part of the data


@contextlib.contextmanager
def errors_as_data(what: str) -> Iterator[None]:
    """Say in a line what the system refuses to do for ``what``.

    Raises:
        DataError: Instead of an error of the system's, or for want of room.
    """
    advice = "make room on the disk, or let its folder be written to"
    try:
        with os_errors_as(DataError, f"{what} cannot be written", advice):
            yield
    except RefusedError as error:
        raise DataError(f"{what} {error}") from None
