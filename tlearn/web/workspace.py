"""The data sets and runs that the pages show."""

import os
import time
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from tlearn.atomic import atomic_directory
from tlearn.data.edits import RUNS_ROOT, edits_path
from tlearn.data.file_stamps import FRESH_NS
from tlearn.data.filenames import class_folder_name, inside, repair_part, validate_class_name
from tlearn.data.folders import visible
from tlearn.data.layouts import split_of
from tlearn.data.process_folder import process_folder
from tlearn.data.table_source import is_data_table, named_table
from tlearn.errors import ConfigError, DataError, RunError, os_errors_as
from tlearn.runs.job_queue import JobQueue
from tlearn.runs.run_store import RunStore
from tlearn.text import natural_key, numbered_names
from tlearn.web.linked_folders import linked_folders

DATA, RUNS = "TLEARN_DATA_ROOT", RUNS_ROOT  # environment variables
DEEPEST, MOST = 3, 500  # levels that are searched for data sets, and data sets that are listed
FEW = 100  # entries of a class that are checked for folders, as it may hold very many photos

_queue = cache(JobQueue)


@dataclass(frozen=True)
class Workspace:
    """The folder of data sets, to which uploads go, and the folder of runs."""

    data: Path
    runs: Path

    @classmethod
    def from_environment(cls) -> "Workspace":
        """Return the folders of this server, by default ``data`` and ``runs``."""
        return cls(
            Path(os.environ.get(DATA) or "data").absolute(),
            Path(os.environ.get(RUNS) or "runs").absolute(),
        )

    @property
    def queue(self) -> JobQueue:
        """The queue of trainings."""
        return _queue(self.runs)

    @property
    def run_store(self) -> RunStore:
        """The runs."""
        return RunStore(self.runs)

    @property
    def log(self) -> Path:
        """The log file of tracebacks."""
        return self.runs / ".page.log"

    @property
    def predictions(self) -> Path:
        """The folder for photos that are predicted, in which each server has its own."""
        return self.runs / ".predictions"

    @property
    def scratch(self) -> Path:
        """The folder of this server for photos that are predicted, removed after it ends."""
        return process_folder(self.predictions.resolve())

    def data_sets(self) -> list[str]:
        """Return the names of linked data sets, and of those in the data root.

        The latter are folders that hold folders, or a table.
        """
        below = islice(_data_sets_in(self.data, DEEPEST), MOST)
        names = (folder.relative_to(self.data).as_posix() for folder in below)
        return sorted([*linked_folders(self.data), *names], key=natural_key)

    def data_set(self, name: str) -> Path:
        """Return the folder of a data set, or the table or archive that is linked as one.

        Raises:
            DataError: If it does not exist, or is neither linked nor below the data root.
        """
        linked = linked_folders(self.data).get(name)
        path = linked or inside(self.data, name)
        if not (path.is_dir() or (linked and path.is_file())):
            raise DataError(f"there is no {str(path)!r}; choose another data set")
        return path

    def changed(self, name: str) -> float:
        """Return when a data set was changed last, as far as its folder tells: seconds since 1970.

        It is 0 where there is none.
        """
        try:
            return self.data_set(name).stat().st_mtime
        except (DataError, OSError):
            return 0.0

    def log_folder(self, name: str) -> Path:
        """Return the folder for TensorBoard of a name, which lies in the folder of runs.

        Raises:
            ConfigError: If it would not.
        """
        try:
            return inside(self.runs, name)
        except DataError as error:
            raise ConfigError(f"tensorboard: {error}", "tensorboard") from None

    def new_run(self, name: str) -> Path:
        """Return the directory of a new run.

        Raises:
            RunError: If the name is invalid or in use.
        """
        path = self.runs / _one_part(name, "run")
        if path.exists():
            raise RunError(f"there is a run {name!r} already; choose another name")
        return path

    def new_data_set(self, name: str) -> Path:
        """Return the folder of a new data set, with a number if the name is in use.

        Raises:
            DataError: If the name is invalid.
        """
        linked = linked_folders(self.data)
        paths = (self.data / each for each in numbered_names(_one_part(name, "data set")))
        return next(
            path
            for path in paths
            # Edits of a deleted data set may exist.
            if not (os.path.lexists(path) or edits_path(path).exists() or path.name in linked)
        )

    def make_data_set(self, name: str, labels: Sequence[str]) -> Path:
        """Make a data set of classes without photos; return its folder.

        Raises:
            DataError: If a name is invalid, or there is no class or one twice.
        """
        names = [class_folder_name(validate_class_name(label)) for label in labels]
        if not names:
            raise DataError("a data set begins with a class; give the name of one")
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice:
            raise DataError(f"the class {twice!r} is given twice; choose another name")
        target = self.new_data_set(name)
        advice = "make room on the disk, or let its folder be written to"
        with (
            os_errors_as(DataError, f"the data set {name!r} cannot be made", advice),
            atomic_directory(target) as folder,
        ):
            for each in names:
                (folder / each).mkdir(parents=True)
        return target

    def name_of(self, folder: Path) -> str | None:
        """Return a data set's name, or ``None`` if it is neither linked nor in the data root."""
        for name, path in linked_folders(self.data).items():
            if path == folder.resolve():
                return name
        try:
            return folder.resolve().relative_to(self.data.resolve()).as_posix()
        except ValueError:
            return None

    def titles_of(self, data: Iterable[str]) -> dict[str, str]:
        """Return what data sets are called; with folders where two are alike.

        Args:
            data: Their paths.
        """
        titles = {path: self.name_of(Path(path)) or Path(path).name for path in data}
        alike = Counter(titles.values())
        return {
            path: _ending_apart(path, titles) if alike[title] > 1 else title
            for path, title in titles.items()
        }


