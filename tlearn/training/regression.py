"""The regression a probe is: multinomial logistic, with a quadratic penalty."""

from collections.abc import Callable, Sequence

import numpy as np
from scipy.optimize import minimize
from scipy.special import softmax

TOLERANCE = 1e-5  # the relative gain in the loss of a step below which a fit ends
STEPS = 100  # of a fit, at most
TYPICAL_STEPS = 50
REMEMBERED = 5  # steps that the curvature is estimated from; with ten it takes as many
BLOCK = 4_000_000  # numbers that are worked on at a time
EPSILON = float(np.finfo(np.float64).eps)  # the smallest probability that is counted
Weights = tuple[np.ndarray, np.ndarray]  # kernel (r, classes) and bias (classes,)


def fit(
    x: np.ndarray,
    y: np.ndarray,
    strength: float,
    class_weights: Sequence[float],
    advance: Callable[[int], object] = lambda n: None,
    given: np.ndarray | None = None,
) -> Weights:
    """Fit logits ``x @ kernel + bias`` of all classes, minus infinity for those without images.

    The weighted log losses times ``strength``, and half the squares of the kernel, have the least
    sum. L-BFGS (Liu and Nocedal, 1989) finds it; each of its steps goes once over the rows, block
    by block, so that it takes no memory to speak of beside them.

    Args:
        x: ``(n, r)``, of any floating-point type; computed with as float32.
        y: Class indices, ``(n,)``; there may be none.
        strength: The inverse regularisation, as scikit-learn's ``C``.
        class_weights: Weight of each class.
        advance: Called with how many of ``STEPS`` are done; those saved count, too.
        given: Logits ``(n, classes)`` that are there already: what is fitted is added to them.
    """
    parameters = np.zeros((x.shape[1] + 1, len(class_weights)), np.float32)
    parameters[-1] = -np.inf
    if not len(y):
        return parameters[:-1], parameters[-1]
    present, targets = np.unique(y, return_inverse=True)
    weights = np.asarray(class_weights, np.float32)[y]
    total, shape = float(weights.sum()), (x.shape[1] + 1, len(present))
    given = None if given is None else given[:, present].astype(np.float32)

    def objective(flat: np.ndarray) -> tuple[float, np.ndarray]:
        parameters = flat.reshape(shape).astype(np.float32)
        loss, gradient = _loss(x, targets, weights, parameters, given)
        kernel = parameters[:-1]
        loss += float(np.vdot(kernel, kernel)) / (2 * strength)
        gradient[:-1] += kernel / np.float32(strength)
        return loss / total, gradient.ravel() / total

    options = {"maxiter": STEPS, "maxcor": REMEMBERED, "ftol": TOLERANCE, "gtol": 0.0}
    start = np.zeros(shape[0] * shape[1])
    result = minimize(
        objective,
        start,
        jac=True,
        method="L-BFGS-B",
        options=options,
        callback=lambda parameters: advance(1),
    )
    advance(STEPS - result.nit)
    parameters[:, present] = result.x.reshape(shape)
    return parameters[:-1], parameters[-1]


def _loss(
    x: np.ndarray,
    y: np.ndarray,
    weights: np.ndarray,
    parameters: np.ndarray,
    given: np.ndarray | None,
) -> tuple[float, np.ndarray]:
    """Return the weighted log loss of all rows and its gradient by kernel and, last, bias."""
    rows = max(1, BLOCK // max(x.shape[1], parameters.shape[1]))
    loss, gradient = 0.0, np.zeros(parameters.shape)
    for start in range(0, len(x), rows):
        part = slice(start, start + rows)
        block, w = x[part].astype(np.float32, copy=False), weights[part]
        right = np.arange(len(block)), y[part]
        scores = block @ parameters[:-1] + parameters[-1]
        if given is not None:
            scores += given[part]
        scores -= scores.max(axis=1, keepdims=True)
        of_right = scores[right]
        sums = np.exp(scores, out=scores).sum(axis=1)
        loss += float(w @ (np.log(sums) - of_right))
        scores *= (w / sums)[:, None]  # now the loss's gradient by the scores
        scores[right] -= w
        gradient[:-1] += block.T @ scores
        gradient[-1] += scores.sum(axis=0)
    return loss, gradient


def probabilities(logits: np.ndarray) -> np.ndarray:
    """Return the softmax of logits ``(n, classes)`` in float64."""
    return np.asarray(softmax(logits.astype(np.float64), axis=1))


def log_loss(y: np.ndarray, p: np.ndarray) -> float:
    """Return the mean log loss of probabilities ``(n, classes)``, in nats."""
    return float(-np.log(np.clip(p[np.arange(len(y)), y], EPSILON, 1 - EPSILON)).mean())


def flops(n: int, r: int, classes: int) -> float:
    """Return about how many floating-point operations a fit to ``(n, r)`` takes."""
    return TYPICAL_STEPS * 4.0 * n * r * classes
