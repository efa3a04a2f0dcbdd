"""How a long job shows that it is moving: bars on a terminal, plain lines elsewhere, or nothing.

All of it goes to standard error, so that standard output carries results alone.
"""

import json
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

from tlearn.text import printable


class Task(Protocol):
    """One piece of work that is counted."""

    def advance(self, n: int = 1, note: str = "") -> None:
        """Count ``n`` more done; ``note`` replaces the words behind the bar."""


class Progress(Protocol):
    """Where a job says what it does."""

    def task(self, title: str, total: int, unit: str) -> AbstractContextManager[Task]:
        """Open a counted piece of work of ``total`` units."""

    def say(self, line: str) -> None:
        """Print one line that stays."""


class Silent:
    """Shows nothing; the default of the Python functions."""

    def advance(self, n: int = 1, note: str = "") -> None:
        """Do nothing."""

    @contextmanager
    def task(self, title: str, total: int, unit: str) -> Iterator[Task]:
        """Count without showing."""
        yield self

    def say(self, line: str) -> None:
        """Do nothing."""


class _LineTask:
    def __init__(self, title: str, total: int, unit: str, every: float) -> None:
        self.title, self.total, self.unit, self.every = title, total, unit, every
        self.done, self.note = 0, ""
        self.start = self.last = time.monotonic()

    def advance(self, n: int = 1, note: str = "") -> None:
        self.done += n
        self.note = note or self.note
        now = time.monotonic()
        if now - self.last >= self.every and self.done < self.total:
            self.last = now
            left = (now - self.start) / max(self.done, 1) * (self.total - self.done)
            self.show(f", {left:.0f} s left")

    def show(self, tail: str) -> None:
        seconds = max(time.monotonic() - self.start, 1e-9)
        rate = self.done / seconds
        speed = f"{rate:.0f}" if rate >= 10 else f"{rate:.1f}"
        note = f"  {self.note}" if self.note else ""
        print(
            f"{self.title}: {self.done}/{self.total} {self.unit}, {speed}/s{tail}{note}",
            file=sys.stderr,
            flush=True,
        )


class Lines:
    """Plain lines for logs: one every ten seconds and one when a piece of work ends."""

    def __init__(self, every: float = 10.0) -> None:
        self.every = every

    @contextmanager
    def task(self, title: str, total: int, unit: str) -> Iterator[Task]:
        """Count, and print a line now and then."""
        task = _LineTask(title, total, unit, self.every)
        yield task
        task.show(f" in {time.monotonic() - task.start:.1f} s")

    def say(self, line: str) -> None:
        """Print the line to standard error."""
        print(printable(line), file=sys.stderr, flush=True)


class _JsonTask:
    def __init__(self, title: str, total: int, unit: str) -> None:
        self.what = {"task": title, "total": total, "unit": unit}
        self.done, self.note = 0, ""
        self.start = self.last = time.monotonic()

    def advance(self, n: int = 1, note: str = "") -> None:
        self.done += n
        self.note = note or self.note
        if time.monotonic() - self.last >= JsonLines.EVERY:
            self.show()

    def show(self) -> None:
        self.last = time.monotonic()
        seconds = round(self.last - self.start, 3)
        _print_json(self.what | {"done": self.done, "seconds": seconds, "note": self.note})


class JsonLines:
    """One JSON object per line, for programs: ``{"task", "done", ...}`` and ``{"say"}``."""

    EVERY = 0.5  # seconds

    @contextmanager
    def task(self, title: str, total: int, unit: str) -> Iterator[Task]:
        """Count, and print a line when it begins, twice a second, and when it ends."""
        task = _JsonTask(title, total, unit)
        task.show()
        yield task
        task.show()

    def say(self, line: str) -> None:
        """Print the line as an object."""
        _print_json({"say": line})


def _print_json(value: dict[str, object]) -> None:
    print(json.dumps(value), file=sys.stderr, flush=True)


def console_progress(quiet: bool = False, form: str = "auto") -> Progress:
    """Return what suits standard error: nothing if ``quiet``, bars on a terminal, else lines.

    ``form`` may be ``json`` for lines that a program reads.
    """
    if quiet:
        return Silent()
    if form == "json":
        return JsonLines()
    if not sys.stderr.isatty():
        return Lines()
    from tlearn.progress_bars import (
        ProgressBars,  # rich takes a tenth of a second: only where it is seen
    )

    return ProgressBars()


def format_bytes(size: float) -> str:
    """Return a number of bytes as people read it."""
    for unit in ("bytes", "kB", "MB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} GB"
