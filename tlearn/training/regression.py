"""The two regressions a probe can be: logistic for few classes, ridge for many."""

from collections.abc import Sequence

import numpy as np
from scipy.linalg import cho_factor, cho_solve
from scipy.optimize import minimize_scalar
from scipy.special import softmax
from sklearn.linear_model import LogisticRegression

MANY_CLASSES = 100  # above which a logistic regression takes minutes
ITERATIONS = 50  # of a logistic regression, typically
RIDGE = 0.01  # the penalty for each feature at strength 1
STEEPEST = 1e3  # the largest factor from ridge scores to logits
EPSILON = float(np.finfo(np.float64).eps)  # the smallest probability that is counted
Weights = tuple[np.ndarray, np.ndarray]  # kernel (r, classes) and bias (classes,)


def fit(z: np.ndarray, y: np.ndarray, strength: float, class_weights: Sequence[float]) -> Weights:
    """Fit scores ``z @ kernel + bias`` of all classes, in closed form where they are many.

    Scores of a logistic regression are logits, minus infinity for classes without images. Those of
    a ridge regression on one-hot targets (Hoerl and Kennard, 1970) become logits by a factor:
    :func:`scale_of`.

    Args:
        z: ``(n, r)``.
        y: Class indices.
        strength: The inverse regularisation, as scikit-learn's ``C``.
        class_weights: Weight of each class.
    """
    solver = _ridge if len(class_weights) > MANY_CLASSES else _logistic
    return solver(z, y, strength, class_weights)


def scale_of(scores: np.ndarray, y: np.ndarray) -> float:
    """Return the factor that makes logits of scores with the least log loss; 1 for few classes."""
    if scores.shape[1] <= MANY_CLASSES:
        return 1.0
    result = minimize_scalar(
        lambda log_scale: log_loss(y, probabilities(np.exp(log_scale) * scores)),
        bounds=(0.0, np.log(STEEPEST)),
        method="bounded",
        options={"xatol": 0.05},
    )
    return float(np.exp(result.x))


def probabilities(logits: np.ndarray) -> np.ndarray:
    """Return the softmax of logits ``(n, classes)`` in float64."""
    return np.asarray(softmax(logits.astype(np.float64), axis=1))


def log_loss(y: np.ndarray, p: np.ndarray) -> float:
    """Return the mean log loss of probabilities ``(n, classes)``, in nats."""
    return float(-np.log(np.clip(p[np.arange(len(y)), y], EPSILON, 1 - EPSILON)).mean())


def flops(n: int, d: int, classes: int) -> float:
    """Return about how many floating-point operations a fit to ``(n, d)`` takes."""
    r = min(n, d)
    if classes > MANY_CLASSES:
        return 2.0 * n * r * r + r**3 / 3 + 2.0 * (n + r) * r * classes
    return ITERATIONS * 4.0 * n * r * classes


def _logistic(
    z: np.ndarray, y: np.ndarray, strength: float, class_weights: Sequence[float]
) -> Weights:
    present = np.unique(y).tolist()
    weights = {c: class_weights[c] for c in present}
    model = LogisticRegression(C=strength, class_weight=weights, max_iter=200, tol=1e-3).fit(z, y)
    kernel, bias = model.coef_.T, model.intercept_
    if kernel.shape[1] == 1:  # two classes: one column of log odds
        kernel = np.concatenate([-kernel / 2, kernel / 2], axis=1)
        bias = np.concatenate([-bias / 2, bias / 2])
    if len(present) == len(class_weights):
        return kernel, bias
    whole = np.zeros((len(kernel), len(class_weights)), kernel.dtype)
    whole[:, present] = kernel
    biases = np.full(len(class_weights), -np.inf, bias.dtype)
    biases[present] = bias
    return whole, biases


def _ridge(
    z: np.ndarray, y: np.ndarray, strength: float, class_weights: Sequence[float]
) -> Weights:
    weights, targets = np.asarray(class_weights)[y], np.eye(len(class_weights))[y]
    centre = np.average(z, axis=0, weights=weights).astype(np.float64)
    bias = np.average(targets, axis=0, weights=weights)
    roots = np.sqrt(weights)[:, None]
    a, b = roots * (z - centre), roots * (targets - bias)
    gram = a.T @ a
    # The mean square of a row is the number of features, whatever coordinates it is in.
    penalty = RIDGE / strength * np.trace(gram) / len(z)
    gram[np.diag_indices_from(gram)] += max(penalty, EPSILON)
    kernel = cho_solve(cho_factor(gram, overwrite_a=True), a.T @ b)
    return kernel.astype(z.dtype), (bias - centre @ kernel).astype(z.dtype)
