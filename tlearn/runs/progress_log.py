"""The progress of a training, written to its run directory and read by the page."""

import contextlib
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tlearn.progress import Lines, Progress, Task
from tlearn.runs.run_state import EVENTS, TAIL, read_events, records_in

PROGRESS = "progress.jsonl"
STEPS = ("reading", "computing", "training", "measuring")  # of a training, as events name them
LAST_SECONDS = 4.0  # that saving and measuring take at the least
UNPLANNED = 0.1  # the part of a bar for what is done before a time can be told


class LoggedProgress:
    """Shows progress, and writes it to the run directory."""

    def __init__(self, run: Path, shown: Progress) -> None:
        self._file, self._shown = run / PROGRESS, shown
        self._lines = Lines(as_json=True, write=self._write)
        self._file.unlink(missing_ok=True)

    @contextmanager
    def task(self, title: str, total: int, unit: str) -> Iterator[Task]:
        """Open a counted piece of work."""
        with (
            self._shown.task(title, total, unit) as shown,
            self._lines.task(title, total, unit) as written,
        ):
            yield _LoggedTask((shown, written))

    def say(self, line: str) -> None:
        """Print one line that stays."""
        self._shown.say(line)
        self._lines.say(line)

    def _write(self, line: str) -> None:
        with contextlib.suppress(OSError), self._file.open("a", encoding="utf-8") as file:
            file.write(line + "\n")


@dataclass(frozen=True)
class _LoggedTask:
    tasks: tuple[Task, ...]

    def advance(self, n: int = 1, note: str = "") -> None:
        for task in self.tasks:
            task.advance(n, note)


@dataclass(frozen=True)
class StoppableProgress:
    """Shows progress, and raises ``KeyboardInterrupt``, as Ctrl-C does, once a stop is asked for.

    Attributes:
        shown: What shows it.
        stop: The file that asks for it.
    """

    shown: Progress
    stop: Path

    @contextmanager
    def task(self, title: str, total: int, unit: str) -> Iterator[Task]:
        """Open a counted piece of work."""
        self.check_stop()
        with self.shown.task(title, total, unit) as task:
            yield _StoppableTask(task, self.check_stop)

    def say(self, line: str) -> None:
        """Print one line that stays."""
        self.shown.say(line)

    def check_stop(self) -> None:
        """Raise ``KeyboardInterrupt`` if a stop is asked for."""
        if self.stop.exists():
            raise KeyboardInterrupt


@dataclass(frozen=True)
class _StoppableTask:
    task: Task
    check_stop: Callable[[], None]

    def advance(self, n: int = 1, note: str = "") -> None:
        self.task.advance(n, note)
        self.check_stop()


class ProgressReader:
    """Shows the progress that another process writes to a run directory."""

    def __init__(self, run: Path, shown: Progress) -> None:
        self._file, self._shown = run / PROGRESS, shown
        self._place = 0  # bytes that were read
        self._stack = contextlib.ExitStack()
        self._task: Task | None = None
        self._present: tuple[str, float] = ("", 0.0)  # title and start of the task
        self._done = 0

    def show(self) -> None:
        """Show what was written since the last call."""
        try:
            with self._file.open("rb") as file:
                if file.seek(0, 2) < self._place:  # another process began it anew
                    self._place = 0
                file.seek(self._place)
                lines, end, _ = file.read().rpartition(b"\n")
        except OSError:
            return
        self._place += len(lines + end)
        for record in records_in(lines.decode("utf-8", "replace")):
            if "say" in record:
                self._shown.say(str(record["say"]))
            elif "task" in record:
                self._show_task(record)

    def _show_task(self, record: dict[str, Any]) -> None:
        present = str(record["task"]), _number(record.get("start"))
        if self._task is None or present != self._present:
            self.close()
            opened = self._shown.task(present[0], int(record["total"]), str(record["unit"]))
            self._task, self._present, self._done = self._stack.enter_context(opened), present, 0
        done = int(record["done"])
        self._task.advance(done - self._done, str(record.get("note", "")))
        self._done = done

    def close(self) -> None:
        """End what is shown."""
        self._stack.close()
        self._task = None


