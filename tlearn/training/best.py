"""What "best" means: the one order of scores on validation that every choice of weights follows."""

from dataclasses import dataclass

import numpy as np

from tlearn.config import Monitor


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
        z = logits.astype(np.float64)
        z -= z.max(axis=1, keepdims=True)
        log_p = z[np.arange(len(y)), y] - np.log(np.exp(z).sum(axis=1))
        return cls(float((logits.argmax(axis=1) == y).mean()), float(-log_p.mean()))

    def rank(self, monitor: Monitor) -> tuple[float, float]:
        """Return what grows with how good it is; the other metric decides between equals."""
        both = (self.accuracy, -self.log_loss)
        return both if monitor == "val_accuracy" else (both[1], both[0])


WORST = ValidationScore(0.0, float("inf"))


def is_better(score: ValidationScore, than: ValidationScore | None, monitor: Monitor) -> bool:
    """Tell whether weights with a score replace those with another; ``None`` is no score yet."""
    if not np.isfinite(score.log_loss):
        return False
    return than is None or score.rank(monitor) > than.rank(monitor)
