"""Progress of long work: bars on a terminal, plain lines elsewhere, JSON for programs, or nothing.

It goes to standard error; standard output has results only.
"""

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol


class Task(Protocol):
    """A counted piece of work."""

    def advance(self, n: int = 1, note: str = "") -> None:
        """Count ``n`` more done; ``note`` replaces the text behind the bar."""


class Progress(Protocol):
    """Where long work shows its progress."""

    def task(self, title: str, total: int, unit: str) -> AbstractContextManager[Task]:
        """Open a counted piece of work of ``total`` units."""

    def say(self, line: str) -> None:
        """Print one line."""


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
        remaining = (count.total - count.done) / max(rate, 1e-9)
        time_text = f", {remaining:.0f} s left" if remaining else f" in {count.seconds:.1f} s"
        _print(
            f"{count.title}: {count.done}/{count.total} {count.unit}, {rate:.1f}/s{time_text}"
            f"  {count.note}".rstrip()
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
    """Return the progress for standard error: none if ``quiet``, bars on a terminal, else lines.

    ``form`` may be ``json``.
    """
    if quiet:
        return Silent()
    if form == "json":
        return JsonLines()
    if not sys.stderr.isatty():
        return Lines()
    # Importing rich takes a tenth of a second.
    from tlearn.progress_bars import ProgressBars

    return ProgressBars()


def format_bytes(size: float) -> str:
    """Return a number of bytes as people read it."""
    from rich.filesize import decimal

    return decimal(int(size)).replace(".0 ", " ")
