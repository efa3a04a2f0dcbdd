"""A training's state: one frozen record, and the file from which the training is continued."""

import io
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
from pydantic import ConfigDict, TypeAdapter

from tlearn.atomic import atomic_file
from tlearn.config import Stage
from tlearn.errors import one_line
from tlearn.training.costs import Costs
from tlearn.training.score import WORST, ValidationScore

FORMAT = 9
ARRAY = "array of a callback"
PAUSE = 20  # seconds until the next write, for each second that the last one took
Ends = Literal["", "stage", "training"]
Arrays = Mapping[str, list[np.ndarray]]


@dataclass(frozen=True)
class StageResult:
    """The result of a stage.

    Attributes:
        boundary: Name of the boundary it was fed from; ``head`` where only the head was trained.
        history: One row per epoch, as in ``history.csv``.
    """

    name: str
    boundary: str
    epochs: int = 0
    seconds: float = 0.0
    score: ValidationScore = WORST
    history: tuple[dict[str, Any], ...] = ()


@dataclass(frozen=True)
class TrainingPlan:
    """What was decided before the stages, and holds for the whole training.

    Attributes:
        views: Views per training image that take turns, or 0 for a fresh one in every epoch.
        rates: Views computed per second, where any were.
    """

    stages: tuple[Stage, ...]
    views: int
    taps: tuple[str, ...]
    probe: StageResult
    rates: dict[str, float]
    costs: Costs


@dataclass(frozen=True)
class Member:
    """A network that may be averaged with others: the best of a stage, or the probe.

    Attributes:
        number: That of its stage, from 1; the probe's is 0.
        weights: All that any stage changes.
        logits: For validation, ``(n, classes)``.
    """

    number: int
    weights: list[np.ndarray]
    logits: np.ndarray


@dataclass(frozen=True)
class TrainingState:
    """The state of a training: at the beginning of a stage, or after some of its epochs.

    Attributes:
        stage_index: The stage by its position; the number of stages where all are over.
        epoch: Epochs of it that are over.
        ends: What ended with the last epoch: nothing, this stage, or the training.
        results: Of the stages that have begun.
        best: The score of the best network so far, at the end that of the model; ``None`` if the
            head is random.
        best_number: The number of that network among ``members``; ``None`` if it is that which the
            training began with.
        start: The same of the network that the present stage began with.
        callbacks: What callbacks remember: those of the ``training``, and within a stage its own.
        stopped: Whether the user stopped it in the middle of what comes next.
        arrays: The states of the ``seeds``; the networks that may be averaged, see ``members``; the
            ``initial`` weights, if the head began at random; and within a stage the present ones
            (``network``), the variables of the ``optimizer`` and of an own training ``step``.
        shares: The weights of those that the model averages, by number; empty before the end.
        calibration: What the temperature of the model does, as ``metrics.json`` has it; likewise.
    """

    plan: TrainingPlan
    stage_index: int = 0
    epoch: int = 0
    ends: Ends = ""
    results: tuple[StageResult, ...] = ()
    best: ValidationScore | None = None
    best_number: int | None = None
    start: int | None = None
    callbacks: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    stopped: bool = False
    arrays: Arrays = field(default_factory=dict, repr=False)
    shares: dict[int, float] = field(default_factory=dict)
    calibration: dict[str, Any] = field(default_factory=dict)
    __pydantic_config__ = ConfigDict(arbitrary_types_allowed=True)

    @property
    def members(self) -> list[Member]:
        """The networks that may be averaged, in the order of their stages."""
        names = ((n, f"member {n}") for n in range(len(self.plan.stages) + 1))
        every = ((n, self.arrays[name]) for n, name in names if name in self.arrays)
        return [Member(n, arrays[:-1], arrays[-1]) for n, arrays in every]

    def with_member(self, member: Member) -> "TrainingState":
        """Return it with a network that may be averaged, in place of another of its number."""
        name = f"member {member.number}"
        return replace(self, arrays={**self.arrays, name: [*member.weights, member.logits]})

    @property
    def history(self) -> list[dict[str, Any]]:
        """One row per epoch, over all stages."""
        return [row for result in self.results for row in result.history]

    def with_result(self, **changes: Any) -> "TrainingState":
        """Return it with changes in the result of the present stage."""
        *others, last = self.results
        return replace(self, results=(*others, replace(last, **changes)))


