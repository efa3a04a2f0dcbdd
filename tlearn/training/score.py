"""How good a network is on validation, and which of two is better."""

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import softmax

from tlearn.metrics import MONITORS


@dataclass(frozen=True)
class ValidationScore:
    """How good a network or an ensemble is on validation.

    Attributes:
        figures: The value of every one of :data:`tlearn.metrics.MONITORS`, by its name.
    """

    figures: dict[str, float]

    @classmethod
    def of(cls, y: np.ndarray, logits: np.ndarray) -> "ValidationScore":
        """Score logits ``(n, classes)`` against class indices; :data:`WORST` if not finite."""
        if not np.isfinite(logits).all():
            return WORST
        p = softmax(logits.astype(np.float64), axis=1)
        return cls({name: monitor.compute(y, p) for name, monitor in MONITORS.items()})

    @property
    def accuracy(self) -> float:
        """The part of the images that is classified right."""
        return self.figures["val_accuracy"]

    def by_key(self) -> dict[str, float]:
        """Return the figures by their keys in ``metrics.json``."""
        return {monitor.key: self.figures[name] for name, monitor in MONITORS.items()}

    def rank(self, monitor: str) -> list[float]:
        """Return what grows with how good it is; the other figures decide between equals."""
        names = sorted(MONITORS, key=lambda name: name != monitor)
        return [
            self.figures[n] if MONITORS[n].higher_is_better else -self.figures[n] for n in names
        ]


WORST = ValidationScore({name: monitor.worst for name, monitor in MONITORS.items()})


def is_better(score: ValidationScore, than: ValidationScore | None, monitor: str) -> bool:
    """Return whether a score replaces another; ``None`` is no score yet."""
    if not all(map(math.isfinite, score.figures.values())):
        return False
    return than is None or score.rank(monitor) > than.rank(monitor)
