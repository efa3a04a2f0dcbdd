"""The state of a run, derived from its files and its lock: nothing stores it.

- ``.lock`` is held by the process that trains the run, for as long as it lives
- ``events.jsonl`` says what happened last: ``queued``, ``started``, ``stopped``, ``finished`` or
  ``failed`` (with ``error`` and ``hint``)
- ``metrics.json`` is there once a model is saved, and says whether its training was stopped
- ``stop`` asks the training to end; it is removed when that has ended
"""

import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

from tlearn.file_locks import is_locked

State = Literal["queued", "running", "finished", "stopped", "failed", "interrupted"]
LOCK = ".lock"
STOP = "stop"
EVENTS = "events.jsonl"
CHANGES = ("queued", "started", "stopped", "finished", "failed")
RESUMABLE: tuple[State, ...] = ("stopped", "failed", "interrupted")
TAIL = 64 * 1024  # bytes that are read at the end of the events


def recorded_state(run: Path) -> State:
    """Return the state that the files of a run record, whether or not a process trains it."""
    stopped = _was_stopped(run)
    if stopped is False:
        return "finished"
    event = last_change(run).get("event", "stopped" if stopped else "interrupted")
    states: dict[str, State] = {"queued": "queued", "stopped": "stopped", "failed": "failed"}
    return states.get(event, "interrupted")


def state_of(run: Path, recorded: Callable[[Path], State] = recorded_state) -> State:
    """Return the state of a run.

    ``queued``: to be trained; ``running``: a process trains it; ``finished``; ``stopped``: the user
    ended it; ``failed``: an error ended it; ``interrupted``: its process was killed.

    Args:
        run: The run directory.
        recorded: Gives the state that its files record. The lock is checked before and after: a
            training may begin or end in between.
    """
    if _is_training(run):
        return "running"
    state = recorded(run)
    if state == "interrupted" and _is_training(run):
        return "running"
    return "stopped" if state == "queued" and (run / STOP).exists() else state


def _is_training(run: Path) -> bool:
    """Return whether a living process trains a run."""
    if not (run / LOCK).exists():  # else the lock would make it, and the folders above
        return False
    try:
        return is_locked(run / LOCK)
    except OSError:  # a folder of another user, where no lock can be made
        return False


def last_change(run: Path) -> dict[str, Any]:
    """Return the last event that changed the state of a run, empty if there is none."""
    change: dict[str, Any] = {}
    for event in read_events(run / EVENTS, TAIL):
        if event.get("event") in CHANGES:
            change = event
    return change


def read_events(file: Path, tail: int | None = None) -> Iterator[dict[str, Any]]:
    """Yield the objects of a file as :func:`records_in` does.

    Args:
        file: The file; it need not exist.
        tail: How many bytes at its end to read; all if not given.
    """
    try:
        with file.open("rb") as stream:
            start = max(0, stream.seek(0, 2) - tail) if tail is not None else 0
            stream.seek(start)
            text = stream.read().decode("utf-8", "replace")
    except OSError:
        return
    yield from records_in(text)


def records_in(text: str) -> Iterator[dict[str, Any]]:
    """Yield the objects of JSON in a text with one per line; damaged lines are skipped."""
    for line in text.split("\n"):  # and at no other character: names of classes may hold any
        with contextlib.suppress(ValueError):
            record = json.loads(line)
            if isinstance(record, dict):
                yield record


def _was_stopped(run: Path) -> bool | None:
    """Return whether the training of the saved model was stopped; ``None`` without metrics."""
    try:
        return bool(json.loads((run / "metrics.json").read_text(encoding="utf-8"))["stopped"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
