"""Progress of long work: bars on a terminal, plain lines elsewhere, JSON for programs, or nothing.

It goes to standard error; standard output has results only.
"""

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol


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

    def __init__(self, title: str, total: int, unit: str, lines: "Lines") -> None:
        self.title, self.total, self.unit = title, total, unit
        self.done, self.note = 0, ""
        self.start_time = round(time.time(), 6)
        self.start = self.last = time.monotonic()
        self._lines = lines

    def advance(self, n: int = 1, note: str = "") -> None:
        self.done += n
        self.note = note or self.note
        now = time.monotonic()
        if now - self.last >= self._lines.every and self.done < self.total:
            self.last = now
            self._lines.show(self)


class Lines:
    """Lines that stay: plain ones for logs, or JSON objects for programs.

    Of a piece of work there is a plain line every ten seconds and one when it ends; an object
    ``{"task", "start", "done", ...}`` when it begins, twice a second, and when it ends; its start
    is in seconds since 1970. What is said is a line, or an object ``{"say"}``.

    Args:
        as_json: Whether to write JSON.
        write: Takes each line; printed to standard error if not given.
    """

    def __init__(self, as_json: bool = False, write: Callable[[str], None] | None = None) -> None:
        self._as_json, self._write = as_json, write or _print
        self.every = 0.5 if as_json else 10.0  # seconds

    @contextmanager
    def task(self, title: str, total: int, unit: str) -> Iterator[Task]:
        """Count, and write a line now and then."""
        count = _Count(title, total, unit, self)
        if self._as_json:
            self.show(count)
        yield count
        self.show(count, ended=True)

    def say(self, line: str) -> None:
        """Write the line."""
        self._write(json.dumps({"say": line}) if self._as_json else line)

    def show(self, count: _Count, ended: bool = False) -> None:
        """Write how far a piece of work is; one that ended may not have been done to its end."""
        seconds = time.monotonic() - count.start
        if self._as_json:
            values = {"task": count.title, "total": count.total, "unit": count.unit}
            values |= {"start": count.start_time, "seconds": round(seconds, 3)}
            more = {"done": count.done, "note": count.note}
            self._write(json.dumps(values | more))
            return
        rate = count.done / max(seconds, 1e-9)
        remaining = (count.total - count.done) / max(rate, 1e-9)
        time_text = f" in {seconds:.1f} s" if ended else f", {remaining:.0f} s left"
        self._write(
            f"{count.title}: {count.done}/{count.total} {count.unit}, {rate:.1f}/s{time_text}"
            f"  {count.note}".rstrip()
        )


def _print(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def console_progress(quiet: bool = False, form: str = "auto") -> Progress:
    """Return the progress for standard error: none if ``quiet``, bars on a terminal, else lines.

    ``form`` is ``auto``, or ``json`` for lines of JSON.
    """
    if quiet:
        return Silent()
    if form == "json" or not sys.stderr.isatty():
        return Lines(as_json=form == "json")
    # Importing rich takes a tenth of a second.
    from tlearn.progress_bars import ProgressBars

    return ProgressBars()


def format_bytes(size: float) -> str:
    """Return a number of bytes as people read it."""
    from rich.filesize import decimal

    return decimal(int(size)).replace(".0 ", " ")
