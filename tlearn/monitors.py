"""What a network is judged by on validation after each epoch: one record per figure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

# NumPy and SciPy are imported when they are needed: every command reads the names below.


@dataclass(frozen=True)
class Monitor:
    """A figure on validation that a stage may be steered by.

    Attributes:
        key: The key in ``metrics.json`` of the metric that it is.
        compute: Gives it from true class indices ``(n,)`` and finite logits ``(n, classes)``.
        higher_is_better: Whether it grows with how good a network is.
    """

    key: str
    compute: Callable[[np.ndarray, np.ndarray], float]
    higher_is_better: bool = True

    @property
    def worst(self) -> float:
        """What it is where the logits are not finite."""
        return 0.0 if self.higher_is_better else float("inf")


def accuracy(y: np.ndarray, scores: np.ndarray) -> float:
    """Return the part that is right, from class indices and logits or probabilities."""
    return float((scores.argmax(axis=1) == y).mean())


def macro_f1(y: np.ndarray, scores: np.ndarray) -> float:
    """Return the mean F1 of the classes that have images; arguments as of :func:`accuracy`."""
    import numpy as np

    guess, classes = scores.argmax(axis=1), scores.shape[1]
    right, images, guesses = (np.bincount(k, minlength=classes) for k in (y[guess == y], y, guess))
    f1 = 2 * right / np.maximum(1, images + guesses)
    return float(f1[images > 0].mean())


def log_loss(y: np.ndarray, logits: np.ndarray) -> float:
    """Return nats."""
    import numpy as np
    from scipy.special import log_softmax

    log_p = log_softmax(logits.astype(np.float64), axis=1)
    return float(-log_p[np.arange(len(y)), y].mean())


# By the columns of history.csv, which are also the logs of Keras callbacks.
MONITORS = {
    "val_loss": Monitor("log_loss", log_loss, higher_is_better=False),
    "val_accuracy": Monitor("accuracy", accuracy),
    "val_macro_f1": Monitor("macro_f1", macro_f1),
}
