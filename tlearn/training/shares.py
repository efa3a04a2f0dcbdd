"""How much each network of a training counts in the saved model, and what that predicts."""

from collections.abc import Callable, Sequence

import numpy as np

from tlearn.training.regression import EPSILON, probabilities

PRIOR = 3.0  # images that each network is taken to have predicted best before any is looked at
Fit = Callable[[np.ndarray, Sequence[np.ndarray]], np.ndarray]  # shares from y and logits
LEAST = 0.1  # of the largest share: a network with less is left out, as it would only take time
STEPS, TOLERANCE = 1000, 1e-6  # of the search for the shares


def equal_shares(y: np.ndarray, members: Sequence[np.ndarray]) -> np.ndarray:
    """Return the same share for each network; see :func:`shares_of`."""
    return np.full(len(members), 1 / len(members))


def cross_fitted(
    y: np.ndarray,
    members: Sequence[np.ndarray],
    right: np.ndarray,
    folds: np.ndarray,
    fit: Fit,
) -> tuple[np.ndarray, np.ndarray]:
    """Return whether an average and the best network alone are right about each image, ``(n,)``.

    For each fold the shares are fitted on the other folds, and the best network is that which is
    right most often there: neither has seen the images that it is measured on. What is fitted and
    measured on the same images flatters either (Stone, Cross-validatory choice and assessment of
    statistical predictions, 1974).

    Args:
        y: Class indices, ``(n,)``.
        members: The logits of each network, ``(n, classes)``.
        right: Whether each network alone is right, ``(networks, n)``.
        folds: The fold of each image.
        fit: Gives the shares, as :func:`shares_of`.
    """
    average, best = np.zeros(len(y), bool), np.zeros(len(y), bool)
    for fold in np.unique(folds):
        here = folds == fold
        shares = fit(y[~here], [logits[~here] for logits in members])
        p = mean_probabilities([logits[here] for logits in members], shares.tolist())
        average[here] = p.argmax(axis=1) == y[here]
        best[here] = right[best_of(y[~here], [m[~here] for m in members], right[:, ~here])][here]
    return average, best


def best_of(y: np.ndarray, members: Sequence[np.ndarray], right: np.ndarray) -> int:
    """Return which network is right most often; of equals, the one with the least log loss.

    Args:
        y: Class indices, ``(n,)``.
        members: The logits of each network, ``(n, classes)``.
        right: Whether each network alone is right, ``(networks, n)``.
    """
    rows = np.arange(len(y))
    losses = [-np.log(probabilities(m)[rows, y] + EPSILON).sum() for m in members]
    return int(np.lexsort((losses, -right.sum(axis=1)))[0])


def mean_probabilities(
    members: Sequence[np.ndarray], shares: Sequence[float], temperature: float = 1.0
) -> np.ndarray:
    """Return the weighted mean of the probabilities that the logits ``(n, classes)`` give."""
    each = [probabilities(logits / temperature) for logits in members]
    return np.asarray(np.average(each, axis=0, weights=shares))


def shares_of(y: np.ndarray, members: Sequence[np.ndarray]) -> np.ndarray:
    """Return the weights with which the probabilities of networks are averaged; their sum is 1.

    They are those by which the classes of images are likeliest that no network was trained on
    (Smyth and Wolpert, Linearly combining density estimators via stacking, Machine Learning, 1999).
    A prior draws them together: a hundred images tell little of networks that are about as good,
    but much of one that does harm. On five photo sets this was as good as equal weights, which a
    network that is sure of what is wrong would spoil, and a point better than the network that is
    best on validation. They are found by expectation maximisation.

    Args:
        y: Class indices, ``(n,)``.
        members: The logits of each network, ``(n, classes)``.
    """
    likelihoods = [probabilities(logits)[np.arange(len(y)), y] for logits in members]
    of_label = np.array(likelihoods) + EPSILON
    shares = np.full(len(members), 1 / len(members))
    for _ in range(STEPS):
        parts = shares[:, None] * of_label
        counts = (parts / parts.sum(axis=0)).sum(axis=1) + PRIOR
        before, shares = shares, counts / counts.sum()
        if np.abs(shares - before).max() < TOLERANCE:
            break
    shares[shares < LEAST * shares.max()] = 0.0
    return np.asarray(shares / shares.sum())
