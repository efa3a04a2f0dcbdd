"""How a long job shows that it is moving: bars on a terminal, plain lines elsewhere, or nothing.

All of it goes to standard error, so that standard output carries results alone.
"""

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol


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


class _Count:
    """Counts, and shows itself every so many seconds."""

    def __init__(
        self, title: str, total: int, unit: str, every: float, show: "Callable[[_Count], None]"
    ) -> None:
        self.title, self.total, self.unit = title, total, unit
        self.done, self.note = 0, ""
        self.start = self.last = time.monotonic()
        self._every, self._show = every, show

    def advance(self, n: int = 1, note: str = "") -> None:
        self.done += n
        self.note = note or self.note
        if time.monotonic() - self.last >= self._every and self.done < self.total:
            self.last = time.monotonic()
            self._show(self)

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.start


class Lines:
    """Plain lines for logs: one every ten seconds and one when a piece of work ends."""

    def __init__(self, every: float = 10.0) -> None:
        self.every = every

    @contextmanager
    def task(self, title: str, total: int, unit: str) -> Iterator[Task]:
        """Count, and print a line now and then."""
        count = _Count(title, total, unit, self.every, self._show)
        yield count
        self._show(count)

    def say(self, line: str) -> None:
        """Print the line to standard error."""
        _print(line)

    def _show(self, count: _Count) -> None:
        rate = count.done / max(count.seconds, 1e-9)
        left = (count.total - count.done) / max(rate, 1e-9)
        time_words = f", {left:.0f} s left" if left else f" in {count.seconds:.1f} s"
        note = f"  {count.note}" if count.note else ""
        _print(
            f"{count.title}: {count.done}/{count.total} {count.unit}, {rate:.1f}/s"
            f"{time_words}{note}"
        )


class JsonLines:
    """One JSON object per line, for programs: ``{"task", "done", ...}`` and ``{"say"}``.

    Args:
        write: Takes each line; printed to standard error if not given.
    """

    EVERY = 0.5  # seconds

    def __init__(self, write: Callable[[str], None] | None = None) -> None:
        self._write = write or _print

    @contextmanager
    def task(self, title: str, total: int, unit: str) -> Iterator[Task]:
        """Count, and write a line when it begins, twice a second, and when it ends."""
        count = _Count(title, total, unit, self.EVERY, self._show)
        self._show(count)
        yield count
        self._show(count)

    def say(self, line: str) -> None:
        """Write the line as an object."""
        self._write(json.dumps({"say": line}))

    def _show(self, count: _Count) -> None:
        values: dict[str, Any] = {"task": count.title, "total": count.total, "unit": count.unit}
        values |= {"done": count.done, "seconds": round(count.seconds, 3), "note": count.note}
        self._write(json.dumps(values))


def _print(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


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
    # rich takes a tenth of a second: only where it is seen.
    from tlearn.progress_bars import ProgressBars

    return ProgressBars()


def format_bytes(size: float) -> str:
    """Return a number of bytes as people read it."""
    from rich.filesize import decimal

    return decimal(int(size)).replace(".0 ", " ")
