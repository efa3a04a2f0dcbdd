"""The metrics of a classifier: one record each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

# NumPy is imported when it is needed: every command reads the names below. Tests compare all of it
# with scikit-learn, whose import would take half a second of each training.

Compute = Callable[["np.ndarray", "np.ndarray"], float]
EPSILON = 2.0**-52  # the smallest probability that is counted
TOP = 5


@dataclass(frozen=True)
class Metric:
    """A figure of a classifier, in ``metrics.json`` and wherever one is shown.

    Attributes:
        key: Its key in ``metrics.json``.
        name: Its name for people.
        compute: Gives it from true class indices ``(n,)`` and probabilities ``(n, classes)``.
        higher_is_better: Whether it grows with how good a classifier is.
        share: Whether it is a share of the images, so that it has an interval.
        brief: Whether it is shown where there is room for few.
        form: How it is written, for :func:`format`.
    """

    key: str
    name: str
    compute: Compute
    higher_is_better: bool = True
    share: bool = False
    brief: bool = False
    form: str = ".3f"

    @property
    def worst(self) -> float:
        """What it is where the probabilities are not finite."""
        return 0.0 if self.higher_is_better else float("inf")


def accuracy(y: np.ndarray, p: np.ndarray) -> float:
    """Return the share that is right, from class indices and probabilities or logits."""
    return float((p.argmax(axis=1) == y).mean())


def top_accuracy(y: np.ndarray, p: np.ndarray) -> float:
    """Return the share whose class is among the :data:`TOP` likeliest."""
    rank = (p > p[range(len(y)), y][:, None]).sum(axis=1)
    return float((rank < TOP).mean())


def log_loss(y: np.ndarray, p: np.ndarray) -> float:
    """Return nats."""
    import numpy as np

    return float(-np.log(np.maximum(p[np.arange(len(y)), y], EPSILON)).mean())


def brier(y: np.ndarray, p: np.ndarray) -> float:
    """Return the mean squared distance of the probabilities from 0 and 1, summed over classes.

    From 0 to 2 (Brier, Verification of forecasts expressed in terms of probability, 1950).
    """
    import numpy as np

    return float(((p - np.eye(p.shape[1])[y]) ** 2).sum(axis=1).mean())


def guess_counts(y: np.ndarray, p: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return how many images of each class are right, there are, and are guessed."""
    import numpy as np

    guess, classes = p.argmax(axis=1), p.shape[1]
    right, images, guesses = (np.bincount(k, minlength=classes) for k in (y[guess == y], y, guess))
    return right, images, guesses


def _of_guesses(share: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]) -> Compute:
    """Return the mean over the classes that have images of a share by class.

    Args:
        share: Gives it from what :func:`guess_counts` returns.
    """

    def compute(y: np.ndarray, p: np.ndarray) -> float:
        right, images, guesses = guess_counts(y, p)
        return float(share(right, images, guesses)[images > 0].mean())

    return compute


def _recall(right: np.ndarray, images: np.ndarray, guesses: np.ndarray) -> Any:
    return right / images.clip(1)


def _precision(right: np.ndarray, images: np.ndarray, guesses: np.ndarray) -> Any:
    return right / guesses.clip(1)


def _f1(right: np.ndarray, images: np.ndarray, guesses: np.ndarray) -> Any:
    return 2 * right / (images + guesses).clip(1)


def counts_above(is_of: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return how many images of a class, and of others, are at or above each score, highest first.

    Args:
        is_of: Whether each image is of the class, ``(n,)``.
        scores: Its probability, ``(n,)``.
    """
    import numpy as np

    order = np.argsort(-scores, kind="stable")
    last = np.append(np.diff(scores[order]) != 0, True)  # of images with the same score
    right = np.cumsum(is_of[order])[last]
    return right, np.flatnonzero(last) + 1 - right


def _one_against_rest(area: Callable[[np.ndarray, np.ndarray], float]) -> Compute:
    """Return the mean over the classes of an area under a curve, each class against the others.

    Classes without images are left out; 1 where there is no other.

    Args:
        area: Gives it from how many images of the class, and of others, are above each threshold.
    """

    def compute(y: np.ndarray, p: np.ndarray) -> float:
        import numpy as np

        some = np.unique(y)
        if len(some) < 2:
            return 1.0
        return float(np.mean([area(*counts_above(y == k, p[:, k])) for k in some]))

    return compute


def roc_area(right: np.ndarray, wrong: np.ndarray) -> float:
    """Return the area under the receiver operating characteristic, by trapezoids."""
    import numpy as np

    rates = (np.append(0, counts) / counts[-1] for counts in (right, wrong))
    hits, alarms = rates
    return float(((hits[1:] + hits[:-1]) / 2 * np.diff(alarms)).sum())


def average_precision_of(right: np.ndarray, wrong: np.ndarray) -> float:
    """Return the precision at each threshold, weighted by how much recall it adds."""
    import numpy as np

    return float((np.diff(right, prepend=0) * right / (right + wrong)).sum() / right[-1])


METRICS = {
    metric.key: metric
    for metric in (
        Metric("accuracy", "accuracy", accuracy, share=True, brief=True),
        Metric("balanced_accuracy", "balanced accuracy", _of_guesses(_recall)),
        Metric("top_5_accuracy", "top-5 accuracy", top_accuracy, share=True),
        Metric("macro_precision", "macro precision", _of_guesses(_precision)),
        Metric("macro_f1", "macro F1", _of_guesses(_f1), brief=True),
        Metric("roc_auc", "ROC-AUC", _one_against_rest(roc_area)),
        Metric("average_precision", "average precision", _one_against_rest(average_precision_of)),
        Metric("log_loss", "log loss", log_loss, higher_is_better=False, brief=True),
        Metric("brier", "Brier score", brier, higher_is_better=False),
    )
}
# By the columns of history.csv, which are also the logs of Keras callbacks. The loss, which has no
# steps, decides between networks that are equally good by another.
MONITORS = {"val_loss": METRICS["log_loss"]} | {
    f"val_{key}": metric for key, metric in METRICS.items() if key != "log_loss"
}
