"""The run directory: the only thing that passes from training to whatever comes after.

- run.yaml: the configuration, versions, digests; before a training, only what was requested
- splits.csv: which image is in which split
- problems.csv: what was left out, and why
- events.jsonl: one line per thing that happened
- history.csv: one row per epoch
- model.keras: pixels in, probabilities out
- labels.json: the class of each output
- metrics.json: how good it is, by the saved model
- predictions.csv: what the saved model says of each image that was held back
- outputs.npz: probabilities and features that it gives for those, and for training images
- report.html: a page about the run
- figures: the pictures of the report, as .svg and .png

There are also ``callbacks.py``, ``train_step.py``, ``head.py``, copies of what the user wrote, and
``checkpoints``, models of single epochs, if they were asked for, and ``earlier_splits.csv`` where
it continues another run: which images were where in that. As long as a training is not over there
is ``checkpoint.npz``, from which it can be continued, ``progress.jsonl``, and what
:mod:`tlearn.runs.run_state` describes.
"""

import contextlib
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import yaml
from filelock import FileLock, Timeout
from pydantic_core import to_json

from tlearn.atomic import atomic_file, remove_temporaries
from tlearn.backbones.plugin_sources import folder_options
from tlearn.config import RunConfig
from tlearn.errors import ConfigError, RunError, hint_of, one_line, os_errors_as
from tlearn.object_stores import as_path
from tlearn.python_files import COPIES, files_of, with_copies
from tlearn.runs.progress_log import PROGRESS
from tlearn.runs.run_state import EVENTS, LOCK, STOP, recorded_state, state_of
from tlearn.settings import make_config
from tlearn.text import numbered_names, shell

CHECKPOINT = "checkpoint.npz"
CHECKPOINTS = "checkpoints"
FIGURES = "figures"
EARLIER_SPLITS = "earlier_splits.csv"
RUNS = Path("runs")  # where runs go that are given no place
# What reading a file raises that holds something else than it should.
DAMAGED = (OSError, ValueError, LookupError, TypeError, AttributeError, yaml.YAMLError, ConfigError)
LOCK_SECONDS = 2.0  # a process that checks the state of a run holds its lock for a moment


# The loader written in C, where PyYAML has it, is ten times as fast.
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def read_record(run: Path) -> dict[str, Any]:
    """Return the content of ``run.yaml``; raises one of :data:`DAMAGED` if it is damaged."""
    return dict(yaml.load((run / "run.yaml").read_text(encoding="utf-8"), _LOADER))


@dataclass(frozen=True)
class Request:
    """What a run is to train, or was trained, on.

    Attributes:
        config: The configuration: as requested, with the defaults filled in once it has begun.
        digest: Of the images; empty before they were read.
        weights_digest: Of the weights that the backbone started from; empty before that.
    """

    config: RunConfig
    data: Path
    digest: str = ""
    weights_digest: str = ""

    @property
    def began(self) -> bool:
        """Whether the images were read, and everything is filled in."""
        return bool(self.digest)


