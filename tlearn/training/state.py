"""What a training has come to, and the file from which it can be continued."""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import TypeAdapter
from sklearn.metrics import accuracy_score, log_loss

from tlearn.atomic import atomic_file
from tlearn.config import Stage
from tlearn.errors import one_line
from tlearn.training.costs import Costs
from tlearn.training.stopwatch import Stopwatch

FORMAT = 1
PAUSE = 20  # times what the last write took that passes before the next one
Arrays = dict[str, list[np.ndarray]]


@dataclass(frozen=True, order=True)
class ValidationScore:
    """How good a network is on validation: accuracy first, then the smaller log loss."""

    accuracy: float
    negative_loss: float

    @classmethod
    def of(cls, y: np.ndarray, logits: np.ndarray) -> "ValidationScore":
        """Score logits ``(n, classes)`` against class indices; the worst there is if not finite."""
        if not np.isfinite(logits).all():
            return cls(0.0, -np.inf)
        probabilities = np.exp(logits - logits.max(axis=1, keepdims=True), dtype=np.float64)
        probabilities /= probabilities.sum(axis=1, keepdims=True)
        loss = log_loss(y, probabilities, labels=np.arange(logits.shape[1]))
        return cls(float(accuracy_score(y, logits.argmax(axis=1))), -float(loss))


@dataclass
class StageResult:
    """What came of a stage.

    Attributes:
        name: Its title.
        boundary: Name of the cut it was fed from; ``head`` where only the head was trained.
        epochs: Epochs run.
        seconds: How long it took.
        score: The best score within it.
        kept: Whether it improved on what was before; if not, it was rolled back.
        history: One row per epoch.
    """

    name: str
    boundary: str
    epochs: int = 0
    seconds: float = 0.0
    score: ValidationScore = ValidationScore(0.0, -np.inf)
    kept: bool = False
    history: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True)
class TrainingPlan:
    """What was decided before the stages, and holds for the whole training.

    Attributes:
        stages: The stages, as they are trained.
        views: Views per training image that take turns, or 0 for a fresh one in every epoch.
        taps: Names of the taps the head sees.
        probe: What came of the probe.
        rates: Views computed per second, where any were.
        costs: What was estimated.
    """

    stages: tuple[Stage, ...]
    views: int
    taps: tuple[str, ...]
    probe: StageResult
    rates: dict[str, float]
    costs: Costs


@dataclass(frozen=True)
class TrainingState:
    """Where a training stands: at the beginning of a stage, or after some epochs of it.

    Attributes:
        course: What was decided before.
        stage: The stage by its position; the number of stages where all are over.
        epoch: Epochs of it that are over.
        results: Of the stages that have begun.
        score: Of the best weights so far; ``None`` if the head is random.
        seconds: How long each part took.
    """

    course: TrainingPlan
    stage: int
    epoch: int
    results: list[StageResult]
    score: ValidationScore | None
    seconds: dict[str, float]


@dataclass(frozen=True)
class Checkpoint:
    """A training that can be continued.

    Attributes:
        at: Where it stands.
        arrays: Of the weights that may have changed by then the best (``best_weights``), and after
            some epochs of a stage also those before the stage (``before``, unless they are the
            best) and the present ones (``network``), and the variables of the ``optimizer``; the
            states of the ``seeds``.
    """

    at: TrainingState
    arrays: Arrays

    def write(self, path: Path) -> None:
        """Write it as ``.npz``: the arrays, and all else as JSON."""
        content = {
            "format": FORMAT,
            "at": _STANDING.dump_python(self.at),
            "arrays": {name: len(some) for name, some in self.arrays.items()},
        }
        named: dict[str, Any] = {"content": np.array(json.dumps(content))}
        for name, some in self.arrays.items():
            named |= {f"{name}.{i}": array for i, array in enumerate(some)}
        with path.open("wb") as file:
            np.savez(file, **named)

    @classmethod
    def read(cls, path: Path) -> "Checkpoint":
        """Read one; whatever is wrong with the file raises an exception of some kind."""
        with np.load(path, allow_pickle=False) as file:
            content = json.loads(str(file["content"]))
            if content["format"] != FORMAT:
                raise ValueError(f"it is of format {content['format']}, not {FORMAT}")
            counts = content["arrays"].items()
            arrays = {name: [file[f"{name}.{i}"] for i in range(n)] for name, n in counts}
        return cls(_STANDING.validate_python(content["at"]), arrays)


_STANDING = TypeAdapter(TrainingState)


class Checkpointer:
    """Keeps the checkpoint of a training in a file, so that writing takes little of the time.

    Args:
        path: The file; without one nothing is kept.
        say: Is told in a line what goes wrong.

    Attributes:
        clock: How long each part of the training took so far.
        found: What is continued, if anything.
        resumes: Whether a training is continued, be it from its beginning.
        course: What was decided for the training, once it is.
    """

    def __init__(
        self, path: Path | None = None, say: Callable[[str], None] = lambda line: None
    ) -> None:
        self.path, self._say = path, say
        self.clock = Stopwatch()
        self.found: Checkpoint | None = None
        self.resumes = False
        self.course: TrainingPlan | None = None
        self._held: Checkpoint | None = None
        self._due = 0.0
        self._failed = False

    def find(self) -> None:
        """Read the checkpoint of a training that is to be continued, if it has a usable one."""
        self.resumes = True
        if self.path is None or not self.path.exists():
            self._say("there is no checkpoint: beginning again from the probe")
            return
        try:
            self.found = Checkpoint.read(self.path)
        # A damaged archive raises what its reader pleases.
        except Exception as error:  # noqa: BLE001
            self.reject(error)
        else:
            self.clock, self.course = Stopwatch(self.found.at.seconds), self.found.at.course

    def reject(self, error: Exception) -> None:
        """Say that the checkpoint cannot be used, and begin again without it."""
        self.found = self.course = None
        self._say(
            f"the checkpoint {str(self.path)!r} is damaged ({one_line(error)}): beginning again "
            f"from the probe"
        )

    def note(self, checkpoint: Checkpoint, now: bool) -> None:
        """Hold a checkpoint, and write it if asked to now or if the last one is long ago."""
        self._held = checkpoint
        if now or time.monotonic() >= self._due:
            self.flush()

    def flush(self) -> None:
        """Write what is held; a full disk is no reason to lose the training."""
        if self._held is None or self.path is None:
            return
        start = time.monotonic()
        try:
            with atomic_file(self.path) as path:
                self._held.write(path)
        except OSError as error:
            if not self._failed:
                self._say(f"the checkpoint cannot be written: {error.strerror}; training goes on")
            self._failed = True
        else:
            self._held = None
        end = time.monotonic()
        self._due = end + PAUSE * (end - start)

    def forget(self) -> None:
        """Remove the checkpoint: there is nothing in it worth continuing."""
        self._held = None
        if self.path is not None:
            self.path.unlink(missing_ok=True)
