"""The file of edits beside a data folder: photos stay where they are, a line says what they are.

``photos.edits.csv`` beside ``photos/`` has the columns ``time,path,label``. The path is that of a
photo below the data folder, or a class followed by ``/``; the label is its class from then on, and
empty for what is excluded. All lines of one action have the same time. Lines are appended, and undo
cuts off the last ones: nothing else changes the file.
"""

import csv
import hashlib
import io
import os
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import groupby
from pathlib import Path

from filelock import FileLock, Timeout

from tlearn.data.problems import Problem, summarize
from tlearn.errors import DataError, os_errors_as
from tlearn.progress import Progress

COLUMNS = ["time", "path", "label"]
RUNS_ROOT = "TLEARN_RUNS_ROOT"  # environment variable
LOCK_SECONDS = 60.0


@dataclass(frozen=True)
class Edit:
    """One line.

    Attributes:
        time: When, in ISO 8601; the same for all lines of one action.
        path: A photo's path below the data folder as in a manifest, or a class followed by ``/``.
        label: Its class from then on, in Unicode's form NFC; empty if it is excluded.
    """

    time: str
    path: str
    label: str

    @property
    def of_class(self) -> str:
        """The class that it is about, or empty if it is about one photo."""
        return unicodedata.normalize("NFC", self.path[:-1]) if self.path.endswith("/") else ""

    @property
    def local_time(self) -> str:
        """The time to the minute, where this machine is; as it stands if it was written by hand."""
        try:
            return datetime.fromisoformat(self.time).astimezone().strftime("%Y-%m-%d %H:%M")
        except ValueError:
            return self.time


@dataclass(frozen=True)
class Edits:
    """The edits of a data folder, oldest first."""

    lines: tuple[Edit, ...] = ()

    @classmethod
    def of(cls, data: Path) -> "Edits":
        """Read the edits of a data folder. A line that a crash cut off is none.

        Raises:
            DataError: If their file cannot be read or is damaged.
        """
        return cls(tuple(edit for edit, _ in _read(edits_path(data))))

    def apply(self, labels: Mapping[str, str]) -> tuple[dict[str, str | None], list[Edit]]:
        """Return the class of each photo after all edits.

        Each edit is about what those before it made: a photo that was moved to a class is renamed
        with it.

        Args:
            labels: Class by name of the photo, empty for one outside any class.

        Returns:
            Class by name, ``None`` for what is excluded; and the edits about photos and classes
            that are gone.
        """
        after: dict[str, str | None] = dict(labels)
        gone: list[Edit] = []
        for edit in self.lines:
            if edit.of_class:
                names = [name for name, label in after.items() if label == edit.of_class]
            else:
                names = [edit.path] if edit.path in after else []
            after.update(dict.fromkeys(names, edit.label or None))
            if not names:
                gone.append(edit)
        return after, gone

    def actions(self) -> Iterator[tuple[Edit, ...]]:
        """Yield the lines of each action, oldest first."""
        for _, lines in groupby(self.lines, key=lambda edit: edit.time):
            yield tuple(lines)


def edits_path(data: Path) -> Path:
    """Return where the edits of a data folder are, or will be if there are none yet.

    That is beside the folder, or in the folder of runs (``runs``, or the environment's
    ``TLEARN_RUNS_ROOT``) where nothing can be written beside it.

    Raises:
        DataError: If there are files at both places.
    """
    folder = data.resolve()
    if not folder.name:
        raise DataError(f"{str(data)!r} is a whole disk; give a folder on it")
    beside = folder.with_name(f"{folder.name}.edits.csv")
    key = hashlib.blake2b(os.fsencode(folder), digest_size=6).hexdigest()
    runs = Path(os.environ.get(RUNS_ROOT) or "runs").absolute()
    aside = runs / ".edits" / f"{folder.name}-{key}.edits.csv"
    if beside.exists() and aside.exists():
        raise DataError(
            f"both {str(beside)!r} and {str(aside)!r} hold edits of {str(data)!r}; delete one"
        )
    if aside.exists():
        return aside
    return beside if beside.exists() or os.access(beside.parent, os.W_OK) else aside


def orphaned_edits(data: Path) -> list[Path]:
    """Return the files with edits beside a data folder whose own folder is gone, as if renamed."""
    if edits_path(data).exists():
        return []
    files = sorted(data.resolve().parent.glob("*.edits.csv"))
    return [path for path in files if not path.with_name(path.name[: -len(".edits.csv")]).exists()]


