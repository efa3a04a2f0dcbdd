"""Unpacking the images and tables of an archive into a folder, whole or not at all.

This is done by a process ``python -m tlearn.data.unpacking`` with limited memory and time, as a
hostile archive may need very much of both.
"""

import contextlib
import json
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import psutil

from tlearn.data import images
from tlearn.data.archives import (
    CHUNK,
    HEAD,
    RATIO_FROM,
    Archive,
    Entry,
    Limits,
    RefusedError,
    archive_kind,
    check_room,
)
from tlearn.data.filenames import UniqueNames, leads_out, quote_name
from tlearn.data.folders import visible
from tlearn.data.tables import is_table
from tlearn.errors import DataError, one_line
from tlearn.priority import AWAITED, lower_priority
from tlearn.progress import Progress, format_bytes

STEP = 100_000  # bytes of an archive after which the progress is reported
ENTRIES = 4  # per file that is allowed: systems add hidden files
LATE = "takes more than {:,.0f} s or too much memory to unpack; split it into several"
DAMAGED = "is damaged or cut off ({}); pack it anew as .zip or .tar.gz"


@dataclass
class UnpackResult:
    """The result of unpacking an archive.

    Attributes:
        files: Number of images.
        bytes: Their size, with that of tables.
        encoding: The encoding of the names, if it had to be guessed.
        repaired: Names that were changed, old to new.
        left_out: Files that were not unpacked: name, kind of problem, reason.
    """

    files: int = 0
    bytes: int = 0
    encoding: str = ""
    repaired: dict[str, str] = field(default_factory=dict)
    left_out: list[tuple[str, str, str]] = field(default_factory=list)


def unpack(
    path: Path, name: str, into: Path, limits: Limits, progress: Progress, tables: bool
) -> UnpackResult:
    """Write the images of an archive, called ``name`` in messages, below the new folder ``into``.

    With ``tables``, its tables are written, too.

    Raises:
        DataError: If it is damaged, dangerous or too large; the folder is removed then.
    """
    request = json.dumps([str(path), str(into), asdict(limits), tables])
    command = [sys.executable, "-m", "tlearn.data.unpacking", request]
    total, done = -(-path.stat().st_size // 1000), 0
    answer: dict[str, Any] = {"refused": LATE.format(limits.seconds)}
    try:
        with (
            progress.task(f"unpacking {name}", total, "kB") as task,
            subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            ) as process,
            _killed_after(process, limits.seconds),
        ):
            assert process.stdout is not None
            for line in process.stdout:
                if not line.endswith("\n"):  # it was killed
                    break
                message = json.loads(line)
                if isinstance(message, dict):
                    answer, message = message, total
                task.advance(min(message, total) - done)
                done = min(message, total)
        if "refused" in answer:
            raise DataError(f"the archive {quote_name(name)} {answer['refused']}")
    except BaseException:
        shutil.rmtree(into, ignore_errors=True)
        raise
    return UnpackResult(**answer)


@contextlib.contextmanager
def _killed_after(process: "subprocess.Popen[str]", seconds: float) -> Iterator[None]:
    """Kill a process after so many seconds, or on an exception."""
    timer = threading.Timer(seconds, process.kill)
    timer.start()
    try:
        yield
    except BaseException:
        process.kill()
        raise
    finally:
        process.wait()
        timer.cancel()


