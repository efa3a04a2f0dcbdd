"""The folder in which a run is written for TensorBoard, as an event of the run names it."""

import tempfile
import time
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from tlearn.errors import ConfigError, RunError
from tlearn.runs.directory import RunDirectory, free_name
from tlearn.runs.run_state import EVENTS, read_events
from tlearn.text import numbered_names

KIND = "tensorboard"  # of the event
FILES = "*tfevents*"  # what TensorBoard reads
MISSING = "TensorBoard is not installed; pip install 'tlearn[tensorboard]'"


def check_installed() -> None:
    """Refuse to go on without TensorBoard.

    Raises:
        ConfigError: If it is not installed.
    """
    if not find_spec("tensorboard"):
        raise ConfigError(MISSING, "tensorboard")


def folder_of(run: Path) -> Path | None:
    """Return the folder in which a run is written; ``None`` if it has none."""
    events = (e for e in read_events(run / EVENTS) if e.get("event") == KIND)
    return next((Path(str(event.get("folder"))) for event in events), None)


def make_folder(run: RunDirectory, place: str) -> Path:
    """Return the folder of a run, made where it has none yet: its name and the time.

    Args:
        run: The run directory.
        place: The folder below which it is made.

    Raises:
        ConfigError: If it cannot be made, or TensorBoard is not installed.
    """
    check_installed()
    folder = folder_of(run.path)
    if folder is None:
        name = f"{run.path.resolve().name}-{time.strftime('%Y%m%d-%H%M%S')}"
        folder = free_name(name, Path(place).absolute())
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"tensorboard: {str(place)!r} cannot be written: {error.strerror}; give another folder",
            "tensorboard",
        ) from None
    if folder_of(run.path) is None:
        run.event(KIND, folder=str(folder))
    return folder


def folders_in(places: Sequence[Path]) -> list[Path]:
    """Return the folders for TensorBoard of runs, of folders of runs, and such folders themselves.

    Raises:
        RunError: If there is none in one of the places.
    """
    folders: list[Path] = []
    for place in places:
        runs = [place, *sorted(place.iterdir())] if place.is_dir() else []
        some = [folder for run in runs if (folder := folder_of(run)) and folder.is_dir()]
        if not some and any(place.rglob(FILES)):
            some = [place]
        if not some:
            raise RunError(
                f"{str(place)!r} has nothing for TensorBoard; give a run that was trained with "
                f"--tensorboard, or its folder"
            )
        folders += some
    return list(dict.fromkeys(folders))


def as_one_folder(folders: Sequence[Path]) -> Path:
    """Return a folder that holds all of them: the only one itself, or one of links."""
    if len(folders) == 1:
        return folders[0]
    parent = Path(tempfile.mkdtemp(prefix="tlearn-tensorboard-"))
    names: set[str] = set()
    for folder in folders:
        name = next(name for name in numbered_names(folder.resolve().name) if name not in names)
        names.add(name)
        (parent / name).symlink_to(folder.resolve(), target_is_directory=True)
    return parent