def _ending_apart(path: str, paths: Iterable[str]) -> str:
    """Return the shortest end of a path that no other path has."""
    parts, others = Path(path).parts, [Path(other).parts for other in paths if other != path]
    for k in range(1, len(parts)):
        if all(other[-k:] != parts[-k:] for other in others):
            return "/".join(parts[-k:])
    return path


def _one_part(name: str, what: str) -> str:
    """Validate a name as that of a visible folder on every system."""
    clean = repair_part(name)
    if clean != unicodedata.normalize("NFC", name):
        raise DataError(
            f"{name!r} cannot be the name of a {what} on every system; choose another name, such "
            f"as {clean!r}"
        )
    return clean


def _data_sets_in(folder: Path, levels: int) -> Iterator[Path]:
    """Yield the folders that hold folders or a table, but not the classes within them."""
    for path in _entries(folder).folders:
        inner, tables = _entries(path)
        deeper = levels > 1 and not any(split_of(p.name) for p in inner)
        if any(map(is_data_table, tables)):
            yield path
        elif inner and deeper and all(_entries(p, FEW).folders for p in inner):
            yield from _data_sets_in(path, levels - 1)  # a folder of data sets
        elif inner:
            yield path


class _Entries(NamedTuple):
    """The visible folders in a folder, sorted, and the files there that may be tables."""

    folders: tuple[Path, ...] = ()
    tables: tuple[Path, ...] = ()


def _entries(folder: Path, most: int | None = None) -> _Entries:
    """Return what is in a folder, or among its first entries; listed again if it has changed."""
    try:
        changed = folder.stat().st_mtime_ns
        fresh = time.time_ns() - changed < FRESH_NS
        return (_list.__wrapped__ if fresh else _list)(folder, most, changed)
    except OSError:
        return _Entries()  # not listed, as it could not be scanned either


@lru_cache(maxsize=10_000)
def _list(folder: Path, most: int | None, changed: int) -> _Entries:
    with os.scandir(folder) as listed:
        entries = [*islice(listed, most)]
    folders = [e.name for e in entries if e.is_dir(follow_symlinks=False) and visible(e.name)]
    tables = [e.name for e in entries if named_table(e.name)]
    return _Entries(tuple(folder / n for n in sorted(folders)), tuple(folder / n for n in tables))
