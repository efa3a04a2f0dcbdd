"""Data sets that are renamed, deleted and restored.

A deleted one lies in the folder ``.trash`` of the data root, with its edits and its name, in a
folder that is called after the time in nanoseconds. A linked one is taken off the list; its files
stay as they are.
"""

import os
import shutil
import time
from pathlib import Path

from tlearn.data.edits import edits_path
from tlearn.errors import DataError, os_errors_as
from tlearn.runs.directory import RunDirectory, read_record
from tlearn.runs.run_store import TRASH_DAYS, RunSummary
from tlearn.web.linked_folders import linked_folders, rename_link, unlink_folder
from tlearn.web.workspace import Workspace

TRASH, NAME = ".trash", "name.txt"
ADVICE = "close what uses it, or let its folder be written to"


def rename_data_set(workspace: Workspace, name: str, new: str) -> str:
    """Give a data set another name, also in the runs that were trained on it; return the name.

    Raises:
        DataError: If it is trained on, the name is invalid, or it cannot be renamed.
    """
    _refuse_if_in_use(workspace, name)
    parent, _, _ = name.rpartition("/")
    target = workspace.new_data_set(new)
    if target.name != new.strip():
        raise DataError(f"there is a data set {new!r} already; choose another name")
    if name in linked_folders(workspace.data):
        rename_link(workspace.data, name, target.name)
        return target.name
    path = workspace.data_set(name)
    target = workspace.data / parent / target.name
    if os.path.lexists(target):
        raise DataError(f"there is a data set {new!r} already; choose another name")
    before = path.resolve()
    runs = [run for run in workspace.run_store.runs() if Path(run.data) == before]
    _move(path, target)
    for run in runs:
        _record_new_place(run, before, target.resolve())
    return target.relative_to(workspace.data).as_posix()


def delete_data_set(workspace: Workspace, name: str) -> None:
    """Move a data set to the trash, and drop what has been there for 30 days.

    Raises:
        DataError: If it is trained on, or cannot be moved.
    """
    _refuse_if_in_use(workspace, name)
    if name in linked_folders(workspace.data):
        unlink_folder(workspace.data, name)
        return
    now = time.time_ns()
    path, folder = workspace.data_set(name), workspace.data / TRASH / f"{now:020d}"
    _move(path, folder / path.name)
    (folder / NAME).write_text(name, encoding="utf-8")
    for old in _deleted(workspace):
        if old.name < f"{now - TRASH_DAYS * 24 * 3600 * 10**9:020d}":
            shutil.rmtree(old, ignore_errors=True)


def deleted_data_sets(workspace: Workspace) -> list[str]:
    """Return the names of deleted data sets, the last deleted first."""
    return [(folder / NAME).read_text("utf-8") for folder in _deleted(workspace)]


def restore_data_set(workspace: Workspace, name: str) -> str:
    """Restore the data set of this name that was deleted last; return the name it has now.

    Raises:
        DataError: If none of this name was deleted, or it cannot be moved.
    """
    for folder in _deleted(workspace):
        if (folder / NAME).read_text("utf-8") == name:
            target = workspace.data / name
            if os.path.lexists(target) or name in linked_folders(workspace.data):
                target = workspace.new_data_set(target.name)
            _move(folder / Path(name).name, target)
            shutil.rmtree(folder, ignore_errors=True)
            return target.relative_to(workspace.data).as_posix()
    raise DataError(f"the data set {name!r} is not among the deleted ones; reload the page")


def _refuse_if_in_use(workspace: Workspace, name: str) -> None:
    path = workspace.data_set(name).resolve()
    for run in workspace.run_store.runs():
        if not run.over and Path(run.data) == path:
            raise DataError(f"the run {run.name!r} trains on {name!r}; stop it first")


def _deleted(workspace: Workspace) -> list[Path]:
    """Return the folders of the trash, the newest first."""
    files = (workspace.data / TRASH).glob(f"*/{NAME}")
    return sorted((file.parent for file in files), reverse=True)


def _move(path: Path, target: Path) -> None:
    """Move a data set and its edits."""
    edits = edits_path(path)
    with os_errors_as(DataError, f"{path.name!r} cannot be moved", ADVICE):
        target.parent.mkdir(parents=True, exist_ok=True)
        path.rename(target)
        if edits.exists():
            edits.rename(edits_path(target))


def _record_new_place(run: RunSummary, before: Path, data: Path) -> None:
    """Have a run know where its photos are now; the time at which it was requested stays."""
    file = run.path / "run.yaml"
    stat = file.stat()
    record = read_record(run.path)
    for key in {"path", "folder"} & record["data"].keys():
        folder = Path(record["data"][key])
        if folder.is_relative_to(before):
            record["data"][key] = str(data / folder.relative_to(before))
    RunDirectory(run.path).write_record(record)
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
