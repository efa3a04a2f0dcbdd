"""Tasks in the background of the page's server: scans, unpacking; one of each name at a time."""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from tlearn.errors import TlearnError
from tlearn.progress import Progress, Task

LOG = logging.getLogger("tlearn.web")


@dataclass
class BackgroundTask:
    """A piece of work and how far it is.

    Attributes:
        title: What it is at.
        done: Units done.
        total: Units in all, 0 if not known.
        result: What it gave.
        problem: Why it failed, else empty.
    """

    title: str = ""
    done: int = 0
    total: int = 0
    result: Any = None
    problem: str = ""
    over: threading.Event = field(default_factory=threading.Event)

    @property
    def fraction(self) -> float:
        """The part that is done, 0 to 1."""
        return min(1.0, self.done / self.total) if self.total else 0.0

    def advance(self, n: int = 1, note: str = "") -> None:
        """Count."""
        self.done += n

    @contextmanager
    def task(self, title: str, total: int, unit: str) -> Iterator[Task]:
        """Begin a counted piece of it."""
        self.title, self.done, self.total = title, 0, total
        yield self

    def say(self, line: str) -> None:
        """Hear a line; a page has no place for it."""


_lock = threading.Lock()
_works: dict[str, BackgroundTask] = {}


def start(key: str, do: Callable[[Progress], Any], anew: bool = False) -> BackgroundTask:
    """Begin a piece of work, unless one of this name goes on; return that one then.

    With ``anew`` it is begun all the same, and what goes on is forgotten.
    """
    with _lock:
        known = _works.get(key)
        if known is not None and not known.over.is_set() and not anew:
            return known
        work = _works[key] = BackgroundTask()
    threading.Thread(target=_do, args=(work, do), name=f"tlearn {key}", daemon=True).start()
    return work


def find(key: str) -> BackgroundTask | None:
    """Return the piece of work of a name that was begun last."""
    with _lock:
        return _works.get(key)


def forget(key: str) -> None:
    """Drop what a piece of work gave."""
    with _lock:
        _works.pop(key, None)


def _do(work: BackgroundTask, do: Callable[[Progress], Any]) -> None:
    try:
        work.result = do(work)
    except (TlearnError, OSError) as error:
        work.problem = str(error)
    except Exception as error:  # a defect of ours: told as such, and the page goes on
        LOG.error("work in the background failed", exc_info=error)
        work.problem = f"{type(error).__name__}; the log has more"
    finally:
        work.over.set()
