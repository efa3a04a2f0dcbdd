"""Background tasks of the page's server, such as scans."""

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

from tlearn.errors import TlearnError
from tlearn.progress import Progress, Task

LOG = logging.getLogger("tlearn.web")
K = TypeVar("K")
V = TypeVar("V")


class ReplacedError(Exception):
    """Ends a task that is replaced."""


@dataclass
class BackgroundTask:
    """A task with its progress.

    Attributes:
        title: What the step does, as :mod:`tlearn.progress` says it.
        done: Units done of the step.
        total: Units of the step, 0 if not known.
        unit: What is counted, such as ``files``.
        result: The value that the task returned.
        problem: Why it failed, else empty.
        over: Set when the task has ended.
        replaced: Whether another task took its place; then it ends at its next unit.
    """

    title: str = ""
    done: int = 0
    total: int = 0
    unit: str = ""
    result: Any = None
    problem: str = ""
    over: threading.Event = field(default_factory=threading.Event)
    replaced: bool = False

    @property
    def fraction(self) -> float:
        """The fraction of the step that is done."""
        return min(1.0, self.done / self.total) if self.total else 0.0

    def advance(self, n: int = 1, note: str = "") -> None:
        """Count ``n`` more units done.

        Raises:
            ReplacedError: If the task is replaced.
        """
        if self.replaced:
            raise ReplacedError
        self.done += n

    @contextmanager
    def task(self, title: str, total: int, unit: str) -> Iterator[Task]:
        """Begin a step."""
        self.title, self.done, self.total, self.unit = title, 0, total, unit
        yield self

    def say(self, line: str) -> None:
        """Ignore a line; a page does not show it."""


class Recent(OrderedDict[K, V]):
    """A dictionary of the ``most`` entries that were set last; ``drop`` is told of the others."""

    def __init__(self, most: int, drop: Callable[[V], object] = lambda value: None) -> None:
        super().__init__()
        self._most, self._drop, self._lock = most, drop, threading.Lock()

    def __setitem__(self, key: K, value: V) -> None:
        with self._lock:
            super().__setitem__(key, value)
            self.move_to_end(key)
            old = [self.pop(key) for key in list(self)[: -self._most]]
        for dropped in old:
            self._drop(dropped)


def start(do: Callable[[Progress], Any]) -> BackgroundTask:
    """Start a task."""
    task = BackgroundTask()
    threading.Thread(target=_run, args=(task, do), name="tlearn task", daemon=True).start()
    return task


def _run(task: BackgroundTask, do: Callable[[Progress], Any]) -> None:
    try:
        task.result = do(task)
    except ReplacedError:
        pass
    except (TlearnError, OSError) as error:
        task.problem = str(error)
    except Exception as error:  # a defect of tlearn, which must not end the page
        LOG.error("a background task failed", exc_info=error)
        task.problem = f"{type(error).__name__}; the log has more"
    finally:
        task.over.set()
