"""How a job ended: by its exit code where its runner saw it, else by what its run says."""

from pathlib import Path
from typing import Literal

from tlearn.jobs.watching import last_words, told_error
from tlearn.runs.directory import MARK, was_stopped

State = Literal["queued", "running", "finished", "stopped", "failed", "lost", "cancelled"]
OVER: tuple[State, ...] = ("finished", "stopped", "failed", "lost", "cancelled")
STOPPED = 130  # the exit code of a training that was stopped


def ending(
    run: Path, log: Path, before: object, asked: bool, code: int | None
) -> tuple[State, str]:
    """Return how a job ended, and why if it failed or was lost and that is known.

    Args:
        run: Its run directory.
        log: What it said.
        before: The :func:`stamp` of the run when the job began.
        asked: Whether it was asked to stop.
        code: Its exit code, or ``None`` if nobody saw it.
    """
    if code == 0:
        return "finished", ""
    words, told = last_words(log), told_error(log)
    stopped = None if (run / MARK).exists() else was_stopped(run)  # None: it is not whole
    if code is None and stopped is not None and stamp(run) != before:
        return ("stopped" if stopped else "finished"), ""
    # A process that is interrupted while it loads libraries may end in any way.
    broke = code is not None and code > 0 and code != STOPPED and not asked
    if told or broke:
        return "failed", words
    if code == STOPPED or asked:
        if stopped is not None:
            return "stopped", ""
        if not run.exists():
            return "cancelled", ""
    return "lost", f"it was killed by signal {-code}" if code is not None and code < 0 else ""


def stamp(run: Path) -> int:
    """Return what changes when a training of the run comes to its end."""
    try:
        return (run / "metrics.json").stat().st_mtime_ns
    except OSError:
        return 0
