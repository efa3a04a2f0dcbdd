"""The run directory: the only thing that passes from training to whatever comes after.

- run.yaml: the effective configuration, versions, digests
- splits.csv: which image stood on which side
- problems.csv: what was left out, and why
- events.jsonl: one line per thing that happened
- history.csv: one row per epoch
- model.keras: pixels in, probabilities out
- labels.txt: the class of each output
- metrics.json: how good it is, by the saved model
- curves and confusion: pictures, as .svg and .png
"""

import contextlib
import json
import math
import shutil
import time
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from tlearn.errors import RunError
from tlearn.runs.places import new_file

MARK = "UNFINISHED"
RUNS = Path("runs")  # where runs go that are given no place


class RunDirectory:
    """A run directory and how files come into it: each whole, or not at all.

    While a training works on it, it holds a file ``UNFINISHED``; without that file it is whole.
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
        try:
            path.mkdir(parents=True)
        except OSError as error:
            raise RunError(
                f"the run directory {str(path)!r} cannot be made: {error.strerror}; choose another "
                f"place with --out"
            ) from None
        run = cls(path)
        run.write(MARK, "This run is not finished: a training works on it, or was interrupted.\n")
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
                f"interrupted; wait for it, or start it again with another --out"
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
        return new_file(self.path / name)

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

    def finish(self) -> None:
        """Declare the run whole."""
        (self.path / MARK).unlink()

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
        unfinished = " (an unfinished run)" if (path / MARK).exists() else ""
        raise RunError(
            f"{str(path)!r} exists already{unfinished}; choose another --out or remove it"
        )


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
