"""Edits of a data set: a file beside the data folder changes classes without moving photos.

``photos.edits.csv`` beside ``photos/`` has the columns ``time,path,label``. The path is that of a
photo below the data folder, or a class followed by ``/``; the label is its new class, empty for an
excluded photo. All lines of one action have the same time. Lines are only appended, or removed from
the end by undo.
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
        time: In ISO 8601; the same for all lines of one action.
        path: A photo's name as in a manifest, or a class followed by ``/``.
        label: Its new class in Unicode's form NFC; empty if it is excluded.
    """

    time: str
    path: str
    label: str

    @property
    def of_class(self) -> str:
        """The class that is changed, or empty if a photo is."""
        return unicodedata.normalize("NFC", self.path[:-1]) if self.path.endswith("/") else ""

    @property
    def local_time(self) -> str:
        """The local time to the minute, or the text in the file if that is no time."""
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
            DataError: If the file cannot be read or is damaged.
        """
        return cls(tuple(edit for edit, _ in _read(edits_path(data))))

    def apply(self, labels: Mapping[str, str]) -> tuple[dict[str, str | None], list[Edit]]:
        """Apply all edits in order, each to the result of those before.

        Args:
            labels: Class by name of the photo, empty for one outside any class.

        Returns:
            Class by name, ``None`` for an excluded photo; and the edits of missing photos or
            classes.
        """
        after: dict[str, str | None] = dict(labels)
        missing: list[Edit] = []
        for edit in self.lines:
            if edit.of_class:
                names = [name for name, label in after.items() if label == edit.of_class]
            else:
                names = [edit.path] if edit.path in after else []
            after.update(dict.fromkeys(names, edit.label or None))
            if not names:
                missing.append(edit)
        return after, missing

    def photo_labels(self) -> dict[str, str]:
        """Return the class that was last given to each edited photo, empty if it was excluded."""
        return {edit.path: edit.label for edit in self.lines if not edit.of_class}

    def actions(self) -> Iterator[tuple[Edit, ...]]:
        """Yield the lines of each action, oldest first."""
        for _, lines in groupby(self.lines, key=lambda edit: edit.time):
            yield tuple(lines)


def edits_path(data: Path) -> Path:
    """Return the path of the edits of a data folder, whether it exists or not.

    It is beside the folder, or in the folder of runs (``runs`` or ``TLEARN_RUNS_ROOT``) if the
    parent folder is not writable.

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
    """Return the files of edits beside a data folder whose own folder is gone, perhaps renamed."""
    if edits_path(data).exists():
        return []
    files = sorted(data.resolve().parent.glob("*.edits.csv"))
    return [path for path in files if not path.with_name(path.name[: -len(".edits.csv")]).exists()]


def append_edits(data: Path, changes: Sequence[tuple[str, str]]) -> None:
    """Append the lines of one action, each with a path and a label: all of them, or none.

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
    """Remove the lines of the last action, or all; return them, oldest first.

    Args:
        data: The data folder.
        everything: Whether to remove all.
        time: The time of the action to undo, which has to be the last.

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
    """Report how many edits were applied, and which had no effect."""
    if n := len(edits.lines):
        show = f"'tlearn data show {root}' lists them"
        progress.say(f"{n} edit{'s' if n > 1 else ''} applied; {show}")
    without_effect = [problem for problem in problems if problem.kind == "edit"]
    if without_effect:
        progress.say(f"edits without effect: {summarize(without_effect)}")
    for path in orphaned_edits(root):
        progress.say(
            f"{str(path)!r} holds edits of a folder that does not exist; rename it to "
            f"{edits_path(root).name!r} if the folder was renamed"
        )


def _text(time: datetime) -> str:
    return time.isoformat(timespec="microseconds")


@contextmanager
def _locked(data: Path) -> Iterator[Path]:
    """Lock the file against changes by other processes and threads; give its path."""
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
    """Return every complete line and the byte at which it ends."""
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
    """Yield the last line number and the bytes of each record; quoted names may span lines.

    All fields that are written here are quoted, which distinguishes a record that was cut off from
    one that was written by hand without a line end.
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
    """Return the fields of a line; a single one if it cannot be read."""
    try:
        rows = list(csv.reader(io.StringIO(record.decode("utf-8-sig"), newline=""), strict=True))
    except (UnicodeDecodeError, csv.Error):
        return [""]
    return rows[0] if rows else []


def _edit(row: Sequence[str], where: str) -> Edit:
    """Validate a line, which may have been written by hand."""
    if len(row) == len(COLUMNS) and row[1].strip("/"):
        label = unicodedata.normalize("NFC", row[2])
        if not set(label) & {"/", "\0"} and label not in (".", ".."):
            return Edit(row[0], row[1], label)
    raise DataError(
        f"{where} is damaged: it should be a time, a path and the name of a class, with commas "
        f"between them; correct or delete it"
    )
