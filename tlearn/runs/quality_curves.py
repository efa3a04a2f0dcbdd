"""How a classifier ranks images and how honest its probabilities are, as curves.

Each class is told from all others. :mod:`tlearn.metrics` computes the areas; scikit-learn, whose
import takes most of a second, is what tests compare with.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tlearn.metrics import average_precision_of, counts_above, roc_area

BINS = 10  # of probabilities
GRID = np.linspace(0, 1, 101)  # on which curves are averaged


@dataclass(frozen=True)
class Curve:
    """A curve of one class, or the average of those of all classes.

    Attributes:
        x: ``(m,)``, from 0 to 1, never falling.
        y: ``(m,)``, from 0 to 1.
        area: The area under it.
    """

    x: np.ndarray
    y: np.ndarray
    area: float


def roc_curve(is_of: np.ndarray, scores: np.ndarray) -> Curve:
    """Return hits against false alarms for all thresholds.

    Args:
        is_of: Whether each image is of the class, ``(n,)``; some are, some not.
        scores: Its probability, ``(n,)``.
    """
    right, wrong = counts_above(is_of, scores)
    hits, alarms = (np.append(0, counts) / counts[-1] for counts in (right, wrong))
    return Curve(alarms, hits, roc_area(right, wrong))


def precision_recall_curve(is_of: np.ndarray, scores: np.ndarray) -> Curve:
    """Return precision against recall for all thresholds, as steps; see :func:`roc_curve`.

    Between two thresholds precision is that of the one with the greater recall, so that the area
    under the steps is the average precision.
    """
    right, wrong = counts_above(is_of, scores)
    precision, recall = right / (right + wrong), right / right[-1]
    return Curve(
        np.append(0, recall),
        np.append(precision[0], precision),
        average_precision_of(right, wrong),
    )


def curves_of_classes(y: np.ndarray, p: np.ndarray, kind: str) -> dict[int, Curve]:
    """Return the curve of each class that some images are of and some not, by its number.

    Args:
        y: True class indices, ``(n,)``.
        p: Probabilities, ``(n, classes)``.
        kind: ``roc`` or ``precision_recall``.
    """
    curve = {"roc": roc_curve, "precision_recall": precision_recall_curve}[kind]
    some = np.unique(y).tolist()
    return {k: curve(y == k, p[:, k]) for k in some} if len(some) > 1 else {}


def average(curves: Sequence[Curve], steps: bool) -> Curve:
    """Return the mean of curves over the classes, each counting the same (macro).

    Args:
        curves: At least one.
        steps: Whether a value holds back to the previous point; else points are joined.
    """
    at = np.stack([_on_grid(curve, steps) for curve in curves])
    x, mean = GRID, at.mean(axis=0)
    if not steps:  # a curve of this kind begins below
        x, mean = np.append(0, GRID), np.append(0, mean)
    return Curve(x, mean, float(np.mean([curve.area for curve in curves])))


def _on_grid(curve: Curve, steps: bool) -> np.ndarray:
    if steps:
        return np.asarray(curve.y[np.searchsorted(curve.x, GRID - 1e-9).clip(max=len(curve.y) - 1)])
    # Of several values at the same place, the highest.
    last = np.append(np.diff(curve.x) > 0, True)
    return np.asarray(np.interp(GRID, curve.x[last], curve.y[last]))


@dataclass(frozen=True)
class Bin:
    """Images of about the same probability.

    Attributes:
        images: How many.
        probability: Their mean probability, of the likeliest class.
        right: The share that is right.
    """

    images: int
    probability: float
    right: float


def reliability(probabilities: np.ndarray, right: np.ndarray) -> list[Bin]:
    """Return the bins that hold images, of :data:`BINS` of equal width.

    Args:
        probabilities: Of the likeliest class, ``(n,)``.
        right: Whether that is the true one, ``(n,)``.
    """
    numbers = (probabilities * BINS).astype(int).clip(0, BINS - 1)
    return [
        Bin(int(at.sum()), float(probabilities[at].mean()), float(right[at].mean()))
        for at in (numbers == number for number in range(BINS))
        if at.any()
    ]


def calibration_error(bins: Sequence[Bin]) -> float:
    """Return how far probabilities are off on average, 0 to 1 (Naeini et al., 2015)."""
    total = sum(one.images for one in bins)
    return sum(one.images * abs(one.probability - one.right) for one in bins) / total