def file_problem(path: Path, limits: Limits, table: bool) -> tuple[str, str] | None:
    """Return why a file cannot be a photo, by its header: the kind of problem and the reason.

    For a ``table``, return why it cannot be one.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        if kind := archive_kind(file.read(HEAD)):
            return "not an image", (
                f"a {kind} archive; zip and tar alone are unpacked, and not within another archive"
            )
        if size > limits.image_bytes:
            return "refused", (
                f"it has {format_bytes(size)}, where {format_bytes(limits.image_bytes)} are allowed"
            )
        if table:
            return None
        file.seek(0)
        try:
            images.check_header(file)
        except DataError as error:
            return "not an image" if str(error) in images.NO_IMAGE else "unreadable", str(error)
    return None


class _Unpacker:
    """Unpacks an archive into a folder."""

    def __init__(self, path: Path, into: Path, limits: Limits, tables: bool) -> None:
        self.archive, self.into, self.limits, self.tables = Archive(path), into, limits, tables
        self.packed, self.unpacked = path.stat().st_size, 0
        self.names = UniqueNames()
        self.result = UnpackResult(repaired=self.names.repaired)

    def run(self) -> UnpackResult:
        self.into.mkdir()
        check_room(self.into, self.packed)
        position = 0
        for count, entry in enumerate(self.archive.entries()):
            if count >= ENTRIES * self.limits.files:
                raise RefusedError(f"holds more than {count:,} entries; split it into several")
            self.unpack(entry)
            if entry.position > position + STEP:
                position = entry.position
                print(position // 1000, flush=True)
        (self.into / ".entry").unlink(missing_ok=True)
        self.result.encoding = self.archive.encoding
        return self.result

    def unpack(self, entry: Entry) -> None:
        self.check_amount(self.unpacked + entry.size)
        if leads_out(entry.name):
            raise RefusedError(
                f"holds {quote_name(entry.name)}, which leads out of its folder; pack a folder of "
                f"photos anew"
            )
        if not is_visible(entry.name):
            self.unpacked += entry.size
            return
        if self.result.files + len(self.result.left_out) >= self.limits.files:
            raise RefusedError(
                f"holds more files than the {self.limits.files:,} that are still allowed; split it "
                f"into several"
            )
        path = self.into / ".entry"
        self.write(entry, path)
        table = self.tables and is_table(Path(entry.name))
        if problem := file_problem(path, self.limits, table):
            self.result.left_out.append((entry.name, *problem))
            return
        target = self.into / self.names.add(entry.name)
        target.parent.mkdir(parents=True, exist_ok=True)
        path.rename(target)
        self.result.files += not table
        self.result.bytes += entry.size

    def write(self, entry: Entry, path: Path) -> None:
        check_room(self.into, entry.size)
        size = 0
        with path.open("wb") as file:
            while block := entry.file.read(CHUNK):
                size += len(block)
                self.unpacked += len(block)
                self.check_amount(self.unpacked)
                file.write(block)
        if size != entry.size:
            raise EOFError(f"{quote_name(entry.name)} has {size} bytes instead of {entry.size}")

    def check_amount(self, unpacked: int) -> None:
        """Refuse an archive that unpacks to more bytes than are allowed or plausible."""
        if unpacked > self.limits.bytes:
            raise RefusedError(
                f"unpacks to more than the {format_bytes(self.limits.bytes)} that are still "
                f"allowed; split it, or leave out what is not needed"
            )
        if unpacked > RATIO_FROM and unpacked > self.limits.ratio * self.packed:
            raise RefusedError(
                f"unpacks to more than {self.limits.ratio} times its {format_bytes(self.packed)}, "
                f"unlike a folder of photos; send the photos themselves"
            )


def is_visible(name: str) -> bool:
    """Return whether a path is the user's, not one that systems add."""
    parts = name.replace("\\", "/").split("/")
    return all(visible(part) for part in parts if part != ".")  # as in a tar of the folder "."


def _limit_memory(more: int) -> None:
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        most = psutil.Process().memory_info().vms + more
        resource.setrlimit(resource.RLIMIT_AS, (most, most))


def answer_to(path: Path, into: Path, limits: Limits, tables: bool = False) -> dict[str, Any]:
    """Unpack an archive in this process; return the fields of ``UnpackResult``, or ``refused``."""
    try:
        return asdict(_Unpacker(path, into, limits, tables).run())
    except RefusedError as error:
        return {"refused": str(error)}
    except MemoryError:
        return {"refused": LATE.format(limits.seconds)}
    except Exception as error:  # noqa: BLE001 - zipfile and tarfile raise nearly anything
        if isinstance(error, OSError) and error.errno:
            return {
                "refused": f"cannot be unpacked: {error.strerror}; make room on the disk, or make "
                f"the folder writable"
            }
        return {"refused": DAMAGED.format(one_line(error))}


if __name__ == "__main__":
    path, into, limits, tables = json.loads(sys.argv[1])
    lower_priority(AWAITED)
    _limit_memory(limits["memory"])
    answer = answer_to(Path(path), Path(into), Limits(**limits), tables)
    print(json.dumps(answer), flush=True)
