"""The temperature that makes the probabilities of one network or several honest."""

from collections.abc import Sequence

import numpy as np
from scipy.optimize import minimize_scalar

from tlearn.training.regression import log_loss
from tlearn.training.shares import mean_probabilities

SPREAD = 0.25  # of the logarithm of the temperature of trained networks, about
BOUNDS = (-1.5, 1.5)  # of the logarithm


def temperature_of(
    y: np.ndarray, members: Sequence[np.ndarray], shares: Sequence[float] = (1.0,)
) -> float:
    """Return what the logits of all members are to be divided by for the least log loss.

    As Guo et al., On calibration of modern neural networks (ICML 2017), but with a normal prior on
    its logarithm, so that few images, or none that is wrong, change little.

    Args:
        y: Class indices, ``(n,)``, of images that the network was not trained on.
        members: The logits of each, ``(n, classes)``.
        shares: The weights with which their probabilities are averaged.
    """

    def penalised(logarithm: float) -> float:
        p = mean_probabilities(members, shares, np.exp(logarithm))
        return len(y) * log_loss(y, p) + (logarithm / SPREAD) ** 2 / 2

    found = minimize_scalar(penalised, bounds=BOUNDS, method="bounded", options={"xatol": 1e-3})
    return float(np.exp(found.x))


def cross_fitted(
    y: np.ndarray, members: Sequence[np.ndarray], shares: Sequence[float], folds: np.ndarray
) -> np.ndarray:
    """Return probabilities ``(n, classes)``, for each fold by the temperature of the other folds.

    Args:
        y: Class indices, ``(n,)``.
        members: The logits of each network, ``(n, classes)``.
        shares: The weights with which their probabilities are averaged.
        folds: The fold of each image, at least two.
    """
    p = np.zeros(members[0].shape)
    for fold in np.unique(folds):
        here = folds == fold
        temperature = temperature_of(y[~here], [logits[~here] for logits in members], shares)
        p[here] = mean_probabilities([logits[here] for logits in members], shares, temperature)
    return p
