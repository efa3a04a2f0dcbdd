"""Edits of a data set: a file beside it changes classes without moving photos.

``photos.edits.csv`` beside ``photos/`` has the columns ``time,path,action,value``. The path is that
of a photo as in a manifest, or a class followed by ``/``, which stands for all photos that are in
it by then. The action is one of

- ``class``: the value is the new class;
- ``exclude``: the value is empty; a later ``class`` includes the photo again;
- ``group``: the value is a group, whose photos are put into one split, or empty for none. It
  replaces what a table or the group pattern says: an edit is the last word.

All lines of one user action have the same time. New lines are appended and undo removes the last
ones; the file is written whole or not at all.
"""

import csv
import hashlib
import io
import os
import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from filelock import FileLock, Timeout

from tlearn.atomic import atomic_file
from tlearn.cache_folder import cache_folder
from tlearn.data.columns import Codes
from tlearn.data.file_table import FileTable
from tlearn.data.problems import Problem, summarize
from tlearn.errors import DataError, StoreError, os_errors_as
from tlearn.object_stores import StorePath
from tlearn.progress import Progress
from tlearn.text import shell

ENDING = ".edits.csv"
COLUMNS = ["time", "path", "action", "value"]
RUNS_ROOT = "TLEARN_RUNS_ROOT"  # environment variable
LOCK_SECONDS = 60.0
Action = Literal["class", "exclude", "group"]
ACTIONS: tuple[Action, ...] = get_args(Action)


@dataclass(frozen=True)
class Change:
    """What an edit does.

    Attributes:
        path: A photo's name as in a manifest, or a class followed by ``/``.
        action: ``class``, ``exclude`` or ``group``.
        value: The new class, in Unicode's form NFC; or the group; empty if excluded.
    """

    path: str
    action: Action
    value: str = ""

    @property
    def of_class(self) -> str:
        """The class that is changed, or empty if a photo is."""
        return unicodedata.normalize("NFC", self.path[:-1]) if self.path.endswith("/") else ""

    @property
    def effect(self) -> str:
        """What becomes of the photo or class, such as ``excluded``."""
        if self.action == "group":
            return f"group {self.value}" if self.value else "no group"
        return f"-> {self.value}" if self.action == "class" else "excluded"

    def __str__(self) -> str:
        """Describe it in one line, as ``tlearn data show`` does."""
        what = f"class {self.of_class}" if self.of_class else self.path
        return f"{what}  {self.effect}"


@dataclass(frozen=True)
class Edit(Change):
    """One line: a change, and when it was made.

    Attributes:
        time: In ISO 8601; the same for all lines of one user action.
    """

    time: str = ""

    @property
    def local_time(self) -> str:
        """The local time to the minute, or the text in the file if that is no time."""
        try:
            return datetime.fromisoformat(self.time).astimezone().strftime("%Y-%m-%d %H:%M")
        except ValueError:
            return self.time


class _Values:
    """A text for each file, which changes; or none."""

    def __init__(self, codes: Codes) -> None:
        self._numbers = codes.numbers.copy()  # -1 for none
        self._of_text = {text: number for number, text in enumerate(codes.texts)}

    @property
    def numbers(self) -> np.ndarray:
        """Which of the texts each file has, ``(n,)``; -1 for none."""
        return self._numbers

    @property
    def texts(self) -> tuple[str, ...]:
        """The texts; there may be some that no file has."""
        return tuple(self._of_text)

    def are(self, text: str) -> np.ndarray:
        """Return which files have a text, ``(n,)`` bool."""
        return np.asarray(self._numbers == self._of_text.get(text, len(self._of_text)))

    def set(self, places: np.ndarray, text: str | None) -> bool:
        """Give files a text or none; return whether one of them had another before."""
        number = -1 if text is None else self._of_text.setdefault(text, len(self._of_text))
        changes = bool((self._numbers[places] != number).any())
        self._numbers[places] = number
        return changes


