"""A job as it is shown, and the files of the queue that tell of it."""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tlearn.jobs.ending import OVER, State
from tlearn.runs.directory import resumable
from tlearn.runs.processes import identity


@dataclass(frozen=True)
class Job:
    """One training, asked for.

    Attributes:
        id: Its name; names sort by the order in which they were asked for.
        data: The data folder.
        run: The run directory that it makes, or continues.
        resumes: Whether it continues one.
        asked: When it was asked for, in seconds since 1970.
        state: ``queued``, ``running``, ``finished``, ``stopped`` (its best so far is kept),
            ``failed``, ``lost`` (killed, or the machine went down), or ``cancelled`` (stopped
            before there was anything to keep).
        started: When it began, or 0.
        ended: When it ended, or was last heard of if nobody saw that, or 0.
        pid: Its process while it runs, else 0.
        problem: Why it failed or was lost, or why it does not get on, in a line, else empty.
    """

    id: str
    data: Path
    run: Path
    resumes: bool
    asked: float
    state: State
    started: float = 0.0
    ended: float = 0.0
    pid: int = 0
    problem: str = ""

    @property
    def over(self) -> bool:
        """Whether it has ended, in any way."""
        return self.state in OVER

    @property
    def resumable(self) -> bool:
        """Whether it has ended before its time and its run can be continued now."""
        return self.over and self.state != "finished" and resumable(self.run)


def ended(job: Job, state: dict[str, Any]) -> Job:
    """Return a job as it ended, by what was noted of it."""
    problem = str(state.get("problem", ""))
    return replace(job, state=state["outcome"], ended=number(state, "ended"), problem=problem)


def lives(noted: dict[str, Any] | None) -> bool:
    """Tell whether the process lives that was noted."""
    pid, begun = (noted or {}).get("pid"), (noted or {}).get("begun")
    return isinstance(pid, int) and bool(begun) and identity(pid) == begun


def number(state: dict[str, Any], key: str) -> float:
    """Return a number that was noted, or 0."""
    value = state.get(key)
    return float(value) if isinstance(value, int | float) else 0.0


def read_json(file: Path) -> dict[str, Any] | None:
    """Read a file of the queue: ``None`` if it is not there; empty if it is damaged."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
