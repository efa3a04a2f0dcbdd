"""Archives from strangers into a folder: the images alone, all that is right or nothing."""

import contextlib
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from tlearn.data import images
from tlearn.data.archives import (
    HEAD,
    Entry,
    Limits,
    RefusedError,
    archive_kind,
    check_amount,
    check_room,
    entries,
)
from tlearn.data.filenames import Names, leads_out, sanitize_filename, shown
from tlearn.data.folders import named_image, visible
from tlearn.data.problems import Problem
from tlearn.errors import DataError, one_line
from tlearn.progress import Progress, format_bytes

OTHER_ARCHIVES = {b"7z\xbc\xaf\x27\x1c": "7z", b"Rar!\x1a\x07": "RAR"}  # by their first bytes
ENTRIES = 4  # times the files that are allowed: folders and what systems add beside each file


def fault(path: Path, limits: Limits) -> tuple[str, str] | None:
    """Say why a file cannot be a photo, by its header: the kind of problem and the reason."""
    try:
        with Image.open(path, formats=images.FORMATS) as image:
            width, height = image.size
    except UnidentifiedImageError:
        return "not an image", _what_else(path)
    except Image.DecompressionBombError as error:
        return "unreadable", one_line(error)
    except Exception as error:  # noqa: BLE001 - nearly anything is raised on hostile files
        return "unreadable", f"damaged or unsupported image: {one_line(error)}"
    if width * height > limits.pixels:
        return "unreadable", (
            f"it says that it has {width} x {height} pixels, where {limits.pixels:,} are allowed"
        )
    return None


@dataclass
class Unpacked:
    """What came of an archive.

    Attributes:
        files: Name of each image below the folder, with its bytes.
        left_out: What was not taken.
    """

    files: dict[str, int] = field(default_factory=dict)
    left_out: list[Problem] = field(default_factory=list)


def unpack(path: Path, name: str, into: Path, limits: Limits, progress: Progress) -> Unpacked:
    """Write the images of an archive below a new folder.

    Args:
        path: The archive.
        name: What it is called in messages.
        into: The folder to make.
        limits: What is allowed.
        progress: Where to show how far it is.

    Raises:
        DataError: If the archive is damaged, holds what could do harm, or more than is allowed;
            then there is no such folder.
    """
    scratch = into.with_name(into.name + ".entry")
    try:
        into.mkdir()
        with progress.task("unpacking", -(-path.stat().st_size // 1000), "kB") as task:
            return _Unpacking(path, name, into, scratch, limits).run(task.advance)
    except BaseException as error:
        shutil.rmtree(into, ignore_errors=True)
        why = _why(error)
        if not why:
            raise
        raise DataError(f"the archive {shown(name)} {why}") from None
    finally:
        scratch.unlink(missing_ok=True)


def _why(error: BaseException) -> str:
    """Say in words what went wrong with an archive; nothing if it was not the archive."""
    if isinstance(error, RefusedError):
        return str(error)
    if isinstance(error, OSError) and error.errno:
        return f"cannot be unpacked: {error.strerror}; make room, or let the folder be written to"
    if isinstance(error, Exception):
        return f"is damaged or cut off ({one_line(error)}); pack it anew as .zip or .tar.gz"
    return ""


class _Unpacking:
    """An archive on its way into a folder."""

    def __init__(self, path: Path, name: str, into: Path, scratch: Path, limits: Limits) -> None:
        self.path, self.name, self.limits = path, name, limits
        self.into, self.scratch = into, scratch
        self.packed, self.written = path.stat().st_size, 0
        self.found, self.names, self.seen = Unpacked(), Names(), set[str]()

    def run(self, advance: Callable[[int], None]) -> Unpacked:
        check_room(self.into, self.packed)
        told = 0
        with contextlib.closing(entries(self.path, self.limits)) as all_entries:
            for count, entry in enumerate(all_entries):
                if count >= ENTRIES * self.limits.files:
                    raise RefusedError(f"holds more than {count:,} entries; part it into several")
                self.take(entry)
                advance(max(0, entry.position // 1000 - told))
                told = max(told, entry.position // 1000)
        advance(-(-self.packed // 1000) - told)
        return self.found

    def take(self, entry: Entry) -> None:
        if leads_out(entry.name):
            raise RefusedError(f"holds {shown(entry.name)}, which leads out of its folder")
        if not _of_interest(entry.name):
            return
        if len(self.found.files) + len(self.found.left_out) >= self.limits.files:
            raise RefusedError(
                f"holds more files than the {self.limits.files:,} that are still allowed; part it "
                f"into several"
            )
        try:
            clean = sanitize_filename(entry.name)
        except DataError as error:
            self.leave_out(entry, "unreadable", str(error))
            return
        if clean in self.seen:
            raise RefusedError(f"holds {shown(clean)} twice; pack it anew")
        self.seen.add(clean)
        problem = _too_large(entry, self.limits) or self.write(entry)
        if problem:
            self.leave_out(entry, *problem)
            return
        given = self.names.give(clean)
        (self.into / given).parent.mkdir(parents=True, exist_ok=True)
        self.scratch.rename(self.into / given)
        self.found.files[given] = entry.size

    def write(self, entry: Entry) -> tuple[str, str] | None:
        """Write an entry beside the folder, and say why it cannot be a photo."""
        check_room(self.into, entry.size)
        size = 0
        with self.scratch.open("wb") as file:
            for block in entry.blocks():
                size += len(block)
                self.written += len(block)
                check_amount(self.written, self.packed, self.limits)
                file.write(block)
        if size != entry.size:
            raise EOFError(f"{shown(entry.name)} has {size} bytes and says {entry.size}")
        return fault(self.scratch, self.limits)

    def leave_out(self, entry: Entry, kind: str, reason: str) -> None:
        label = f"{self.name}/{shown(entry.name)[1:-1]}"
        self.found.left_out.append(Problem(label, kind, reason))


def _of_interest(name: str) -> bool:
    """Tell whether an entry is a file of the user's, not a folder or something of a system."""
    parts = name.replace("\\", "/").split("/")
    folder = len(parts) > 1 and not parts[-1]
    return not folder and all(visible(Path(part)) for part in parts)


def _too_large(entry: Entry, limits: Limits) -> tuple[str, str] | None:
    if entry.size <= limits.image_bytes:
        return None
    kind = "unreadable" if named_image(Path(entry.name)) else "not an image"
    return (
        kind,
        f"it has {format_bytes(entry.size)}, where {format_bytes(limits.image_bytes)} are allowed",
    )


def _what_else(path: Path) -> str:
    with path.open("rb") as file:
        head = file.read(HEAD)
    if not head:
        return images.EMPTY
    if archive_kind(head):
        return "an archive within an archive, which is not unpacked; send it by itself"
    for signature, name in OTHER_ARCHIVES.items():
        if head.startswith(signature):
            return f"a {name} archive, which is not unpacked; pack it anew as .zip or .tar.gz"
    if images.is_heic(head):
        return images.HEIC
    return images.NOT_AN_IMAGE
