"""Folds for cross-validation: about the same share of every class in each, groups in one piece."""

import math
from collections.abc import Sequence

import numpy as np


def assign_folds(y: np.ndarray, groups: Sequence[str], number: int, seed: int) -> np.ndarray:
    """Return the fold of every image, from 0 to ``number - 1``.

    Groups are taken in random order, those with the most images of one class first. Each goes to
    the fold that leaves the classes most evenly spread, and of equally good ones to the smallest.
    This is the method, and gives the folds, of scikit-learn's ``StratifiedGroupKFold``, which takes
    longer to import than to write down.

    Args:
        y: Class indices of the images.
        groups: For each image, what must stay in one fold.
        number: How many folds there are.
        seed: Decides the order.
    """
    _, classes = np.unique(y, return_inverse=True)
    _, members = np.unique(np.asarray(groups), return_inverse=True)
    counts = np.zeros((members.max() + 1, classes.max() + 1))  # images by group and class
    np.add.at(counts, (members, classes), 1)
    order = np.arange(len(counts))
    np.random.RandomState(seed).shuffle(order)
    order = order[np.argsort(-counts[order].std(axis=1), kind="stable")]
    sizes, filled = counts.sum(axis=0), np.zeros((number, counts.shape[1]))
    chosen = np.zeros(len(counts), np.int64)
    each = np.eye(number)[:, :, None]
    for group in order.tolist():
        spread = ((filled + counts[group] * each) / sizes).std(axis=1).mean(axis=1)
        chosen[group] = _best(spread.tolist(), filled.sum(axis=1).tolist())
        filled[chosen[group]] += counts[group]
    return chosen[members]


def _best(spread: Sequence[float], images: Sequence[float]) -> int:
    """Return the fold with the least spread, of about equal ones that with the fewest images."""
    best = 0
    for fold in range(1, len(spread)):
        same = math.isclose(spread[fold], spread[best], rel_tol=1e-5, abs_tol=1e-8)
        if spread[fold] < spread[best] or (same and images[fold] < images[best]):
            best = fold
    return best
