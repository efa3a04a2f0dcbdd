"""What validation decides: which weights are better, when a stage ends, when its rate falls."""

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from scipy.special import log_softmax

from tlearn.config import Monitor, Stage

Ends = Literal["", "stage", "training"]
PLATEAU_FACTOR = 0.1  # as in Keras and PyTorch


@dataclass(frozen=True)
class ValidationScore:
    """How good a network is on validation.

    Attributes:
        accuracy: The part of the images that is classified right.
        log_loss: In nats; infinite where the logits are not finite.
    """

    accuracy: float
    log_loss: float

    @classmethod
    def of(cls, y: np.ndarray, logits: np.ndarray) -> "ValidationScore":
        """Score logits ``(n, classes)`` against class indices; :data:`WORST` if not finite."""
        if not np.isfinite(logits).all():
            return WORST
        log_p = log_softmax(logits.astype(np.float64), axis=1)[np.arange(len(y)), y]
        return cls(float((logits.argmax(axis=1) == y).mean()), float(-log_p.mean()))

    def rank(self, monitor: Monitor) -> tuple[float, float]:
        """Return what grows with how good it is; the other metric decides between equals."""
        both = (self.accuracy, -self.log_loss)
        return both if monitor == "val_accuracy" else (both[1], both[0])


WORST = ValidationScore(0.0, float("inf"))


def is_better(score: ValidationScore, than: ValidationScore | None, monitor: Monitor) -> bool:
    """Return whether a score replaces another; ``None`` is no score yet."""
    if not np.isfinite(score.log_loss):
        return False
    return than is None or score.rank(monitor) > than.rank(monitor)


def after_epoch(
    stage: Stage, state: Mapping[str, Any], row: Mapping[str, Any], deadline: float = math.inf
) -> tuple[dict[str, Any], float, Ends]:
    """Decide after an epoch whether a stage goes on, and at which learning rate.

    A loss that is not finite ends a stage, as do ``stage.patience`` epochs without improvement
    from :func:`earliest_end` on. Half the patience lowers the rate of the schedule ``plateau``.

    Args:
        stage: The stage.
        state: What this function returned after the epoch before, empty at first. It is part of the
            checkpoint, so a resumed training decides as if it had never been interrupted.
        row: The epoch as in ``history.csv``.
        deadline: When the time budget is used up, by :func:`time.monotonic`.

    Returns:
        The next state, the factor for the learning rate, and what ends.
    """
    rank = ValidationScore(row["val_accuracy"], row["val_loss"]).rank(stage.monitor)
    if not state or rank > tuple(state["best"]):
        best, epochs, epochs_at_rate = list(rank), 0, 0
    else:
        best, epochs, epochs_at_rate = state["best"], state["epochs"] + 1, state["at_rate"] + 1
    factor = 1.0
    if stage.schedule == "plateau" and epochs_at_rate >= max(1, stage.patience // 2):
        factor, epochs_at_rate = PLATEAU_FACTOR, 0
    ends: Ends = ""
    patient = row["epoch"] < earliest_end(stage) or epochs < stage.patience
    if not (math.isfinite(row["loss"]) and patient):
        ends = "stage"
    if time.monotonic() >= deadline:
        ends = "training"
    return {"best": best, "epochs": epochs, "at_rate": epochs_at_rate}, factor, ends


def earliest_end(stage: Stage) -> int:
    """Return the first epoch, from 1, after which early stopping may end a stage.

    Not in its first half, where validation falls before it rises, nor before it is settled.
    """
    settling = (n for n in range(1, stage.epochs + 1) if settled(stage, n))
    return max(stage.epochs // 2 + 1, next(settling))


def settled(stage: Stage, epochs: int) -> bool:
    """Return whether the learning rate is so low that the score after ``epochs`` can be trusted.

    At a high rate the weights leap about, and the best of many such epochs on a small validation
    set is mostly luck: measured on held-back photos, the last quarter of a cosine is better.
    """
    return stage.schedule != "cosine" or epochs > 0.75 * stage.epochs
