"""How far a job is: from its log, where it writes its progress, and from its run's events."""

import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TAIL = 64 * 1024  # bytes of a log that are looked at
ERROR = "tlearn: error: "
HOW = "to continue the training:"  # what may follow a reason


@dataclass(frozen=True)
class Live:
    """How far a job is.

    Attributes:
        task: The piece of work it is at, such as ``training top 3 blocks``; empty before the first.
        done: Units done of it.
        total: Units of it.
        unit: What is counted.
        rate: Units per second.
        left: Seconds that this piece of work will still take, or -1 if not known.
        note: What is said behind the bar.
        planned: Seconds that all was estimated to take when it began or went on, or 0 before that.
        epoch_count: Epochs that there will be, unless they end early; 0 before it is known.
        epochs: One record per epoch so far, as in ``history.csv``.
        stages: Names of the stages that are over.
        lines: What it said, lately.
        memory: Bytes of memory that it takes, or 0 if it does not run.
    """

    task: str
    done: int
    total: int
    unit: str
    rate: float
    left: float
    note: str
    planned: float
    epoch_count: int
    epochs: list[dict[str, Any]]
    stages: list[str]
    lines: list[str]
    memory: int

    @property
    def fraction(self) -> float:
        """The part of the piece of work that is done, 0 to 1."""
        return min(1.0, self.done / self.total) if self.total else 0.0


def watch(log: Path, run: Path, memory: int = 0) -> Live:
    """Return how far a job is.

    Args:
        log: What it wrote.
        run: The run directory that it makes.
        memory: Bytes of memory that its process takes.
    """
    lines: list[str] = []
    at: dict[str, Any] = {}
    for entry in _entries(log):
        if "say" in entry:
            lines.append(str(entry["say"]))
        else:
            at = entry
    plan, epochs, stages = _passed(_events(run))
    done, total = int(at.get("done", 0)), int(at.get("total", 0))
    rate = done / at["seconds"] if at.get("seconds") else 0.0
    return Live(
        str(at.get("task", "")),
        done,
        total,
        str(at.get("unit", "")),
        rate,
        (total - done) / rate if rate else -1.0,
        str(at.get("note", "")),
        _number(plan.get("seconds")),
        int(_number(plan.get("epochs"))),
        epochs,
        stages,
        lines,
        memory,
    )


def _passed(
    events: Iterable[dict[str, Any]],
) -> tuple[dict[str, Any], list[dict[str, Any]], list[str]]:
    """Return what was planned last, the epochs, and the stages that are over.

    What came after the checkpoint that a training was continued from does not count: it is done
    again.
    """
    planned: dict[str, Any] = {}
    epochs: list[dict[str, Any]] = []
    stages: list[tuple[str, int]] = []  # and how many epochs there were at its end
    for event in events:
        kind = event.get("event")
        if kind == "planned":
            planned = event | {"epochs": len(epochs) + _number(event.get("epochs"))}
        elif kind == "epoch":
            epochs.append(event)
        elif kind == "stage":
            stages.append((str(event.get("name", "")), len(epochs)))
        elif kind == "resumed":
            kept = int(_number(event.get("epochs")))
            del epochs[kept:]
            again = event.get("stage")
            stages = [(name, n) for name, n in stages if n < kept or (n == kept and name != again)]
    return planned, epochs, [name for name, _ in stages]


def epochs_of(run: Path) -> list[dict[str, Any]]:
    """Return the epochs of a run; those that were done again after a resume count once."""
    return _passed(_events(run))[1]


def _events(run: Path) -> Iterator[dict[str, Any]]:
    """Yield the events of a run, finished or not; a line that is half written is passed over."""
    try:
        text = (run / "events.jsonl").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return
    for line in text.split("\n"):  # and at no other character: names of classes may hold any
        try:
            event = json.loads(line)
        except ValueError:
            continue
        if isinstance(event, dict):
            yield event


def last_words(log: Path) -> str:
    """Return the reason that a failed job gave, in one line; else the last that it said."""
    said = [entry["say"] for entry in _entries(log) if entry.get("say", "").strip()]
    words = [line for line in said if not line.startswith(HOW)]
    return told_error(log) or (words[-1] if words else "")


def told_error(log: Path) -> str:
    """Return the error that a job ended with, if it told one."""
    told = [e["say"] for e in _entries(log) if e.get("say", "").startswith(ERROR)]
    return told[-1].removeprefix(ERROR) if told else ""


def _entries(log: Path) -> Iterator[dict[str, Any]]:
    """Yield what the end of a log holds: progress, and any other line as one that was said."""
    try:
        with log.open("rb") as file:
            start = max(0, file.seek(0, 2) - TAIL)
            file.seek(start)
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return
    lines = text.split("\n")
    for line in lines[1 if start else 0 :]:
        try:
            entry = json.loads(line)
        except ValueError:
            entry = None
        if not isinstance(entry, dict):
            entry = {"say": line}
        numbers = all(_number(entry.get(key), -1.0) >= 0 for key in ("done", "total", "seconds"))
        if isinstance(entry.get("say"), str) or ("task" in entry and numbers):
            yield entry
        else:
            yield {"say": line}


def _number(value: Any, default: float = 0.0) -> float:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else default
