"""Moves of files that can be taken back, also after a crash: written down before they are made.

The journal is a file of lines. A step begins with a line that says all its moves; a second line
follows when they are made. A step without its second line was interrupted: it is taken back when
the journal is used next, as if it had never begun, and so is an interrupted undo.
"""

import contextlib
import errno
import json
import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock, Timeout

from tlearn.errors import DataError

JOURNAL = "journal.jsonl"
LOCK = ".lock"
LOCK_SECONDS = 60.0  # the longest step takes a few
FOLDER = -1  # stands for the size of a folder

# Why a folder need not be removed: it is not empty, or gone already.
_STAYS = (errno.ENOTEMPTY, errno.EEXIST, errno.ENOENT)

State = Literal["begun", "done", "undoing", "undone", "abandoned"]
_AFTER: dict[str, State] = {  # what a line says, and the state of its step after it
    "done": "done",
    "abandoned": "abandoned",
    "undo": "undoing",
    "undone": "undone",
    "kept": "done",
}


@dataclass(frozen=True)
class Move:
    """One file, link or folder from one place to another.

    Attributes:
        source: Where from, as ``data/...`` or ``quarantine/...``: both folders may be renamed.
        target: Where to, in the same form.
        size: Bytes, or ``FOLDER``.
        mtime_ns: When its content changed last, in nanoseconds since 1970.
    """

    source: str
    target: str
    size: int
    mtime_ns: int


@dataclass(frozen=True)
class Step:
    """Moves, with the folders to make before them and those to remove after, if empty."""

    moves: tuple[Move, ...]
    make: tuple[str, ...]
    drop: tuple[str, ...]

    def back(self) -> "Step":
        """Return the step that takes this one back."""
        moves = (replace(m, source=m.target, target=m.source) for m in reversed(self.moves))
        return Step(tuple(moves), self.drop[::-1], self.make[::-1])


@dataclass(frozen=True)
class Record:
    """A step as the journal knows it; the time is in seconds since 1970."""

    number: int
    kind: str
    time: float
    detail: dict[str, str]
    step: Step
    state: State = "begun"


class Places:
    """The data folder and the quarantine folder beside it, and how the journal names paths."""

    def __init__(self, data: Path, quarantine: Path) -> None:
        self.folders = {"data": str(data), "quarantine": str(quarantine)}

    def path(self, name: str) -> str:
        """Return the path that the journal names so."""
        place, _, below = name.partition("/")
        return os.path.join(self.folders[place], *below.split("/"))  # noqa: PTH118

    def name(self, path: str) -> str:
        """Return the journal's name of a path in one of the folders."""
        for place, folder in self.folders.items():
            if path.startswith(folder + os.sep):
                return f"{place}/{path[len(folder) + 1 :].replace(os.sep, '/')}"
        raise ValueError(path)

    def perform(self, step: Step, again: bool = False) -> None:
        """Make the moves of a step; nothing is overwritten.

        Args:
            step: What to do.
            again: Whether some may have been made already; those are passed over, and so is what
                is gone from both places.

        Raises:
            OSError: If the system refuses one, or its place is taken.
        """
        for name in step.make:
            Path(self.path(name)).mkdir(parents=True, exist_ok=True)
        for move in step.moves:
            source, target = self.path(move.source), self.path(move.target)
            if again and not os.path.lexists(source):
                continue
            if os.path.lexists(target) and not same_folder(source, target):
                if again and move.size != FOLDER and self.holds(move, target):
                    continue  # not moved before the interruption; a stranger made the source
                raise FileExistsError(errno.EEXIST, "something else stands there", target)
            os.rename(source, target)  # noqa: PTH104 - a tenth of the time of Path.rename
        for name in step.drop:
            try:
                os.rmdir(self.path(name))  # noqa: PTH106
            except OSError as error:
                if not again and error.errno not in _STAYS:
                    raise

    def holds(self, move: Move, path: str) -> bool:
        """Tell whether what was moved stands at this path, unchanged."""
        try:
            return stamp(path) == (move.size, move.mtime_ns)
        except OSError:
            return False


def stamp(path: str) -> tuple[int, int]:
    """Return size and time of change of a file or link; a folder's content may change."""
    state = os.lstat(path)
    return (FOLDER, 0) if stat.S_ISDIR(state.st_mode) else (state.st_size, state.st_mtime_ns)


def same_folder(source: str, target: str) -> bool:
    """Tell whether both name one folder, as where 'Roses' and 'roses' do."""
    return os.path.isdir(source) and os.path.samefile(source, target)  # noqa: PTH112, PTH121