_RECORD = TypeAdapter(TrainingState)


def save(file: Path | BinaryIO, state: TrainingState) -> None:
    """Write a state as ``.npz``: the arrays, and all else as JSON."""
    remembered: list[np.ndarray] = []  # arrays of callbacks

    def number(array: Any) -> dict[str, int]:
        if not isinstance(array, np.ndarray):
            raise TypeError(array)
        remembered.append(array)
        return {ARRAY: len(remembered) - 1}

    content = {
        "format": FORMAT,
        "state": _RECORD.dump_python(replace(state, arrays={})),
        "arrays": {name: len(values) for name, values in state.arrays.items()},
    }
    named: dict[str, Any] = {"content": np.array(json.dumps(content, default=number))}
    for name, values in [*state.arrays.items(), (ARRAY, remembered)]:
        named |= {f"{name}.{i}": array for i, array in enumerate(values)}
    np.savez(file, **named)


def load(source: Path | BinaryIO) -> TrainingState:
    """Read a state; a damaged file may raise any exception."""
    with np.load(source, allow_pickle=False) as file:

        def array_of(values: dict[str, Any]) -> Any:
            return file[f"{ARRAY}.{values[ARRAY]}"] if values.keys() == {ARRAY} else values

        content = json.loads(str(file["content"]), object_hook=array_of)
        if content["format"] != FORMAT:
            raise ValueError(f"it is of format {content['format']}, not {FORMAT}")
        counts = content["arrays"].items()
        arrays = {name: [file[f"{name}.{i}"] for i in range(n)] for name, n in counts}
    return replace(_RECORD.validate_python(content["state"]), arrays=arrays)


def to_bytes(state: TrainingState) -> bytes:
    """Return a state as a file would hold it."""
    file = io.BytesIO()
    save(file, state)
    return file.getvalue()


def from_bytes(data: bytes) -> TrainingState:
    """Return the state that :func:`to_bytes` was given."""
    return load(io.BytesIO(data))


class Checkpoint:
    """The file that holds the last state, written so that it takes little of the time.

    Args:
        say: Is given a line about what goes wrong.
    """

    def __init__(self, path: Path, say: Callable[[str], None]) -> None:
        self.path, self._say = path, say
        self._waiting: TrainingState | None = None
        self._due = 0.0
        self._failed = False

    def read(self) -> TrainingState | None:
        """Return the state of a training that is to be continued, if there is a usable one."""
        if not self.path.exists():
            self._say("there is no checkpoint: restarting from the probe")
            return None
        try:
            return load(self.path)
        # A damaged archive raises what its reader pleases.
        except Exception as error:  # noqa: BLE001
            self.reject(error)
            return None

    def reject(self, error: Exception) -> None:
        """Say why the checkpoint cannot be used."""
        self._say(
            f"the checkpoint {str(self.path)!r} is damaged ({one_line(error)}): restarting "
            f"from the probe"
        )

    def update(self, state: TrainingState) -> None:
        """Take the next state; write it between stages, or if the last write is long ago."""
        self._waiting = state
        if not state.epoch or time.monotonic() >= self._due:
            self.flush()

    def flush(self) -> None:
        """Write what has not been written; a full disk is no reason to lose the training."""
        if self._waiting is None:
            return
        start = time.monotonic()
        try:
            with atomic_file(self.path) as path:
                save(path, self._waiting)
        except OSError as error:
            if not self._failed:
                self._say(f"the checkpoint cannot be written: {error.strerror}; training continues")
            self._failed = True
        else:
            self._waiting = None
        end = time.monotonic()
        self._due = end + PAUSE * (end - start)

    def remove(self) -> None:
        """Remove it: there is nothing in it worth continuing."""
        self._waiting = None
        self.path.unlink(missing_ok=True)


class Unsaved(Checkpoint):
    """No file: for trainings that are begun anew after an interruption."""

    def __init__(self) -> None:
        super().__init__(Path(), lambda line: None)

    def flush(self) -> None:
        """Do nothing."""

    def update(self, state: TrainingState) -> None:
        """Do nothing."""

    def remove(self) -> None:
        """Do nothing."""