class EditedPhotos:
    """What edits make of photos.

    Args:
        files: The photos before edits.
        names: Those that changes are about: looking up many at once takes no longer than one.

    Attributes:
        labels: The class of each photo, in their order; none for an excluded one.
        groups: The group that an edit gives to each photo, empty if it takes its group away; none
            where no edit says anything.
        missing: The edits of photos or classes that do not exist.
    """

    def __init__(self, files: FileTable, names: Sequence[str]) -> None:
        self.labels = _Values(files.labels)
        self.groups = _Values(Codes(np.full(len(files), -1, np.int32), ()))
        self.missing: list[Edit] = []
        self._files = files
        self._places: dict[str, int | None] = {**dict.fromkeys(names), **files.positions(names)}

    @property
    def classes(self) -> set[str]:
        """The classes that have a photo."""
        texts = self.labels.texts
        return {texts[k] for k in np.unique(self.labels.numbers).tolist() if k >= 0} - {""}

    def place_of(self, name: str) -> int | None:
        """Return the position of the photo of a name, if there is one."""
        if name not in self._places:
            self._places[name] = self._files.positions([name]).get(name)
        return self._places[name]

    def label_of(self, name: str) -> str | None:
        """Return the class of the photo of a name; ``None`` if it is excluded or not there."""
        place = self.place_of(name)
        number = -1 if place is None else self.labels.numbers[place]
        return self.labels.texts[number] if number >= 0 else None

    def photos_of(self, change: Change) -> np.ndarray:
        """Return the positions of the photos that a change is about."""
        if change.of_class:
            return np.flatnonzero(self.labels.are(change.of_class))
        place = self.place_of(change.path)
        return np.array([] if place is None else [place], np.int64)

    def apply(self, change: Change) -> bool:
        """Apply a change; return whether one of its photos had another class or group before."""
        places = self.photos_of(change)
        if change.action == "group":
            return self.groups.set(places, change.value)
        return self.labels.set(places, change.value or None)


@dataclass(frozen=True)
class Edits:
    """The edits of a data set, oldest first."""

    lines: tuple[Edit, ...] = ()

    @classmethod
    def of(cls, data: Path) -> "Edits":
        """Read the edits of a data set.

        Raises:
            DataError: If the file cannot be read or is damaged.
        """
        return cls(_read(edits_path(data)))

    def apply(self, files: FileTable, others: Sequence[str] = ()) -> EditedPhotos:
        """Apply all edits in order, each to the result of those before.

        Args:
            files: The photos, with their classes; these are empty outside class folders.
            others: Names of photos that later changes are about.
        """
        after = EditedPhotos(files, [*dict.fromkeys([*(e.path for e in self.lines), *others])])
        for edit in self.lines:
            if not len(after.photos_of(edit)):
                after.missing.append(edit)
            after.apply(edit)
        return after

    def photo_labels(self) -> dict[str, str]:
        """Return the class that was last given to each edited photo, empty if it was excluded."""
        photos = (edit for edit in self.lines if not edit.of_class and edit.action != "group")
        return {edit.path: edit.value for edit in photos}

    def actions(self) -> Iterator[tuple[Edit, ...]]:
        """Yield the lines of each action, oldest first."""
        for _, lines in groupby(self.lines, key=lambda edit: edit.time):
            yield tuple(lines)


def edits_path(data: Path) -> Path:
    """Return the path of the edits of a data set, whether it exists or not.

    It is beside the data, or in the folder of runs (``runs`` or ``TLEARN_RUNS_ROOT``) if the
    parent folder is not writable.

    Raises:
        DataError: If there are files at both places.
    """
    folder = data.resolve()
    if not folder.name:
        raise DataError(f"{str(data)!r} is a whole disk; give a folder on it")
    beside = folder.with_name(f"{folder.name}{ENDING}")
    if isinstance(folder, StorePath) and not folder.is_bucket:
        return beside
    key = hashlib.blake2b(os.fsencode(folder), digest_size=6).hexdigest()
    runs = Path(os.environ.get(RUNS_ROOT) or "runs").absolute()
    aside = runs / ".edits" / f"{folder.name}-{key}{ENDING}"
    if beside.exists() and aside.exists():
        raise DataError(
            f"both {str(beside)!r} and {str(aside)!r} hold edits of {str(data)!r}; delete one"
        )
    if aside.exists():
        return aside
    return beside if beside.exists() or os.access(beside.parent, os.W_OK) else aside


def append_edits(data: Path, changes: Sequence[Change]) -> None:
    """Append the lines of one user action: all of them, or none.

    Raises:
        DataError: If nothing can be written.
    """
    with _lock(data) as path:
        edits = _read(path)
        time = _now()
        while edits and edits[-1].time == time:  # of another action
            time = _now()
        _write(path, (*edits, *(Edit(c.path, c.action, c.value, time) for c in changes)))