@dataclass(frozen=True)
class TrainingProgress:
    """The progress of a training.

    Attributes:
        step: The present one of the :data:`STEPS`.
        task: The present task of it, such as ``training top 3 blocks``; empty before the first.
        done: Units of it that are done.
        total: Units of it in all.
        planned: Estimated seconds of the whole training, from its start or resumption; 0 before.
        epoch_count: Planned epochs; 0 before they are known.
        probe: The record of the probe, with its validation ``accuracy``; ``None`` before it.
        epochs: One record per epoch so far, as in ``history.csv``.
        lines: What was said to the user.
        expected_error: The part of new photos that the probe is expected to get wrong, where that
            leaves too little to fine-tune for; else ``None``.
        started: When it began or was resumed, in seconds since 1970.
        since: When the present step began, likewise.
        earlier: How many of the epochs are from before it was resumed.
    """

    step: str
    task: str
    done: int
    total: int
    planned: float
    epoch_count: int
    probe: dict[str, Any] | None
    epochs: list[dict[str, Any]]
    lines: list[str]
    expected_error: float | None
    started: float = 0.0
    since: float = 0.0
    earlier: int = 0

    @property
    def step_number(self) -> int:
        """Which of the :data:`STEPS` it is at, from 1."""
        return STEPS.index(self.step) + 1

    @property
    def fraction(self) -> float:
        """The part of all steps that is done, 0 to 1."""
        part = self.done / self.total if self.total else 0.0
        if self.step == "training" and self.epoch_count:
            part = len(self.epochs) / self.epoch_count
        return (self.step_number - 1 + min(1.0, part)) / len(STEPS)

    def seconds_remaining(self, now: float) -> float | None:
        """Return about how long the training still takes; ``None`` where that cannot be told.

        It is planned before the training, and then follows from the epochs that were trained.

        Args:
            now: In seconds since 1970.
        """
        times = [_number(epoch.get("time")) for epoch in self.epochs[self.earlier :]]
        if self.step == "training" and times and self.epoch_count:
            first, count = (times[0], len(times) - 1) if len(times) > 1 else (self.since, 1)
            each = (times[-1] - first) / count
            rest = each * (self.epoch_count - len(self.epochs)) - (now - times[-1])
            return max(0.0, rest) + LAST_SECONDS
        left = self.planned - (now - self.started)
        return left if left > 0 else None

    def part_done(self, now: float) -> float:
        """Return the part of the time of the training that has passed, 0 to 1.

        Before that can be told, a small part is for the steps that are done. Until the first epoch
        it is half at most: a plan may be wrong.
        """
        left, passed = self.seconds_remaining(now), max(0.0, now - self.started)
        if not self.planned:
            return UNPLANNED * self.fraction
        most = 0.5 if self.epoch_count > len(self.epochs) == self.earlier else 1.0
        return min(most, self.fraction if left is None else passed / (passed + left))

    @property
    def best(self) -> float | None:
        """The validation accuracy of the weights that are best so far by the stage's monitor.

        ``None`` while there are none: before the probe is fitted, and in the first epochs of a head
        that starts at random.
        """
        value = self.epochs[-1].get("best") if self.epochs else (self.probe or {}).get("best")
        return None if value is None else _number(value)


def read_progress(run: Path) -> TrainingProgress:
    """Return the progress of the training of a run, or how it went.

    Epochs after the checkpoint that a training was resumed from do not count: they are trained
    again.
    """
    step, since = STEPS[0], 0.0
    started, earlier = 0.0, 0
    planned: dict[str, Any] = {}
    probe: dict[str, Any] | None = None
    epochs: list[dict[str, Any]] = []
    error: float | None = None
    for event in read_events(run / EVENTS):
        kind = event.get("event")
        if kind == "started":
            step, since = STEPS[0], _number(event.get("time"))
            started, earlier, planned = since, len(epochs), {}
        elif kind == "step" and event.get("step") in STEPS:
            step, since = event["step"], _number(event.get("time"))
        elif kind == "planned":
            planned = event | {"epochs": len(epochs) + _number(event.get("epochs"))}
        elif kind == "probe":
            probe = event
        elif kind == "no_headroom":
            error = _number(event.get("error"))
        elif kind == "epoch":
            epochs.append(event)
        elif kind == "resumed":
            del epochs[int(_number(event.get("epochs"))) :]
            earlier = len(epochs)
    entries = list(read_events(run / PROGRESS, TAIL))
    task: dict[str, Any] = next((entry for entry in reversed(entries) if "task" in entry), {})
    if _number(task.get("start")) < since:  # it was of the step before
        task = {}
    return TrainingProgress(
        step,
        str(task.get("task", "")),
        int(_number(task.get("done"))),
        int(_number(task.get("total"))),
        _number(planned.get("seconds")),
        int(_number(planned.get("epochs"))),
        probe,
        epochs,
        [str(entry["say"]) for entry in entries if "say" in entry],
        error,
        started,
        since,
        earlier,
    )


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else 0.0
