"""Processes: which one is meant, and whether it lives."""

import sys
from pathlib import Path

import psutil


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