def undo_edits(data: Path, everything: bool = False, time: str = "") -> tuple[Edit, ...]:
    """Remove the lines of the last action, or all; return them, oldest first.

    With a ``time``, the last action has to be the one of that time.

    Raises:
        DataError: If the file cannot be read or written, or the last action is another one.
    """
    if not edits_path(data).exists():
        return ()
    with _lock(data) as path:
        edits = _read(path)
        if time and (not edits or edits[-1].time != time):
            raise DataError("another change was made or undone meanwhile; look at the data again")
        rest = 0 if everything else len(edits)
        while rest and edits[rest - 1].time == edits[-1].time:
            rest -= 1
        if rest:
            _write(path, edits[:rest])
        else:
            path.unlink(missing_ok=True)
        return edits[rest:]


def say_edits(root: Path, edits: Edits, problems: Sequence[Problem], progress: Progress) -> None:
    """Report how many edits were applied, which had no effect, and which lost their folder."""
    if n := len(edits.lines):
        show = shell("tlearn", "data", "show", root)
        progress.say(f"{n} edit{'s' if n > 1 else ''} applied, listed by: {show}")
    without_effect = [problem for problem in problems if problem.kind == "edit"]
    if without_effect:
        progress.say(f"edits without effect: {summarize(without_effect)}")
    own = edits_path(root)
    if isinstance(root, StorePath):
        return
    for path in [] if own.exists() else sorted(root.resolve().parent.glob(f"*{ENDING}")):
        if not path.with_name(path.name.removesuffix(ENDING)).exists():
            progress.say(
                f"{str(path)!r} holds edits of a folder that does not exist; rename it to "
                f"{own.name!r} if the folder was renamed"
            )


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds")


@contextmanager
def _lock(data: Path) -> Iterator[Path]:
    """Lock the file against changes by other processes and threads; give its path."""
    path = edits_path(data)
    lock = path.with_name(f".{path.name}.lock")
    if isinstance(path, StorePath):  # which has no locks: other machines are not waited for
        key = hashlib.blake2b(str(path).encode(), digest_size=12).hexdigest()
        lock = cache_folder() / "locks" / key
    advice = "make room on the disk, or let it be written to"
    try:
        with os_errors_as(DataError, f"{str(path)!r} cannot be written", advice):
            for folder in (path.parent, lock.parent):
                folder.mkdir(exist_ok=True, parents=True)
            with FileLock(lock, timeout=LOCK_SECONDS):
                try:
                    yield path
                finally:  # while it is held: who waits for it sees that it is gone, and makes one
                    with suppress(OSError):  # Windows removes it when it is released
                        lock.unlink()
    except Timeout:
        raise DataError(f"another process is changing {str(path)!r}; try again later") from None


def _read(path: Path) -> tuple[Edit, ...]:
    """Read a file, which may have been written by hand."""
    try:
        text = path.read_bytes().decode("utf-8-sig", "surrogateescape")
    except FileNotFoundError:
        return ()
    except StoreError:
        raise
    except OSError as error:
        raise DataError(f"{str(path)!r} cannot be read: {error.strerror or error}") from None
    rows = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        return tuple(_edit(row) for row in rows if row not in ([], COLUMNS))
    except (ValueError, csv.Error):
        line = f"line {rows.line_num} of {str(path)!r}"
        raise DataError(
            f"{line} is damaged: it should be a time, a path, one of {', '.join(ACTIONS)}, and the "
            f"new class or group, with commas between them; correct or delete it"
        ) from None


def _edit(row: Sequence[str]) -> Edit:
    """Validate a line.

    Raises:
        ValueError: If it is damaged.
    """
    time, path, action, value = row
    value = unicodedata.normalize("NFC", value)
    "".join(row).encode()  # fails on bytes that are not UTF-8
    if action not in ACTIONS or not path.strip("/") or "\0" in value:
        raise ValueError
    if action == "class" and {*value.split("/")} & {"", ".", ".."}:
        raise ValueError
    if action == "exclude" and value:
        raise ValueError
    return Edit(path, action, value, time)


def _write(path: Path, edits: Sequence[Edit]) -> None:
    text = io.StringIO(newline="")
    writer = csv.writer(text, quoting=csv.QUOTE_ALL)
    writer.writerow(COLUMNS)
    writer.writerows((edit.time, edit.path, edit.action, edit.value) for edit in edits)
    content = text.getvalue().encode()
    if isinstance(path, StorePath):  # where a file is replaced whole
        path.write_bytes(content)
        return
    with (
        atomic_file(path.resolve()) as temporary,  # a link to it stays one
        temporary.open("wb") as file,
    ):
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