def append_edits(data: Path, changes: Sequence[tuple[str, str]]) -> None:
    """Append the lines of one action: all of them, or none.

    Args:
        data: The data folder.
        changes: Path and label of each line.

    Raises:
        DataError: If nothing can be written.
    """
    with _locked(data) as path:
        edits = _read(path)
        end = edits[-1][1] if edits else 0
        now = datetime.now(UTC)
        if edits and edits[-1][0].time == _text(now):  # of another action
            now += timedelta(microseconds=1)
        out = io.StringIO()
        writer = csv.writer(out, quoting=csv.QUOTE_ALL)
        writer.writerows([] if edits else [COLUMNS])
        writer.writerows([_text(now), name, label] for name, label in changes)
        with path.open("ab+") as file:
            file.truncate(end)
            file.seek(max(0, end - 1))
            try:
                file.write(b"\n" * (file.read() not in (b"\n", b"")) + out.getvalue().encode())
                file.flush()
                os.fsync(file.fileno())
            except OSError:
                file.truncate(end)
                raise


def undo_edits(data: Path, everything: bool = False, time: str = "") -> tuple[Edit, ...]:
    """Drop the lines of the last action, or all; return them, oldest first.

    Args:
        data: The data folder.
        everything: Whether to drop all.
        time: That of the action that is meant; by default whichever is the last.

    Raises:
        DataError: If the file cannot be read or written, or the last action is another one.
    """
    if not edits_path(data).exists():
        return ()
    with _locked(data) as path:
        edits = _read(path)
        if time and (not edits or edits[-1][0].time != time):
            raise DataError("another change was made or undone meanwhile; look at the data again")
        keep = 0 if everything else len(edits)
        while keep and edits[keep - 1][0].time == edits[-1][0].time:
            keep -= 1
        if keep:
            os.truncate(path, edits[keep - 1][1])
        else:
            path.unlink(missing_ok=True)
        return tuple(edit for edit, _ in edits[keep:])


def say_edits(root: Path, edits: Edits, problems: Sequence[Problem], progress: Progress) -> None:
    """Say how many edits were applied, and which could not be."""
    n = len(edits.lines)
    if n:
        show = f"'tlearn data show {root}' lists them"
        progress.say(f"{n} edit{'s' if n > 1 else ''} applied; {show}")
    gone = [problem for problem in problems if problem.kind == "edit"]
    if gone:
        progress.say(f"edits without effect: {summarize(gone)}")
    for path in orphaned_edits(root):
        progress.say(
            f"{str(path)!r} holds edits of a folder that is not there; give it the name "
            f"{edits_path(root).name!r} if the folder was renamed"
        )


def _text(time: datetime) -> str:
    return time.isoformat(timespec="microseconds")


@contextmanager
def _locked(data: Path) -> Iterator[Path]:
    """Keep other processes and threads from changing the file; give its path."""
    path = edits_path(data)
    lock = FileLock(path.with_name(f".{path.name}.lock"), timeout=LOCK_SECONDS)
    advice = "make room on the disk, or let it be written to"
    try:
        with os_errors_as(DataError, f"{str(path)!r} cannot be written", advice):
            path.parent.mkdir(exist_ok=True, parents=True)
            with lock:
                yield path
    except Timeout:
        raise DataError(f"another process is changing {str(path)!r}; try again later") from None


def _read(path: Path) -> list[tuple[Edit, int]]:
    """Return every whole line and the byte at which it ends."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise DataError(f"{str(path)!r} cannot be read: {error.strerror or error}") from None
    edits: list[tuple[Edit, int]] = []
    end = 0
    for number, record in _records(data):
        end += len(record)
        row = _row(record)
        if row and row != COLUMNS:
            edits.append((_edit(row, f"line {number} of {str(path)!r}"), end))
    return edits


def _records(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the number of the last line of each record, and its bytes; quoted names may have lines.

    All fields that are written here are quoted, so that a record that was cut off can be told from
    one that was written by hand and whose line has no end.
    """
    number, record = 0, b""
    for number, line in enumerate(io.BytesIO(data), 1):
        record += line
        if record.endswith(b"\n") and record.count(b'"') % 2 == 0:
            yield number, record
            record = b""
    whole = record.endswith(b'"') and record.count(b'"') % 2 == 0 and len(_row(record)) == 3
    if record and (whole or not record.startswith(b'"') or record.endswith(b"\n")):
        yield number, record


def _row(record: bytes) -> list[str]:
    """Return the fields of a line; one that cannot be read gives a single field."""
    try:
        rows = list(csv.reader(io.StringIO(record.decode("utf-8-sig"), newline=""), strict=True))
    except (UnicodeDecodeError, csv.Error):
        return [""]
    return rows[0] if rows else []


def _edit(row: Sequence[str], where: str) -> Edit:
    """Return a line, which may have been written by hand."""
    if len(row) == len(COLUMNS) and row[1].strip("/"):
        label = unicodedata.normalize("NFC", row[2])
        if not set(label) & {"/", "\0"} and label not in (".", ".."):
            return Edit(row[0], row[1], label)
    raise DataError(
        f"{where} is damaged: it should be a time, a path and the name of a class, with commas "
        f"between them; mend or delete it"
    )
