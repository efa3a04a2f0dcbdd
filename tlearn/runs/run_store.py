"""All runs below a folder: listed, found again, noted on, deleted with undo."""

import json
import shutil
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import yaml

from tlearn.errors import RunError
from tlearn.runs.directory import MARK, RunDirectory, free_name
from tlearn.text import natural_key

TRASH = ".trash"
NOTE = "note.txt"
LONGEST_NOTE = 2000  # characters
State = Literal["finished", "stopped", "unfinished", "damaged"]
Order = Literal["newest", "accuracy", "name", "seconds"]


@dataclass(frozen=True)
class RunSummary:
    """What a list shows of a run.

    Attributes:
        path: The run directory.
        state: ``finished``, ``stopped`` (its best is kept), ``unfinished`` (a training works on it
            or was interrupted) or ``damaged``.
        created: When it began, in seconds since 1970.
        backbone: Its backbone.
        preset: Its preset.
        data: The data folder it was trained on.
        labels: The class of each output.
        side: Which side the accuracy is of: ``test`` where there is one, else ``validation``.
        accuracy: By the saved model, or ``None`` before there is one.
        interval: 95% interval of the accuracy.
        images: How many images it is of.
        seconds: What the training took.
        note: What the user wrote about it.
    """

    path: Path
    state: State
    created: float
    backbone: str = ""
    preset: str = ""
    data: str = ""
    labels: tuple[str, ...] = ()
    side: str = ""
    accuracy: float | None = None
    interval: tuple[float, float] = (0.0, 1.0)
    images: int = 0
    seconds: float = 0.0
    note: str = ""

    @property
    def name(self) -> str:
        """The name of its directory."""
        return self.path.name

    @property
    def usable(self) -> bool:
        """Whether it has a model: it is whole, stopped or not."""
        return self.state in ("finished", "stopped")

    def matches(self, words: str) -> bool:
        """Tell whether every one of the words is in its name, data, backbone, preset or note."""
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


@dataclass
class RunStore:
    """The runs directly below a folder.

    Attributes:
        root: The folder; it need not exist yet.
    """

    root: Path
    _known: dict[Path, tuple[tuple[int, ...], RunSummary]] = field(default_factory=dict, repr=False)

    def runs(self, words: str = "", order: Order = "newest") -> list[RunSummary]:
        """Return the runs that mention all words, in an order."""
        if not self.root.is_dir():
            return []
        folders = [p for p in self.root.iterdir() if p.name[0] != "." and p.is_dir()]
        found = [run for run in map(self._listed, folders) if run is not None]
        return sorted((run for run in found if run.matches(words)), key=KEYS[order])

    def path_of(self, name: str) -> Path:
        """Return the directory of a run.

        Raises:
            RunError: If there is no such run.
        """
        path = self.root / name
        if path.parent != self.root or name[:1] in ("", ".") or not path.is_dir():
            raise RunError(
                f"there is no run {name!r} in {str(self.root)!r}; look at the list again"
            )
        return path

    def write_note(self, name: str, text: str) -> None:
        """Keep a note with a run; an empty one is removed.

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

    def delete(self, name: str, busy: Collection[Path] = ()) -> None:
        """Put a run into the trash, from which it can be taken back.

        Args:
            name: The run.
            busy: Directories that trainings work on.

        Raises:
            RunError: If there is no such run, or a training works on it.
        """
        path = self.path_of(name)
        if path.absolute() in busy:
            raise RunError(f"a training works on {name!r}; stop it first")
        trash = self.root / TRASH
        trash.mkdir(exist_ok=True)
        path.rename(trash / f"{time.time_ns():020d}-{name}")

    def trash(self) -> list[str]:
        """Return the names of deleted runs, the last deleted first."""
        return [_name_of(path) for path in self._deleted()]

    def undo(self) -> Path:
        """Take back the run that was deleted last; return where it is now.

        Raises:
            RunError: If there is none.
        """
        deleted = self._deleted()
        if not deleted:
            raise RunError("no run was deleted; there is nothing to take back")
        target = free_name(_name_of(deleted[0]), self.root)
        return deleted[0].rename(target)

    def empty_trash(self) -> None:
        """Delete what is in the trash for good."""
        shutil.rmtree(self.root / TRASH, ignore_errors=True)

    def _deleted(self) -> Sequence[Path]:
        trash = self.root / TRASH
        return sorted(trash.iterdir(), reverse=True) if trash.is_dir() else []

    def _listed(self, path: Path) -> RunSummary | None:
        """Read a run, if it is one and has changed since."""
        names = (MARK, "run.yaml", "metrics.json", NOTE)
        stamp = tuple(_modified(path / name) for name in names)
        if not any(stamp[:3]):
            return None
        if path not in self._known or self._known[path][0] != stamp:
            self._known[path] = (stamp, _read(path))
        return self._known[path][1]


def _name_of(deleted: Path) -> str:
    return deleted.name.partition("-")[2]


def _modified(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


def _read(path: Path) -> RunSummary:
    unfinished = (path / MARK).exists()
    created = (_modified(path / "run.yaml") or _modified(path / MARK)) / 1e9
    note = ""
    facts: dict[str, Any] = {}
    try:
        if (path / NOTE).exists():
            note = (path / NOTE).read_text(encoding="utf-8").strip()
        if (path / "run.yaml").exists():
            facts = _facts(path)
        if unfinished:
            return RunSummary(path, "unfinished", created, note=note, **facts)
        metrics = json.loads((path / "metrics.json").read_text(encoding="utf-8"))
        side = "test" if "test" in metrics else "validation"
        low, high = metrics[side]["accuracy_ci95"]
        facts |= {
            "side": side,
            "accuracy": float(metrics[side]["accuracy"]),
            "interval": (float(low), float(high)),
            "images": int(metrics[side]["n"]),
            "seconds": float(metrics["seconds"]["total"]),
        }
        return RunSummary(
            path, "stopped" if metrics["stopped"] else "finished", created, note=note, **facts
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, yaml.YAMLError):
        return RunSummary(path, "damaged", created, note=note)


def _facts(path: Path) -> dict[str, Any]:
    record = yaml.load((path / "run.yaml").read_text(encoding="utf-8"), _LOADER)
    labels: tuple[str, ...] = ()
    if (path / "labels.json").exists():
        labels = tuple(json.loads((path / "labels.json").read_text(encoding="utf-8")))
    return {
        "backbone": str(record["config"]["backbone"]),
        "preset": str(record["config"]["preset"]),
        "data": str(record["data"]["path"]),
        "labels": labels,
    }


# The loader written in C, where PyYAML has it, is ten times as fast.
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
