"""The metrics of a classifier: one record each, computed by scikit-learn where it has them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

# NumPy and scikit-learn are imported when they are needed: every command reads the names below.

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
    compute: Callable[[np.ndarray, np.ndarray], float]
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


def _of_guesses(name: str) -> Callable[[np.ndarray, np.ndarray], float]:
    """Return the mean of a function of scikit-learn over the classes that have images."""

    def compute(y: np.ndarray, p: np.ndarray) -> float:
        import numpy as np
        from sklearn import metrics

        options = {"labels": np.unique(y), "average": "macro", "zero_division": 0}
        return float(getattr(metrics, name)(y, p.argmax(axis=1), **options))

    return compute


def _one_against_rest(name: str) -> Callable[[np.ndarray, np.ndarray], float]:
    """Return the mean of a function of scikit-learn over the classes, each against the others.

    Classes without images, or with all, are left out; 1 where there is no other.
    """

    def compute(y: np.ndarray, p: np.ndarray) -> float:
        import numpy as np
        from sklearn import metrics

        some = np.unique(y)
        if len(some) < 2:
            return 1.0
        return float(getattr(metrics, name)(y[:, None] == some, p[:, some], average="macro"))

    return compute


METRICS = {
    metric.key: metric
    for metric in (
        Metric("accuracy", "accuracy", accuracy, share=True, brief=True),
        Metric("balanced_accuracy", "balanced accuracy", _of_guesses("recall_score")),
        Metric("top_5_accuracy", "top-5 accuracy", top_accuracy, share=True),
        Metric("macro_precision", "macro precision", _of_guesses("precision_score")),
        Metric("macro_f1", "macro F1", _of_guesses("f1_score"), brief=True),
        Metric("roc_auc", "ROC-AUC", _one_against_rest("roc_auc_score")),
        Metric(
            "average_precision", "average precision", _one_against_rest("average_precision_score")
        ),
        Metric("log_loss", "log loss", log_loss, higher_is_better=False, brief=True),
        Metric("brier", "Brier score", brier, higher_is_better=False),
    )
}
# By the columns of history.csv, which are also the logs of Keras callbacks. The loss, which has no
# steps, decides between networks that are equally good by another.
MONITORS = {"val_loss": METRICS["log_loss"]} | {
    f"val_{key}": metric for key, metric in METRICS.items() if key != "log_loss"
}