class Journal:
    """The journal of a data folder, in the quarantine folder beside it."""

    def __init__(self, places: Places) -> None:
        self.places = places
        self.folder = Path(places.folders["quarantine"])
        self.path = self.folder / JOURNAL

    def records(self) -> list[Record]:
        """Return all steps, oldest first. A last line without its end, as a crash leaves, is none.

        Raises:
            DataError: If the journal cannot be read or is damaged.
        """
        try:
            text = self.path.read_bytes()
        except FileNotFoundError:
            return []
        except OSError as error:
            raise DataError(refusal(error)) from None
        records: dict[int, Record] = {}
        for number, line in enumerate(text.split(b"\n")[:-1], 1):
            try:
                _take(records, json.loads(line))
            except (ValueError, KeyError, TypeError, DataError):
                raise DataError(
                    f"line {number} of the journal {str(self.path)!r} is damaged; mend it, or "
                    f"move the journal away: photos stay where they are, undo forgets them"
                ) from None
        return list(records.values())

    def recover(self) -> None:
        """Take back a step that was interrupted, if there is one.

        Raises:
            DataError: If it cannot be.
        """
        if any(record.state in ("begun", "undoing") for record in self.records()):
            with self.locked():
                pass

    @contextlib.contextmanager
    def locked(self) -> Iterator[list[Record]]:
        """Keep other processes and threads out, take back what was interrupted, give all steps.

        Raises:
            DataError: If another holds the lock for a minute, or nothing can be written.
        """
        lock = FileLock(self.folder / LOCK, timeout=LOCK_SECONDS)
        try:
            self.folder.mkdir(exist_ok=True)
            if self.folder.is_symlink():
                raise NotADirectoryError(errno.ENOTDIR, "is a link", str(self.folder))
            lock.acquire()
        except Timeout:
            raise DataError(
                f"the folder {self.places.folders['data']!r} is being changed by another process; "
                f"try again when it has finished"
            ) from None
        except OSError as error:
            raise DataError(refusal(error)) from None
        try:
            records = self.records()
            half_done = [record for record in records if record.state in ("begun", "undoing")]
            for record in half_done:
                self._put_back(record)
            yield self.records() if half_done else records
        finally:
            lock.release()

    def begin(self, record: Record) -> None:
        """Write down what is going to be done.

        Raises:
            OSError: If that is not possible.
        """
        step = record.step
        moves = [[m.source, m.target, m.size, m.mtime_ns] for m in step.moves]
        self._append(
            {
                "event": "begin",
                "number": record.number,
                "kind": record.kind,
                "time": record.time,
                "detail": record.detail,
                "step": {"moves": moves, "make": step.make, "drop": step.drop},
            }
        )

    def carry_out(self, record: Record, check: Callable[[], None] | None = None) -> Record:
        """Make the moves that were written down, or take all back.

        Args:
            record: The step, begun.
            check: Called when the moves are made; a ``DataError`` from it takes them back.

        Raises:
            DataError: If that is not possible; nothing is changed then.
        """
        try:
            self.places.perform(record.step)
            if check is not None:
                check()
            self._append({"event": "done", "number": record.number})
        except (OSError, DataError) as error:
            self._put_back(record)
            raise DataError(refusal(error)) from None
        return replace(record, state="done")

    def undo(self, record: Record) -> Record:
        """Take back a step that is done.

        Raises:
            DataError: If that is not possible; nothing is changed then.
        """
        try:
            self._append({"event": "undo", "number": record.number})
            self.places.perform(record.step.back())
            self._append({"event": "undone", "number": record.number})
        except OSError as error:
            self._put_back(replace(record, state="undoing"))
            raise DataError(refusal(error)) from None
        return replace(record, state="undone")

    def _put_back(self, record: Record) -> None:
        """Restore what was there before a step, or an undo, that did not come to its end."""
        undoing = record.state == "undoing"
        try:
            self.places.perform(record.step if undoing else record.step.back(), again=True)
            event = "kept" if undoing else "abandoned"
            self._append({"event": event, "number": record.number})
        except OSError as error:
            raise DataError(
                f"a step was interrupted and cannot be taken back: {refusal(error)}; it is tried "
                f"again the next time"
            ) from None

    def _append(self, content: dict[str, Any]) -> None:
        # ASCII: names that are not UTF-8 pass through JSON as they are.
        line = json.dumps(content, separators=(",", ":")).encode() + b"\n"
        with self.path.open("a+b", buffering=0) as file:
            end = file.tell()
            file.seek(max(0, end - 1))
            if file.read(1) not in (b"", b"\n"):  # what a crash left of a line: it never counted
                file.seek(0)
                end = file.truncate(file.readall().rfind(b"\n") + 1)
            try:
                rest = memoryview(line)
                while rest:
                    rest = rest[file.write(rest) :]
                os.fsync(file.fileno())
            except OSError:
                file.truncate(end)
                raise


def _take(records: dict[int, Record], line: dict[str, Any]) -> None:
    """Let one line of the journal tell on."""
    number = int(line["number"])
    if line["event"] != "begin":
        records[number] = replace(records[number], state=_AFTER[line["event"]])
        return
    step = line["step"]
    moves = tuple(Move(*move) for move in step["moves"])
    names = [name for move in moves for name in (move.source, move.target)]
    for name in (*names, *step["make"], *step["drop"]):
        place, _, below = name.partition("/")
        if place not in ("data", "quarantine") or ".." in below.split("/") or not below:
            raise ValueError(name)  # a journal from elsewhere must not lead outside
    records[number] = Record(
        number,
        str(line["kind"]),
        float(line["time"]),
        dict(line["detail"]),
        Step(moves, tuple(step["make"]), tuple(step["drop"])),
    )


def refusal(error: Exception) -> str:
    """Say in words, on one line, why files cannot be moved."""
    if not isinstance(error, OSError):
        return str(error)
    where = error.filename2 or error.filename or "the data folder"
    if error.errno == errno.EXDEV:
        return (
            f"{os.fsdecode(where)!r} is on another disk than what is to be moved there; the data "
            f"folder and the folder it stands in must be on one disk"
        )
    return (
        f"{os.fsdecode(where)!r} cannot be changed: {error.strerror or error}; look at "
        f"its permissions and the disk, and try again"
    )
