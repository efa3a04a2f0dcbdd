"""The runs below a folder: list and search them, add notes, delete and restore."""

import json
import shutil
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from tlearn.config import RunConfig
from tlearn.errors import RunError
from tlearn.runs.directory import DAMAGED, RunDirectory, free_name, read_record
from tlearn.runs.measurement import measured_split
from tlearn.runs.run_state import (
    EVENTS,
    RESUMABLE,
    STOP,
    State,
    last_change,
    recorded_state,
    state_of,
)
from tlearn.text import natural_key

TRASH = ".trash"
TRASH_DAYS = 30  # after which a deleted run is gone for good
NOTE = "note.txt"
LONGEST_NOTE = 2000  # characters
Order = Literal["newest", "accuracy", "name", "seconds"]


@dataclass(frozen=True)
class RunSummary:
    """The facts about a run that a list shows.

    Attributes:
        state: See :func:`tlearn.runs.run_state.state_of`.
        created: When it was requested, in seconds since 1970.
        changed: When its state changed last, in seconds since 1970.
        stopping: Whether it was asked to stop and has not ended yet.
        usable: Whether it has a model: it is finished, or was stopped after a first model.
        problem: Why it failed, or which of its files is damaged, else empty.
        accuracy: Of the saved model on test where there is one, else on validation; ``None`` before
            there is a model.
        images: How many images the accuracy is of.
    """

    path: Path
    state: State
    created: float = 0.0
    changed: float = 0.0
    stopping: bool = False
    usable: bool = False
    problem: str = ""
    backbone: str = ""
    preset: str = ""
    data: str = ""
    labels: tuple[str, ...] = ()
    accuracy: float | None = None
    images: int = 0
    seconds: float = 0.0
    note: str = ""

    @property
    def name(self) -> str:
        """The name of its directory."""
        return self.path.name

    @property
    def over(self) -> bool:
        """Whether nothing trains it or will."""
        return self.state not in ("queued", "running")

    @property
    def resumable(self) -> bool:
        """Whether its training can be continued."""
        return self.state in RESUMABLE

    def matches(self, words: str) -> bool:
        """Return whether all words occur in its name, data, backbone, preset, note or state."""
        text = " ".join(
            (self.name, self.backbone, self.preset, Path(self.data).name, self.note, self.state)
        ).casefold()
        return all(word in text for word in words.casefold().split())


KEYS: dict[Order, Any] = {
    "newest": lambda run: -run.created,
    "accuracy": lambda run: (run.accuracy is None, -(run.accuracy or 0.0)),
    "name": lambda run: natural_key(run.name),
    "seconds": lambda run: run.seconds,
}


def by_data(runs: Iterable[RunSummary]) -> dict[str, list[RunSummary]]:
    """Return runs by the path of their data, in the order in which they come."""
    groups: dict[str, list[RunSummary]] = {}
    for run in runs:
        groups.setdefault(run.data, []).append(run)
    return groups


