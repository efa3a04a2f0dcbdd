"""Outliers: photos far from all others of their class."""

import numpy as np
from scipy.special import ndtri

from tlearn.checks.neighbours import nearest, unit_rows

NEIGHBOUR = 5  # the distance to which counts: up to four copies do not hide an outlier
FEW = 2 * NEIGHBOUR  # photos of a class below which none is judged
FALSE_ALARMS = 0.02  # the part of photos that is called an outlier where there is none, about
UPPER = 0.9  # quantile that the spread is taken from: a tenth may be outliers, whatever they are


def outlier_scores(top: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return how far photos are from their class, in units of the threshold: outliers exceed 1.

    The angle to the fifth nearest photo of the class counts (Ramaswamy et al., SIGMOD 2000), as a
    chord. Its threshold is where a normal distribution with the median and the upper spread of all
    photos leaves ``FALSE_ALARMS``. In simulated classes without outliers it leaves 1.8 to 2.9 %,
    and as little as 0.2 % where some classes are twice as wide as others.

    Args:
        top: Features ``(n, d)`` whose angles tell what is alike.
        y: Class indices.

    Returns:
        ``(n,)``; 0 for photos of classes with too few.
    """
    unit, distances = unit_rows(top), np.full(len(y), np.nan)
    for label, count in enumerate(np.bincount(y)):
        if count >= FEW:
            own = np.flatnonzero(y == label)
            distances[own] = nearest(unit[own], NEIGHBOUR)[1][:, -1]
    seen = np.isfinite(distances)
    if not seen.any():
        return np.zeros(len(y))
    median, upper = np.quantile(distances[seen], (0.5, UPPER))
    spread = (upper - median) / ndtri(UPPER) * ndtri(1 - FALSE_ALARMS)
    scores = (distances - median) / max(float(spread), 1e-6)
    return np.where(seen, scores, 0.0)
