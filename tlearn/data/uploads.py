"""Files from strangers into a data root: received aside, unpacked within limits, placed at once."""

import contextlib
import os
import secrets
import shutil
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from tlearn.data.archives import ENDINGS, Limits, archive_kind, check_room
from tlearn.data.filenames import Names, inside, sanitize_filename, shown
from tlearn.data.folders import list_folder, visible
from tlearn.data.layouts import split_of
from tlearn.data.problems import Problem
from tlearn.data.process_folder import process_folder
from tlearn.data.unpacking import fault, unpack
from tlearn.data.upload_writer import UploadWriter, told
from tlearn.errors import DataError
from tlearn.progress import Progress, Silent, format_bytes

__all__ = ["Limits", "Upload", "UploadWriter", "inside", "sanitize_filename"]

STAGING = ".uploads"
ENDED = "this upload has ended, or waited too long; begin a new one"


class Upload:
    """Files on their way into a data root; nothing is seen there until it is placed.

    Files may be received in several threads at once; placing ends the upload.

    Attributes:
        token: The name of the staging folder, which cannot be guessed.
        bytes: Those of the files that are kept or being received.
        left_out: What was received or unpacked and not kept.
    """

    def __init__(self, root: Path, token: str, limits: Limits) -> None:
        self.token = token
        self.left_out: list[Problem] = []
        self.bytes = 0
        self._root, self._limits = root, limits
        self._staging = process_folder(inside(root, STAGING)) / token
        self._kept, self._partial = self._staging / "files", self._staging / "partial"
        self._images: dict[str, int] = {}  # names in the folder of what is kept, with their bytes
        self._archives: dict[str, Path] = {}  # names as received
        self._coming = 0
        self._names = Names()
        self._lock = threading.RLock()

    @classmethod
    def begin(cls, root: Path, limits: Limits = Limits()) -> "Upload":  # noqa: B008 - is frozen
        """Make a staging folder in ``root``, which is made too if it is missing.

        Raises:
            DataError: If the folder cannot be written to.
        """
        with told("the upload"):
            upload = cls(root.absolute(), secrets.token_hex(16), limits)
            upload._staging.mkdir(mode=0o700)
            upload._kept.mkdir()
            upload._partial.mkdir()
        return upload

    @property
    def is_open(self) -> bool:
        """Whether it was neither placed nor cancelled."""
        return self._kept.is_dir()

    @property
    def files(self) -> int:
        """How many files are kept, archives among them."""
        return len(self._images) + len(self._archives)

    @contextlib.contextmanager
    def receiving(self, name: str, size: int | None = None) -> Iterator["UploadWriter"]:
        """Receive one file; it is kept, whole, if the with statement ends well.

        What is neither an image nor an archive is left out and reported; files of a system, such
        as ``.DS_Store``, are passed over.

        Args:
            name: Its path as the sender has it.
            size: Its bytes, where the sender says so.

        Raises:
            DataError: If the name or the amount is not allowed, if the disk has no room, or if
                there were more or fewer bytes than ``size``; here or in :meth:`UploadWriter.write`.
        """
        clean = sanitize_filename(name)
        path = self._partial / secrets.token_hex(8)
        given = self._expect(clean, size or 0)
        sink: UploadWriter | None = None
        try:
            with told(f"the file {shown(clean)}"):
                file = path.open("xb", buffering=0)  # else closing it could fail for want of room
            with file:
                sink = UploadWriter(file, clean, size, self._limits, self._count)
                yield sink
            sink.finish()
            with told(f"the file {shown(clean)}"):
                self._keep(path, clean, given, sink)
        finally:
            with self._lock:
                self._coming -= 1
                if given not in self._images:
                    self._names.take_back(clean)
                    if sink and clean not in self._archives:
                        self.bytes -= sink.size
            path.unlink(missing_ok=True)

    def _expect(self, clean: str, size: int) -> str:
        """Reserve the name and the place of a file that is to come."""
        with told(f"the file {shown(clean)}"), self._lock:
            if not self._kept.is_dir():
                raise DataError(ENDED)
            if self.files + len(self.left_out) + self._coming >= self._limits.files:
                raise DataError(
                    f"{shown(clean)} comes after {self._limits.files:,} files, which are all that "
                    f"are allowed; send them in several uploads"
                )
            self._check_bytes(clean, size)
            check_room(self._staging, size)
            if clean in self._archives:
                raise DataError(f"{shown(clean)} was received already; give it another name")
            given = self._names.give(clean)
            self._coming += 1
            return given

    def _check_bytes(self, clean: str, size: int) -> None:
        if self.bytes + size > self._limits.bytes:
            raise DataError(
                f"with {shown(clean)} the upload has more than the "
                f"{format_bytes(self._limits.bytes)} that are allowed; send less, or in "
                "several uploads"
            )

    def _count(self, clean: str, size: int) -> None:
        with told(f"the file {shown(clean)}"), self._lock:
            self._check_bytes(clean, size)
            check_room(self._staging, size)
            self.bytes += size

    def _keep(self, path: Path, clean: str, given: str, sink: "UploadWriter") -> None:
        """Put what was received with the images or the archives, or report it."""
        if not all(visible(Path(part)) for part in clean.split("/")):
            return
        problem = fault(path, self._limits)
        with self._lock:
            if not self._kept.is_dir():
                raise DataError(ENDED)
            if problem is None:
                (self._kept / given).parent.mkdir(parents=True, exist_ok=True)
                path.rename(self._kept / given)
                self._images[given] = sink.size
            elif archive_kind(sink.head):
                self._archives[clean] = path.rename(path.with_name(path.name + ".archive"))
            else:
                self.left_out.append(Problem(clean, *problem))

    def unpack(self, progress: Progress | None = None) -> None:
        """Unpack the archives that were received, and remove them.

        What an archive holds goes to its one top folder, or else to a folder of the archive's
        name.

        Raises:
            DataError: If an archive is damaged, holds what could do harm, or more than is
                allowed; it is then as if it had not been received. Those after it still wait.
        """
        for clean in sorted(self._archives):
            path = self._archives[clean]
            try:
                with told(f"the archive {shown(clean)}"):
                    self._unpack(clean, path, progress or Silent())
            finally:
                with self._lock:
                    self.bytes -= path.stat().st_size if path.exists() else 0
                    del self._archives[clean]
                path.unlink(missing_ok=True)

    def _unpack(self, clean: str, path: Path, progress: Progress) -> None:
        limits = replace(
            self._limits,
            files=max(0, self._limits.files - len(self._images) - len(self.left_out)),
            bytes=self._limits.bytes - sum(self._images.values()),
        )
        into = self._partial / secrets.token_hex(8)
        found = unpack(path, clean, into, limits, progress)
        try:
            tops = {name.partition("/")[0] for name in found.files}
            flat = len(tops) != 1 or any("/" not in name for name in found.files)
            above, _, last = clean.rpartition("/")
            top = _stem(last) if flat else tops.pop()
            with self._lock:
                if found.files:
                    given = self._names.fresh(f"{above}/{top}" if above else top, folder=True)
                    (self._kept / given).parent.mkdir(parents=True, exist_ok=True)
                    (into if flat else into / top).rename(self._kept / given)
                for name, size in found.files.items():
                    inner = name if flat else name.partition("/")[2]
                    self._images[f"{given}/{inner}"] = size
                    self.bytes += size
                self.left_out += found.left_out
                if not found.files:
                    reason = "an archive without an image that can be used"
                    self.left_out.append(Problem(clean, "not an image", reason))
        finally:
            shutil.rmtree(into, ignore_errors=True)

    def place(self, target: Path) -> Path:
        """Make what was received a data set, at once, and end the upload.

        One top folder that holds folders is taken off, so that class folders stand in ``target``.

        Args:
            target: A path inside the root where nothing is yet.

        Returns:
            ``target``, resolved.

        Raises:
            DataError: If nothing usable was received, or ``target`` is not free or not inside.
        """
        with self._lock, told("the data set"):
            target = self._allowed(target)
            if os.path.lexists(target):
                raise DataError(f"{target.name!r} is there already; choose another name")
            self._check_usable()
            source = self._kept
            while len(entries := list_folder(source)) == 1 and entries[0].is_dir():
                if not any(path.is_dir() for path in list_folder(entries[0])):
                    break
                if source != self._kept and split_of(entries[0].name):
                    break
                source = entries[0]
            target.parent.mkdir(parents=True, exist_ok=True)
            source.rename(target)
        self.cancel()
        return target

    def images(self) -> list[Path]:
        """Return the images that were received and unpacked, to be copied before the upload ends.

        Raises:
            DataError: If nothing usable was received.
        """
        with self._lock:
            self._check_usable()
            return [self._kept / name for name in sorted(self._images)]

    def _allowed(self, path: Path) -> Path:
        real, root = inside(self._root, str(path.absolute())), self._root.resolve()
        if real == root or real.relative_to(root).parts[0] == STAGING:
            raise DataError(f"{shown(str(path))} is not for data; give a path in {str(root)!r}")
        return real

    def _check_usable(self) -> None:
        """Refuse to end with files on their way, archives still packed, or without an image."""
        if self._coming:
            raise DataError("files are still being received; wait until all are there")
        if self._archives:
            raise DataError(
                f"the archive {shown(min(self._archives))} is not unpacked yet; unpack it first"
            )
        if not self._images:
            first = self.left_out[0] if self.left_out else None
            why = f"; the first, {shown(first.name)}: {first.reason}" if first else ""
            raise DataError(
                f"none of the {len(self.left_out)} files received is an image that can be used"
                f"{why}; send images, or archives of images"
            )

    def cancel(self) -> None:
        """Remove the staging folder with all that was received and not placed."""
        with self._lock:
            shutil.rmtree(self._staging, ignore_errors=True)


def _stem(name: str) -> str:
    """Return the name of the folder for what an archive of this name holds."""
    stem = name
    for ending in ENDINGS:
        if name.lower().endswith(ending):
            stem = name[: -len(ending)]
    with contextlib.suppress(DataError):
        clean = sanitize_filename(stem.rstrip(" ."))
        if visible(Path(clean)):
            return clean
    return "archive"