@dataclass(frozen=True)
class RunStore:
    """The runs directly below a folder.

    Attributes:
        root: The folder; it need not exist yet.
    """

    root: Path

    def runs(self, words: str = "", order: Order = "newest") -> list[RunSummary]:
        """Return the runs that mention all words, in an order."""
        if not self.root.is_dir():
            return []
        folders = [p for p in self.root.iterdir() if p.name[0] != "." and p.is_dir()]
        runs = filter(None, map(self._summary_of, folders))
        return sorted((run for run in runs if run.matches(words)), key=KEYS[order])

    def path_of(self, name: str) -> Path:
        """Return the directory of a run.

        Raises:
            RunError: If there is no such run.
        """
        path = self.root / name
        if path.parent != self.root or name[:1] in ("", ".") or not path.is_dir():
            raise RunError(f"there is no run {name!r} in {str(self.root)!r}; reload the list")
        return path

    def write_note(self, name: str, text: str) -> None:
        """Write a note on a run; an empty text removes it.

        Raises:
            RunError: If there is no such run, or the note is too long.
        """
        path = self.path_of(name)
        if len(text) > LONGEST_NOTE:
            raise RunError(
                f"a note has up to {LONGEST_NOTE} characters, not {len(text)}; make it shorter"
            )
        if text.strip():
            RunDirectory(path).write(NOTE, text.strip() + "\n")
        else:
            (path / NOTE).unlink(missing_ok=True)

    def delete(self, name: str) -> None:
        """Move a run to the trash, and drop what has been there for :data:`TRASH_DAYS`.

        Raises:
            RunError: If there is no such run, or it is being trained.
        """
        path = self.path_of(name)
        if state_of(path) == "running":
            raise RunError(f"the run {name!r} is being trained; stop it first")
        trash = self.root / TRASH
        trash.mkdir(exist_ok=True)
        now = time.time_ns()
        path.rename(trash / f"{now:020d}-{name}")
        for old in self._trash_entries():
            if old.name < f"{now - TRASH_DAYS * 24 * 3600 * 10**9:020d}":
                shutil.rmtree(old, ignore_errors=True)

    def trash(self) -> list[str]:
        """Return the names of deleted runs, the last deleted first."""
        return [_name_of(path) for path in self._trash_entries()]

    def restore(self, name: str) -> Path:
        """Restore the run of this name that was deleted last; return its directory.

        Raises:
            RunError: If none of this name was deleted.
        """
        for path in self._trash_entries():
            if _name_of(path) == name:
                return path.rename(free_name(name, self.root))
        raise RunError(f"the run {name!r} is not among the deleted ones; reload the list")

    def _trash_entries(self) -> list[Path]:
        trash = self.root / TRASH
        return sorted(trash.iterdir(), reverse=True) if trash.is_dir() else []

    def _summary_of(self, path: Path) -> RunSummary | None:
        """Read a run, if it is one."""
        if not (path / "run.yaml").exists():
            return None
        state = state_of(path, lambda path: _read(path).state)
        stopping = state == "running" and (path / STOP).exists()
        return replace(_read(path), state=state, stopping=stopping)


def _name_of(deleted: Path) -> str:
    return deleted.name.partition("-")[2]


def _stamp(path: Path) -> tuple[int, int]:
    """Return what changes when a file is written: when it was, and its size."""
    try:
        stat = path.stat()
    except OSError:
        return 0, 0
    return stat.st_mtime_ns, stat.st_size


def _read(path: Path) -> RunSummary:
    """Read a run's files, where they have changed, but not its lock nor a request to stop."""
    files = ("run.yaml", EVENTS, "metrics.json", NOTE)
    return _read_once(path, tuple(_stamp(path / name) for name in files))


@lru_cache(maxsize=1000)
def _read_once(path: Path, stamps: tuple[tuple[int, int], ...]) -> RunSummary:
    change = last_change(path)
    state = recorded_state(path)
    summary = RunSummary(
        path,
        state,
        stamps[0][0] / 1e9,
        float(change.get("time", 0.0)),
        problem=str(change.get("error", "")) if state == "failed" else "",
        usable=RunDirectory(path).usable,
    )
    for name, read in (("run.yaml", _facts), ("metrics.json", _figures), (NOTE, _note)):
        try:
            summary = replace(summary, **(read(path) if (path / name).exists() else {}))
        except DAMAGED:
            problem = f"{name} of the run {path.name!r} is damaged; train again"
            summary = replace(summary, problem=problem, usable=False)
    return summary


def _figures(path: Path) -> dict[str, Any]:
    metrics = json.loads((path / "metrics.json").read_text(encoding="utf-8"))
    figures = metrics[measured_split(metrics)]
    return {
        "accuracy": float(figures["accuracy"]),
        "images": int(figures["n"]),
        "seconds": float(metrics["seconds"]["total"]),
    }


def _note(path: Path) -> dict[str, Any]:
    return {"note": (path / NOTE).read_text(encoding="utf-8").strip()}


def _facts(path: Path) -> dict[str, Any]:
    record = read_record(path)
    labels: tuple[str, ...] = ()
    if (path / "labels.json").exists():
        labels = tuple(json.loads((path / "labels.json").read_text(encoding="utf-8")))
    config = record["config"]  # without defaults before it is trained
    defaults = RunConfig.model_fields
    return {
        "backbone": str(config.get("backbone", defaults["backbone"].default)),
        "preset": str(config.get("preset", defaults["preset"].default)),
        "data": str(record["data"]["path"]),
        "labels": labels,
    }
