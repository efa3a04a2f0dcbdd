"""Tasks in the background of the page's server: scans, unpacking; one of each name at a time.

Whoever begins a task holds it; here it is forgotten as soon as it is over, with what it gave.
"""

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
    """A task and how far it is.

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
        """Begin a counted part of it."""
        self.title, self.done, self.total = title, 0, total
        yield self

    def say(self, line: str) -> None:
        """Hear a line; a page has no place for it."""


_lock = threading.Lock()
_running: dict[str, BackgroundTask] = {}


def start(key: str, do: Callable[[Progress], Any], anew: bool = False) -> BackgroundTask:
    """Begin a task, unless one of this name is running; return that one then.

    With ``anew`` it is begun all the same, and the one that is running can be found no more.
    """
    with _lock:
        running = _running.get(key)
        if running is not None and not anew:
            return running
        task = _running[key] = BackgroundTask()
    threading.Thread(target=_do, args=(key, task, do), name=f"tlearn {key}", daemon=True).start()
    return task


def running() -> list[BackgroundTask]:
    """Return the tasks that are not over."""
    with _lock:
        return list(_running.values())


def _do(key: str, task: BackgroundTask, do: Callable[[Progress], Any]) -> None:
    try:
        task.result = do(task)
    except (TlearnError, OSError) as error:
        task.problem = str(error)
    except Exception as error:  # a defect of ours: told as such, and the page goes on
        LOG.error("a task in the background failed", exc_info=error)
        task.problem = f"{type(error).__name__}; the log has more"
    finally:
        with _lock:
            if _running.get(key) is task:
                del _running[key]
        task.over.set()
