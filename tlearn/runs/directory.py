"""The run directory: the only thing that passes from training to whatever comes after.

- run.yaml: the effective configuration, versions, digests
- splits.csv: which image stood on which side
- problems.csv: what was left out, and why
- events.jsonl: one line per thing that happened
- history.csv: one row per epoch
- model.keras: pixels in, probabilities out
- labels.json: the class of each output
- metrics.json: how good it is, by the saved model
- predictions.csv: what the saved model says of each image that was held back
- curves and confusion: pictures, as .svg and .png

As long as a training is not over there is also ``checkpoint.npz``, from which it can be continued.
"""

import contextlib
import json
import math
import os
import re
import shutil
import time
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from filelock import FileLock

from tlearn.atomic import atomic_file
from tlearn.errors import RunError, os_errors_as
from tlearn.runs.processes import identity

MARK = "UNFINISHED"
MARKED = "This run is not finished: a training works on it, or was interrupted.\n"
CHECKPOINT = "checkpoint.npz"
LOCK = ".lock"  # held for the moment in which an interrupted run is taken up
RUNS = Path("runs")  # where runs go that are given no place


class RunDirectory:
    """A run directory and how files come into it: each whole, or not at all.

    While a training works on it, it holds a file ``UNFINISHED`` that names the process; without
    that file it is whole.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def __truediv__(self, name: str) -> Path:
        return self.path / name

    @classmethod
    def create(cls, path: Path) -> "RunDirectory":
        """Make a new, unfinished run directory.

        Raises:
            RunError: If the path exists or cannot be made.
        """
        check_free(path)
        what = f"the run directory {str(path)!r} cannot be made"
        with os_errors_as(RunError, what, "choose another place with --out"):
            path.mkdir(parents=True)
        run = cls(path)
        run.write(MARK, MARKED + _this_process())
        return run

    @classmethod
    def reopen(cls, path: Path) -> "RunDirectory":
        """Take up an interrupted or stopped run, to continue its training.

        It is marked as unfinished by this process; :meth:`leave` or :meth:`finish` ends that.

        Raises:
            RunError: If it is none, or finished, or a living process works on it.
        """
        check_resumable(path)
        with FileLock(path / LOCK):  # of two that try at once, the other finds the mark
            check_resumable(path)
            run = cls(path)
            run.write(MARK, MARKED + _this_process())
        return run

    @classmethod
    def open(cls, path: Path) -> "RunDirectory":
        """Open a finished run.

        Raises:
            RunError: If it is none, or not finished.
        """
        if not path.is_dir():
            raise RunError(
                f"there is no run directory {str(path)!r}; give one that 'tlearn finetune' made"
            )
        if (path / MARK).exists():
            raise RunError(
                f"the run {str(path)!r} is not finished: a training works on it or was "
                f"interrupted; wait for it, or continue it with 'tlearn finetune --resume {path}'"
            )
        if not (path / "model.keras").is_file():
            raise RunError(
                f"{str(path)!r} is no run directory: it holds no model.keras; give one that "
                f"'tlearn finetune' made"
            )
        return cls(path)

    def write(self, name: str, content: str | bytes) -> None:
        """Write a file so that it is there whole or not at all."""
        data = content.encode("utf-8") if isinstance(content, str) else content
        with self.replacing(name) as path:
            path.write_bytes(data)

    def write_json(self, name: str, value: Any) -> None:
        """Write a value as JSON."""
        text = json.dumps(_finite(value), indent=2, ensure_ascii=False, allow_nan=False)
        self.write(name, text + "\n")

    def replacing(self, name: str) -> AbstractContextManager[Path]:
        """Give a temporary path; put it in the place of ``name`` if all goes well."""
        return atomic_file(self.path / name)

    def event(self, kind: str, **fields: Any) -> None:
        """Append one line to ``events.jsonl``: the kind, the time in seconds since 1970, fields."""
        content = _finite({"event": kind, "time": round(time.time(), 3), **fields})
        line = json.dumps(content, ensure_ascii=False, allow_nan=False)
        # A log that cannot be written, on a full disk, is no reason to lose the training.
        with (
            contextlib.suppress(OSError),
            (self.path / "events.jsonl").open("a", encoding="utf-8") as file,
        ):
            file.write(line + "\n")

    @property
    def usable(self) -> bool:
        """Whether it has a model and its figures; figures go before their model is replaced."""
        return all((self.path / name).is_file() for name in ("model.keras", "metrics.json"))

    def finish(self, stopped: bool = False) -> None:
        """Declare the run whole; one that was stopped keeps its checkpoint."""
        (self.path / MARK).unlink()
        if not stopped:
            for name in (CHECKPOINT, LOCK):
                (self.path / name).unlink(missing_ok=True)

    def leave(self) -> None:
        """Let go of a run whose training failed: whole if it was so before, else unfinished."""
        if self.usable:
            (self.path / MARK).unlink(missing_ok=True)
        else:
            self.write(MARK, MARKED)

    def discard(self) -> None:
        """Remove an unfinished run."""
        if (self.path / MARK).exists():
            shutil.rmtree(self.path)


def check_free(path: Path) -> None:
    """Refuse a place that is taken.

    Raises:
        RunError: If the path exists.
    """
    if path.exists():
        unfinished = (path / MARK).exists()
        raise RunError(
            f"{str(path)!r} exists already{' (an unfinished run)' if unfinished else ''}; choose "
            f"another --out{', continue it with --resume' if unfinished else ''} or remove it"
        )


def check_resumable(path: Path) -> None:
    """Refuse a run that cannot be continued.

    Raises:
        RunError: If it is no run, or finished, or a living process works on it.
    """
    if not (path / "run.yaml").is_file():
        what = "is no run directory: it holds no run.yaml" if path.is_dir() else "is not there"
        raise RunError(
            f"the run {str(path)!r} {what}; give one that 'tlearn finetune' made, or train anew"
        )
    if not (path / MARK).exists():
        stopped = was_stopped(path)
        if stopped is None:
            raise RunError(
                f"metrics.json of the run {str(path)!r} is missing or damaged; train anew with "
                f"'tlearn finetune' and another --out"
            )
        if not stopped:
            raise RunError(
                f"the run {str(path)!r} is finished: there is nothing to resume; to train anew, "
                f"give 'tlearn finetune' the data and another --out"
            )
    elif _lives((path / MARK).read_text(encoding="utf-8")):
        raise RunError(
            f"a training works on the run {str(path)!r} just now; wait for it, or stop it first"
        )


def resumable(path: Path) -> bool:
    """Tell whether a run can be continued; see :func:`check_resumable`."""
    try:
        check_resumable(path)
    except (RunError, OSError):
        return False
    return True


def was_stopped(path: Path) -> bool | None:
    """Tell whether a run was stopped by the user; ``None`` if its metrics do not say."""
    try:
        return bool(json.loads((path / "metrics.json").read_text(encoding="utf-8"))["stopped"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _this_process() -> str:
    return f"process {os.getpid()}: {identity(os.getpid())}\n"


def _lives(mark: str) -> bool:
    """Tell whether the process lives that a mark names; another may have its number by now."""
    named = re.search(r"^process (\d+): (.+)$", mark, re.M)
    return named is not None and identity(int(named[1])) == named[2]


def free_name(name: str, parent: Path = RUNS) -> Path:
    """Return the first of ``name``, ``name-2``, ``name-3``, ... that is free in ``parent``."""
    path, number = parent / name, 2
    while path.exists():
        path, number = parent / f"{name}-{number}", number + 1
    return path


def _finite(value: Any) -> Any:
    """Put ``None`` for numbers that JSON does not know: what a diverging training gives."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
