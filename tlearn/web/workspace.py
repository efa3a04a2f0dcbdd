"""Where the pages find things: the data root, the folder of runs, and what is kept beside them."""

import os
import shutil
import unicodedata
from dataclasses import dataclass
from functools import cache
from itertools import chain, count, islice
from pathlib import Path

from tlearn.data.edits import RUNS_ROOT, edits_path
from tlearn.data.filenames import inside, repair_part
from tlearn.data.folders import visible
from tlearn.data.layouts import split_of
from tlearn.data.process_folder import process_folder
from tlearn.errors import DataError, RunError
from tlearn.runs.job_queue import JobQueue
from tlearn.runs.run_store import RunStore
from tlearn.text import natural_key
from tlearn.web.linked_folders import linked_folders

DATA, RUNS = "TLEARN_DATA_ROOT", RUNS_ROOT  # environment variables
DEEPEST, MOST = 3, 500  # how deep data sets are looked for, and how many are listed
FEW = 100  # entries of a class that are looked at for folders: it may hold very many photos


@dataclass(frozen=True)
class Workspace:
    """The two roots.

    Attributes:
        data: Where data sets are, and uploads go.
        runs: Where runs are made.
    """

    data: Path
    runs: Path

    @classmethod
    def from_environment(cls) -> "Workspace":
        """Return the places of this server: ``data`` and ``runs``, unless it was told others."""
        return cls(
            Path(os.environ.get(DATA) or "data").absolute(),
            Path(os.environ.get(RUNS) or "runs").absolute(),
        )

    @property
    def queue(self) -> JobQueue:
        """The queue of trainings."""
        return _queue(self.runs)

    @property
    def library(self) -> RunStore:
        """The runs."""
        return _library(self.runs)

    @property
    def log(self) -> Path:
        """Where tracebacks go."""
        return self.runs / ".page.log"

    @property
    def predictions(self) -> Path:
        """Where servers have folders of their own for photos that are predicted."""
        return self.runs / ".predictions"

    @property
    def scratch(self) -> Path:
        """Where photos lie that are predicted, as long as this server runs."""
        return process_folder(self.predictions.resolve())

    def remove_scratch(self, folder: Path) -> None:
        """Remove predicted photos."""
        shutil.rmtree(folder, ignore_errors=True)

    def data_sets(self) -> list[str]:
        """Return the folders below the data root that hold folders, by their path below it.

        Linked folders are among them.
        """
        found = list(linked_folders(self.data))
        if self.data.is_dir():
            _look(self.data, self.data, found, DEEPEST)
        return sorted(found, key=natural_key)

    def data_set(self, name: str) -> Path:
        """Return the folder of a data set.

        Raises:
            DataError: If it is not there, or neither linked nor below the data root.
        """
        path = linked_folders(self.data).get(name) or inside(self.data, name)
        if not path.is_dir():
            raise DataError(f"there is no folder {str(path)!r}; choose another data set")
        return path

    def new_run(self, name: str) -> Path:
        """Return the directory of a run to be made.

        Raises:
            RunError: If a directory cannot be called so, or one is.
        """
        path = self.runs / _one_part(name, "run")
        if path.exists():
            raise RunError(f"there is a run {name!r} already; choose another name")
        return path

    def new_data_set(self, name: str) -> Path:
        """Return the folder of a data set to be made, numbered where one is called so.

        Raises:
            DataError: If a folder cannot be called so.
        """
        first = self.data / _one_part(name, "data set")
        paths = (first.with_name(f"{name}-{number}") for number in count(2))
        return next(
            path
            for path in chain([first], paths)
            # A data set that is gone may have left its edits.
            if not os.path.lexists(path)
            and not edits_path(path).exists()
            and path.name not in linked_folders(self.data)
        )

    def name_of(self, folder: Path) -> str | None:
        """Return a data set's name, or ``None`` if it is neither linked nor in the data root."""
        for name, path in linked_folders(self.data).items():
            if path == folder.resolve():
                return name
        try:
            return folder.resolve().relative_to(self.data.resolve()).as_posix()
        except ValueError:
            return None


def _one_part(name: str, what: str) -> str:
    """Return a name that a folder can have on every system and that is seen."""
    clean = repair_part(name)
    if clean != unicodedata.normalize("NFC", name):
        raise DataError(
            f"{name!r} cannot be the name of a {what} on every system; choose another name, such "
            f"as {clean!r}"
        )
    return clean


def _look(folder: Path, root: Path, found: list[str], deep: int) -> None:
    """Collect the folders that hold folders, but not the classes within them."""
    for path in _folders(folder):
        inner = _folders(path)
        if not inner or len(found) >= MOST:
            continue
        if (
            deep > 1
            and not any(split_of(p.name) for p in inner)
            and all(_folders(p, FEW) for p in inner)
        ):
            _look(path, root, found, deep - 1)  # a folder of data sets
        else:
            found.append(path.relative_to(root).as_posix())


def _folders(folder: Path, entries: int | None = None) -> list[Path]:
    """Return the visible folders in a folder, or those among its first entries."""
    try:
        with os.scandir(folder) as found:
            names = [
                entry.name
                for entry in islice(found, entries)
                if entry.is_dir(follow_symlinks=False)
            ]
    except OSError:
        return []  # what cannot be listed holds no data set that could be chosen
    return sorted(path for name in names if visible(path := folder / name))


@cache
def _queue(runs: Path) -> JobQueue:
    return JobQueue(runs)


@cache
def _library(runs: Path) -> RunStore:
    return RunStore(runs)
