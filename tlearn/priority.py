"""Priorities of processes, so that the page answers whatever else goes on."""

import contextlib
from pathlib import Path

import psutil

AWAITED, TRAINING = 5, 15  # of 19: what somebody waits for, and what takes what nobody else wants


def lower_priority(nice: int, session: int | None = None) -> None:
    """Lower the priority of this process, or of one that leads a session and of its children."""
    with contextlib.suppress(psutil.Error):
        process = psutil.Process(session)
        of_windows = getattr(psutil, "BELOW_NORMAL_PRIORITY_CLASS", None)  # which has classes
        process.nice(of_windows or max(nice, process.nice()))
    if session is not None:  # Linux may share time among sessions first
        with contextlib.suppress(OSError):
            Path(f"/proc/{session}/autogroup").write_text(str(nice), encoding="ascii")
