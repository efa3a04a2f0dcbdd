"""Processes: which one is meant, whether it lives, how it makes way for others."""

import contextlib
import os
import subprocess
import sys
from pathlib import Path

import psutil

NICE = 15  # of 19: a job takes what nobody else wants


def identity(pid: int) -> str:
    """Return what no other process has that had this number or will have it; empty if it is dead.

    A zombie is dead. On Linux the time at which a process began is told by the clock on the wall,
    and changes with it, unless one counts from the start of the machine.
    """
    try:
        if sys.platform == "linux":
            fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
            boot = Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
            return "" if fields[0] in (b"Z", b"X") else f"{boot} {fields[19].decode()}"
        process = psutil.Process(pid)
        dead = process.status() == psutil.STATUS_ZOMBIE
        return "" if dead else repr(process.create_time())
    except (OSError, psutil.Error):
        return ""


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
            stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True,
        )  # fmt: skip


def tell(what: object) -> None:
    """Write a line to standard error, if that can be: it may be a file on a full disk."""
    with contextlib.suppress(OSError):
        os.write(2, f"{what}\n".encode())


def lower_priority(pid: int) -> None:
    """Let everybody else go before a process; those that it starts inherit it."""
    low = getattr(psutil, "BELOW_NORMAL_PRIORITY_CLASS", NICE)  # Windows has classes instead
    with contextlib.suppress(psutil.Error):
        psutil.Process(pid).nice(low)