class RunDirectory:
    """A run directory and how files come into it: each whole, or not at all."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._new_parents: list[Path] = []  # made for it, the outermost last

    def __truediv__(self, name: str) -> Path:
        return self.path / name

    @classmethod
    def create(
        cls, path: Path, config: RunConfig, data: Path, numbered: bool = False
    ) -> "RunDirectory":
        """Make a run directory for a training; ``path-2`` etc. if ``numbered`` and it exists.

        Raises:
            RunError: If the path exists, or it cannot be written.
        """
        if not numbered:
            check_free(path)
        places = map(path.with_name, numbered_names(path.name)) if numbered else [path]
        values = with_copies(config.model_dump(mode="json", exclude_unset=True), Path())
        parents = [folder for folder in path.parents if not folder.exists()]
        what = f"the run directory {str(path)!r} cannot be made"
        with os_errors_as(RunError, what, "choose another place with --out"):
            run = cls(_make_first(places))
            run._new_parents = parents
            try:
                for key, file in files_of(config).items():
                    run.write(COPIES[key], file.read_bytes())
                run.write_record({"config": values, "data": {"path": str(data.resolve())}})
            except BaseException:
                run.discard()
                raise
        return run

    @contextlib.contextmanager
    def training(self) -> Iterator[None]:
        """Lock the run for a training by this process; log that it begins and how it ends.

        Raises:
            RunError: If the run cannot be continued, or another process trains it.
        """
        check_trainable(self.path)
        lock = FileLock(self.path / LOCK)
        try:
            lock.acquire(timeout=LOCK_SECONDS)
        except Timeout:
            raise RunError(_in_training(self.path)) from None
        except OSError as error:
            raise RunError(
                f"the run {str(self.path)!r} cannot be written: {error.strerror}; make it "
                f"writable, or train anew with another --out"
            ) from None
        try:
            check_trainable(self.path, locked=True)  # another may have finished it meanwhile
            self._drop_old_stop()
            remove_temporaries(self.path)
            self.event("started")
            yield
        except KeyboardInterrupt:
            self.event("stopped")
            raise
        except BaseException as error:
            self.event("failed", error=one_line(error, 1000), hint=hint_of(error))
            raise
        finally:
            (self.path / STOP).unlink(missing_ok=True)
            lock.release()
            if state_of(self.path) == "finished":
                for name in (CHECKPOINT, PROGRESS, LOCK):
                    (self.path / name).unlink(missing_ok=True)

    def _drop_old_stop(self) -> None:
        """Remove a request to stop that was made before this process began, while it waited."""
        stop = self.path / STOP
        if stop.exists() and stop.stat().st_mtime < psutil.Process().create_time():
            stop.unlink()

    def request(self) -> Request:
        """Return what the run is to train on.

        Raises:
            RunError: If ``run.yaml`` is damaged.
        """
        try:
            record = read_record(self.path)
            data = record["data"]
            return Request(
                make_config(self.path / "run.yaml"),
                as_path(data["path"]),
                data.get("digest", ""),
                record.get("weights_digest", ""),
            )
        except DAMAGED:
            raise RunError(
                f"run.yaml of the run {str(self.path)!r} is damaged; train anew with 'tlearn "
                f"finetune' and another --out"
            ) from None

    def write_record(self, record: dict[str, Any]) -> None:
        """Write ``run.yaml``."""
        self.write("run.yaml", yaml.safe_dump(record, sort_keys=False, allow_unicode=True))

    def write(self, name: str, content: str | bytes | Iterable[str]) -> None:
        """Write a file, perhaps text by text, so that it is there whole or not at all."""
        with self.replacing(name) as path, path.open("wb") as file:
            if isinstance(content, bytes):
                file.write(content)
            else:
                texts = [content] if isinstance(content, str) else content
                file.writelines(text.encode("utf-8") for text in texts)

    def write_json(self, name: str, value: Any) -> None:
        """Write a value as JSON; numbers that are not finite become ``null``."""
        self.write(name, to_json(value, indent=2, inf_nan_mode="null") + b"\n")

    def replacing(self, name: str) -> AbstractContextManager[Path]:
        """Yield a temporary path that replaces ``name`` if the block succeeds."""
        return atomic_file(self.path / name)

    def write_figure(self, name: str, files: Mapping[str, bytes]) -> None:
        """Write a picture, given by file ending, below :data:`FIGURES`."""
        (self.path / FIGURES).mkdir(exist_ok=True)
        for kind, content in files.items():
            self.write(f"{FIGURES}/{name}.{kind}", content)

    def event(self, kind: str, **fields: Any) -> None:
        """Append one line to ``events.jsonl``: the kind, the time in seconds since 1970, fields."""
        content = {"event": kind, "time": round(time.time(), 6), **fields}
        # A log that cannot be written, on a full disk, is no reason to lose the training.
        with contextlib.suppress(OSError), (self.path / EVENTS).open("ab") as file:
            file.write(to_json(content, inf_nan_mode="null") + b"\n")

    @property
    def usable(self) -> bool:
        """Whether it has a model and its figures; figures go before their model is replaced."""
        return all((self.path / name).is_file() for name in ("model.keras", "metrics.json"))

    def discard(self) -> None:
        """Remove a run without model or checkpoint, and the folders that were made for it."""
        if any((self.path / name).exists() for name in ("model.keras", CHECKPOINT)):
            return
        shutil.rmtree(self.path)
        with contextlib.suppress(OSError):  # they hold something else by now
            for folder in self._new_parents:
                folder.rmdir()


def check_free(path: Path) -> None:
    """Refuse a place that is taken.

    Raises:
        RunError: If the path exists.
    """
    if not path.exists():
        return
    try:
        check_trainable(path)
        more = f", or continue it with --resume {path}"
    except RunError:
        more = ""
    raise RunError(f"{str(path)!r} exists already; choose another --out or remove it{more}")


def check_usable(path: Path) -> None:
    """Refuse a run without a model, which one has once it is finished or was stopped.

    Raises:
        RunError: If it has none.
    """
    if RunDirectory(path).usable:
        return
    _check_is_run(path)
    state = state_of(path)
    if state == "finished":
        raise RunError(f"the run {str(path)!r} is damaged: it holds no model.keras; train anew")
    raise RunError(
        f"the run {str(path)!r} is not finished ({state}): it has no model yet; wait for it, or "
        f"continue it with: {resume_command(path)}"
    )


def resume_command(path: Path) -> str:
    """Return the command that continues the training of a run."""
    return shell("tlearn", "finetune", "--resume", path, *folder_options())


def resume_hint(path: Path) -> str:
    """Return what to do about the training of a run that ended early and left a checkpoint."""
    return f"to continue the training: {resume_command(path)}"


def check_trainable(path: Path, locked: bool = False) -> None:
    """Refuse a run that cannot be trained: resumed, or begun if it is queued.

    Args:
        path: The run directory.
        locked: Whether this process holds its lock.

    Raises:
        RunError: If it is no run, or finished, or a living process trains it.
    """
    _check_is_run(path)
    state = recorded_state(path) if locked else state_of(path)
    if state == "running":
        raise RunError(_in_training(path))
    if state == "finished":
        raise RunError(
            f"the run {str(path)!r} is finished: there is nothing to resume; to train anew, "
            f"give 'tlearn finetune' the data and another --out"
        )


def _check_is_run(path: Path) -> None:
    if not path.is_dir():
        raise RunError(
            f"there is no run directory {str(path)!r}; give one that 'tlearn finetune' made, or "
            f"train anew"
        )
    if not (path / "run.yaml").is_file():
        raise RunError(
            f"{str(path)!r} is no run directory: it holds no run.yaml; give one that 'tlearn "
            f"finetune' made, or train anew"
        )


def free_name(name: str, parent: Path) -> Path:
    """Return the first of ``name``, ``name-2``, ``name-3``, ... that is free in ``parent``."""
    first = parent / name
    paths = map(first.with_name, numbered_names(first.name))
    return next(path for path in paths if not path.exists())


def _make_first(paths: Iterable[Path]) -> Path:
    """Make the first folder of some that nobody else makes."""
    for path in paths:
        with contextlib.suppress(FileExistsError):
            path.mkdir(parents=True)
            return path
    raise FileExistsError(None, "it exists already")


def _in_training(path: Path) -> str:
    return f"the run {str(path)!r} is being trained; wait until that ends, or stop it first"
