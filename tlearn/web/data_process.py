"""The process in which the page has data sets read, so that it answers meanwhile.

``python -m tlearn.web.data_process`` is started by the first call of :func:`run` and ends with the
server, which closes its standard input then. Requests and answers are pickles. Several requests run
at once, each in a thread.
"""

import contextlib
import itertools
import os
import pickle
import queue
import subprocess
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, BinaryIO, TypeVar, TypeVarTuple

from tlearn.errors import DataError, TlearnError
from tlearn.priority import AWAITED, lower_priority
from tlearn.progress import Progress, Task

EVERY = 0.1  # seconds between two reports of progress
T = TypeVar("T")
Ts = TypeVarTuple("Ts")
ENDED = "the process that reads photos was ended, perhaps by a damaged file; try it again"


def run(progress: Progress, do: Callable[[Progress, *Ts], T], *arguments: *Ts) -> T:
    """Return what ``do(progress, *arguments)`` returns in the process for data.

    Args:
        progress: Is told the progress; an error that it raises ends the work there, too.
        do: A function at the top of a module; it and its values are pickled.
        *arguments: What follows the progress.

    Raises:
        TlearnError: If ``do`` raises it, or the process was ended.
        OSError: Likewise, or if the process cannot be started.
    """
    result: T = _CLIENT.run(progress, (do, arguments))
    return result


Answers = queue.SimpleQueue[tuple[str, Any]]


def run_apart(progress: Progress, do: Callable[[Progress, *Ts], T], *arguments: *Ts) -> T:
    """Do the same as :func:`run` in a process that ends afterwards, with the memory it took."""
    client = _Client()
    try:
        result: T = client.run(progress, (do, arguments))
    finally:
        client.close()
    return result


class _Client:
    """The side of the page's server."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._numbers = itertools.count()
        self._answers: dict[int, tuple[Any, Answers]] = {}  # with the process that was asked

    def run(self, progress: Progress, work: tuple[Any, ...]) -> Any:
        number = next(self._numbers)
        answers: Answers = queue.SimpleQueue()
        with ExitStack() as steps:
            self._ask(number, answers, work)
            try:
                return self._follow(progress, answers, steps)
            except BaseException:
                with contextlib.suppress(OSError):
                    self._send((number, None))
                raise
            finally:
                self._answers.pop(number, None)

    def close(self) -> None:
        """End the process."""
        with self._lock:
            process = self._process
        if process is not None and process.stdin is not None:
            process.stdin.close()
            process.wait()

    def _follow(self, progress: Progress, answers: Answers, steps: ExitStack) -> Any:
        task: Task | None = None
        while True:
            kind, value = answers.get()
            if kind == "step":
                steps.close()
                task = steps.enter_context(progress.task(*value))
            elif kind == "advance" and task is not None:
                task.advance(value)
            elif kind == "error":
                raise value
            elif kind == "result":
                return value

    def _ask(self, number: int, answers: Answers, work: tuple[Any, ...]) -> None:
        with self._lock:
            if self._process is None:
                self._process = subprocess.Popen(
                    [sys.executable, "-m", __name__],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                )
                threading.Thread(target=self._listen, args=(self._process,), daemon=True).start()
            self._answers[number] = self._process, answers
        try:
            self._send((number, work))
        except OSError:
            raise DataError(ENDED) from None

    def _send(self, request: Any) -> None:
        data = pickle.dumps(request)
        with self._lock:
            if self._process is not None and self._process.stdin is not None:
                self._process.stdin.write(data)
                self._process.stdin.flush()

    def _listen(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None and process.stdin is not None
        with contextlib.suppress(EOFError, OSError, pickle.UnpicklingError), process.stdout as out:
            while True:
                number, *answer = pickle.load(out)
                _, waiting = self._answers.get(number, (None, None))
                if waiting is not None:
                    waiting.put(tuple(answer))
        with self._lock:
            if self._process is process:
                self._process = None  # the next request starts another one
        process.kill()
        process.wait()
        with contextlib.suppress(OSError):  # what was not sent to it
            process.stdin.close()
        for asked, waiting in list(self._answers.values()):
            if asked is process:
                waiting.put(("error", DataError(ENDED)))


_CLIENT = _Client()


class _Work:
    """One request in the process for data, which reports its progress."""

    def __init__(self, number: int, send: Callable[[Any], None]) -> None:
        self.number, self.cancelled, self.over = number, False, False
        self._send, self._count, self._last = send, 0, 0.0

    def run(self, do: Callable[..., Any], arguments: Any) -> None:
        try:
            answer: tuple[str, Any] = ("result", do(self, *arguments))
        except _CancelledError:
            return
        except (TlearnError, OSError) as error:
            answer = ("error", error)
        except Exception:  # noqa: BLE001 - a defect, which the server logs
            answer = ("error", RuntimeError(traceback.format_exc()))
        finally:
            self.over = True
        self._send((self.number, *answer))

    @contextmanager
    def task(self, title: str, total: int, unit: str) -> Iterator[Task]:
        self._send((self.number, "step", (title, total, unit)))
        self._count, self._last = 0, time.monotonic()
        yield self
        self._report()

    def advance(self, n: int = 1, note: str = "") -> None:
        self._count += n
        if time.monotonic() - self._last >= EVERY:
            self._report()

    def _report(self) -> None:
        if self.cancelled:
            raise _CancelledError
        self._send((self.number, "advance", self._count))
        self._count, self._last = 0, time.monotonic()

    def say(self, line: str) -> None:
        """Ignore a line; a page does not show it."""


class _CancelledError(Exception):
    pass


def _serve(requests: BinaryIO, answers: BinaryIO) -> None:
    """Do what is asked for until the server ends."""
    lock, works = threading.Lock(), dict[int, _Work]()

    def send(answer: Any) -> None:
        data = pickle.dumps(answer)
        with lock, contextlib.suppress(BrokenPipeError):  # the server has ended
            answers.write(data)
            answers.flush()

    while True:
        number, request = pickle.load(requests)
        if request is None:
            if number in works:
                works[number].cancelled = True
            continue
        works = {n: work for n, work in works.items() if not work.over}
        works[number] = work = _Work(number, send)
        threading.Thread(target=work.run, args=request, daemon=True).start()


if __name__ == "__main__":
    lower_priority(AWAITED)
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints is no answer
    warnings.filterwarnings("ignore", module=r"PIL\.")  # about odd metadata of photos
    with contextlib.suppress(EOFError):
        _serve(sys.stdin.buffer, answers)
    os._exit(0)
