"""Processes: how they start, what they take, how they make way for others."""

import contextlib
import os
import subprocess
import sys
from pathlib import Path

import psutil

NICE = 15  # of 19: a job takes what nobody else wants


def memory_of(pid: int) -> int:
    """Return the bytes of memory that a process takes; 0 if it is dead."""
    try:
        return int(psutil.Process(pid).memory_info().rss) if pid else 0
    except psutil.Error:
        return 0


def start(module: str, *arguments: str, log: Path) -> subprocess.Popen[bytes]:
    """Start a module of Python as a process that appends what it says to a log.

    It has a session of its own: whatever ends this process or its terminal leaves it alone.

    Raises:
        OSError: If the log cannot be opened or the process cannot be started.
    """
    with log.open("ab") as out:
        return subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
        )


def tell(what: object) -> None:
    """Write a line to standard error, if that can be: it may be a file on a full disk."""
    with contextlib.suppress(OSError):
        os.write(2, f"{what}\n".encode())


def lower_priority(pid: int) -> None:
    """Let everybody else go before a process; those that it starts inherit it."""
    low = getattr(psutil, "BELOW_NORMAL_PRIORITY_CLASS", NICE)  # Windows has classes instead
    with contextlib.suppress(psutil.Error):
        psutil.Process(pid).nice(low)
