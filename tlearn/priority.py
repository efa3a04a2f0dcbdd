"""Priorities of processes, so that the page answers whatever else goes on."""

import contextlib
import os
from pathlib import Path

import psutil

AWAITED, TRAINING = 10, 19  # of 19: what somebody waits for, and what takes what nobody else wants


def lower_priority(nice: int, pid: int | None = None) -> None:
    """Lower the priority of a process, and of its session if it leads one.

    By default it is this process, which then leads one: Ctrl-C in a terminal does not reach it.
    Linux first shares time evenly among sessions (autogroups, ``man 7 sched``): a process in the
    session of the page's server would take half of a core from the browser, however nice it is.
    """
    with contextlib.suppress(psutil.Error):
        process = psutil.Process(pid)
        of_windows = getattr(psutil, "BELOW_NORMAL_PRIORITY_CLASS", None)  # which has classes
        process.nice(of_windows or max(nice, process.nice()))
    with contextlib.suppress(OSError, AttributeError):  # Windows has no sessions of this kind
        if pid is None and os.getsid(0) != os.getpid():
            os.setsid()
        pid = pid or os.getpid()
        if os.getsid(pid) == pid:
            Path(f"/proc/{pid}/autogroup").write_text(str(nice), encoding="ascii")
