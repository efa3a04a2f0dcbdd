"""Folders for the lifetime of a process."""

import contextlib
import secrets
import shutil
import threading
from pathlib import Path

from filelock import FileLock, Timeout

_lock = threading.Lock()
_own: dict[Path, tuple[Path, FileLock]] = {}


def process_folder(parent: Path) -> Path:
    """Return the folder of this process in ``parent``, the same at every call.

    The first call removes the folders of processes that have ended, which a lock shows: the system
    releases it however a process ends.
    """
    with _lock:
        folder, _ = _own.get(parent, (None, None))
        if folder is None or not folder.is_dir():
            parent.mkdir(parents=True, exist_ok=True)
            with FileLock(parent / ".lock"):
                folder, _ = _own[parent] = _new_folder(parent)
        return folder


def _new_folder(parent: Path) -> tuple[Path, FileLock]:
    for old in parent.iterdir():
        if old.is_dir() and not old.is_symlink():
            with contextlib.suppress(Timeout):  # it is in use
                with FileLock(old / ".lock", timeout=0, thread_local=False):
                    pass
                shutil.rmtree(old, ignore_errors=True)
    folder = parent / secrets.token_hex(8)
    folder.mkdir(mode=0o700)
    lock = FileLock(folder / ".lock", thread_local=False)
    lock.acquire()
    return folder, lock
