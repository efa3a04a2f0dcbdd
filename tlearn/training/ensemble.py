"""Which networks of a training the saved model averages, and what it then predicts."""

from collections.abc import Sequence

import numpy as np

from tlearn.training.regression import EPSILON, probabilities

ERRORS = 2.0  # standard errors above 0 from which a gain is significant


def mean_probabilities(members: Sequence[np.ndarray], temperature: float = 1.0) -> np.ndarray:
    """Return the mean of the probabilities that each member's logits ``(n, classes)`` give."""
    each = [probabilities(logits / temperature) for logits in members]
    return np.asarray(np.mean(each, axis=0))


def choose_members(y: np.ndarray, members: Sequence[np.ndarray]) -> tuple[int, ...]:
    """Return the positions of the networks that are averaged: none of them does clear harm.

    Networks that err in different places are better together, so all of them are averaged but those
    that do harm: the one without which the log loss is lowest is left out, and again, as long as
    that lowers it significantly. To begin with the best and add what helps (Caruana et al.,
    Ensemble selection from libraries of models, ICML 2004) follows the noise of a hundred images,
    and was half a point worse on five photo sets.

    Args:
        y: Class indices, ``(n,)``, of images that no network was trained on.
        members: The logits of each, ``(n, classes)``.
    """
    of_label = np.array([probabilities(logits)[np.arange(len(y)), y] for logits in members])
    chosen = list(range(len(members)))
    while len(chosen) > 1:
        together = _losses(of_label[chosen])
        gains = {
            position: _clear_gain(
                together - _losses(of_label[[m for m in chosen if m != position]])
            )
            for position in chosen
        }
        worst = max(gains, key=gains.__getitem__)
        if gains[worst] <= 0:
            break
        chosen.remove(worst)
    return tuple(chosen)


def _losses(of_label: np.ndarray) -> np.ndarray:
    """Return the log loss of each image, from what members give its class ``(members, n)``."""
    return np.asarray(-np.log(of_label.mean(axis=0) + EPSILON))


def _clear_gain(gains: np.ndarray) -> float:
    """Return the lower end of the interval of the mean gain; negative for a single image."""
    if len(gains) < 2:
        return -np.inf
    return float(gains.mean() - ERRORS * gains.std(ddof=1) / np.sqrt(len(gains)))
