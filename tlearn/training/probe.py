"""The probe: a regularised logistic regression on kept features, which starts the head."""

import contextlib
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, log_loss
from sklearn.model_selection import StratifiedGroupKFold
from threadpoolctl import threadpool_limits

from tlearn.errors import BackboneError

STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)  # inverse regularisation, scikit-learn's C
FIRST = 2  # where the search begins: right for most photo sets
FOLDS = 5
SAMPLE = 4000  # images the strength is chosen on, at most: more would not change the choice
SMALL = 10_000_000  # numbers in a matrix below which one thread is fastest


@dataclass(frozen=True)
class Probe:
    """A fitted probe: ``logits = (x - mean) / scale @ kernel + bias``.

    Attributes:
        mean: Feature means, ``(d,)``.
        scale: Feature standard deviations, ``(d,)``.
        kernel: ``(d, classes)``.
        bias: ``(classes,)``.
        strength: The inverse regularisation chosen.
        accuracy: Cross-validated on the training images.
        log_loss: Likewise.
    """

    mean: np.ndarray
    scale: np.ndarray
    kernel: np.ndarray
    bias: np.ndarray
    strength: float
    accuracy: float
    log_loss: float

    def logits(self, features: np.ndarray) -> np.ndarray:
        """Return the logits ``(n, classes)`` of features ``(n, d)``."""
        return np.asarray((features - self.mean) / self.scale @ self.kernel + self.bias)


@dataclass(frozen=True)
class CrossValidated:
    """What regressions say of images that they were not fitted on.

    Attributes:
        strength: The inverse regularisation with the least log loss.
        accuracy: The part of the images that is told right.
        log_loss: In nats; infinite if there were too few images to set any aside.
        positions: The images counted, in ascending order.
        guesses: The class each is taken for.
    """

    strength: float
    accuracy: float
    log_loss: float
    positions: np.ndarray
    guesses: np.ndarray


def sample(y: np.ndarray, most: int, seed: int) -> np.ndarray:
    """Return positions of at most ``most`` images, sorted, each class in its proportion.

    No class is left out: the first image of each comes before the second of any.

    Args:
        y: Class indices.
        most: How many, unless there are more classes.
        seed: Decides which.
    """
    rng = np.random.default_rng(seed)
    turns = np.zeros(len(y))
    for c, count in enumerate(np.bincount(y)):
        turns[y == c] = rng.permutation(count) / max(1, count)
    most = max(most, len(np.unique(y)))
    return np.sort(np.argsort(turns, kind="stable")[:most])


def fit_probe(
    features: np.ndarray,
    y: np.ndarray,
    groups: Sequence[str],
    class_weights: Mapping[int, float],
    seed: int,
) -> Probe:
    """Fit the probe, its strength chosen by cross-validation on the training images' plain views.

    The penalised regression does not care for rotations, so it is fitted in the coordinates of the
    samples' own span: as many as there are samples rather than features, and the same solution.

    Args:
        features: ``(n, views, d)``, the plain view first.
        y: Class indices of the ``n`` images.
        groups: For each image, what must stay in one fold: its content or group.
        class_weights: Weight of each class.
        seed: Decides the folds.
    """
    n, views, d = features.shape
    mean, scale, flat = _standardised(features.reshape(n * views, d))
    z, lifted = _span(flat)
    with _quick_and_quiet(z):
        plain = _span(flat[::views])[0]  # half as many dimensions for two views, a quarter the time
        chosen = _choose(plain, y, groups, class_weights, seed)
        model = _regression(chosen.strength, class_weights).fit(z, np.repeat(y, views))
    kernel, bias = model.coef_.T, model.intercept_
    if kernel.shape[1] == 1:  # two classes: one column of log odds
        kernel = np.concatenate([-kernel / 2, kernel / 2], axis=1)
        bias = np.concatenate([-bias / 2, bias / 2])
    found = (chosen.strength, chosen.accuracy, chosen.log_loss)
    return Probe(mean, scale, lifted(kernel), bias, *found)


def cross_validate(
    features: np.ndarray,
    y: np.ndarray,
    groups: Sequence[str],
    class_weights: Mapping[int, float],
    seed: int,
) -> CrossValidated:
    """Tell how well a probe does on images that it was not fitted on.

    The strength is chosen on the same folds. Of six strengths, by log loss, that flatters the
    accuracy by less than its noise.

    Args:
        features: ``(n, d)``.
        y: Class indices of the ``n`` images.
        groups: For each image, what must stay in one fold: its content or group.
        class_weights: Weight of each class.
        seed: Decides the folds.
    """
    z = _span(_standardised(features)[2])[0]
    with _quick_and_quiet(z):
        return _choose(z, y, groups, class_weights, seed)


def _standardised(x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the columns' means and deviations, and the rows standardised by them."""
    mean = x.mean(axis=0)
    scale = x.std(axis=0)
    if not np.isfinite(scale).all():
        raise BackboneError(
            "the backbone gives numbers that are not finite: its weights are damaged, or were made "
            "for another; give others with --weights"
        )
    scale[scale < 1e-6 * max(1.0, float(scale.max()))] = 1.0
    return mean, scale, (x - mean) / scale


@contextlib.contextmanager
def _quick_and_quiet(z: np.ndarray) -> Iterator[None]:
    # Of small problems there are many: threads that wait for each other made them 20 times slower.
    with threadpool_limits(1 if z.size < SMALL else None), warnings.catch_warnings():
        # A strength too weak to converge in time loses the comparison; it need not be announced.
        warnings.simplefilter("ignore", ConvergenceWarning)
        yield


def _span(x: np.ndarray) -> tuple[np.ndarray, Callable[[np.ndarray], np.ndarray]]:
    """Return the rows of x in the space that they span, and what lifts weights from there.

    A regression with a quadratic penalty has its weights in that space, which for few images is
    much smaller than the features'.

    Returns:
        ``z``, ``(n, r)``, with the inner products of x, and a function from weights ``(r, c)`` on z
        to weights ``(d, c)`` on x.
    """
    n, d = x.shape
    if n >= d or not x.any():  # or features that are the same for every image
        return x, lambda weights: weights
    values, vectors = np.linalg.eigh((x @ x.T).astype(np.float64))
    kept = values > values[-1] * 1e-9
    roots = np.sqrt(values[kept])
    rotation = (vectors[:, kept] / roots).astype(x.dtype)
    return (vectors[:, kept] * roots).astype(x.dtype), lambda weights: x.T @ (rotation @ weights)


def _choose(
    z: np.ndarray,
    y: np.ndarray,
    groups: Sequence[str],
    class_weights: Mapping[int, float],
    seed: int,
) -> CrossValidated:
    """Choose the strength with the least log loss.

    The loss has one valley over the strength: the search walks from the usual one downhill. With
    too few images to set any aside it stays there.
    """
    parts = _folds(y, groups, seed)
    if not parts:
        nothing = np.zeros(0, np.int64)
        return CrossValidated(STRENGTHS[FIRST], 0.0, np.inf, nothing, nothing)
    seen = np.sort(np.concatenate([outside for _, outside in parts]))
    scores: dict[int, CrossValidated] = {}

    def score(i: int) -> CrossValidated:
        if i not in scores:
            found = _cross_validated(z, y, parts, STRENGTHS[i], class_weights)[seen]
            guesses = found.argmax(axis=1)
            accuracy = float(accuracy_score(y[seen], guesses))
            loss = float(log_loss(y[seen], found, labels=np.arange(found.shape[1])))
            scores[i] = CrossValidated(STRENGTHS[i], accuracy, loss, seen, guesses)
        return scores[i]

    def better(i: int, than: int) -> bool:
        return score(i).log_loss < score(than).log_loss

    best = FIRST
    for step in (1, -1):
        while 0 <= best + step < len(STRENGTHS) and better(best + step, best):
            best += step
    return score(best)


def _folds(y: np.ndarray, groups: Sequence[str], seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return ``(inside, outside)`` positions of each fold, over a sample where there are many."""
    counts = np.bincount(y)
    number = min(FOLDS, int(counts.max()), len(set(groups)))
    if number < 2:
        return []
    splitter = StratifiedGroupKFold(number, shuffle=True, random_state=seed)
    some = np.arange(len(y))
    if len(y) > SAMPLE:
        some = np.sort(np.random.default_rng(seed).choice(len(y), SAMPLE, replace=False))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a class with fewer images than folds
        parts = splitter.split(some, y[some], np.asarray(groups)[some])
        return [(some[i], some[o]) for i, o in parts if len(o) and len(np.unique(y[some[i]])) > 1]


def _cross_validated(
    z: np.ndarray,
    y: np.ndarray,
    parts: Sequence[tuple[np.ndarray, np.ndarray]],
    strength: float,
    class_weights: Mapping[int, float],
) -> np.ndarray:
    """Return probabilities ``(n, classes)``, each row from a regression that did not see it."""
    classes = int(y.max()) + 1
    probabilities = np.full((len(y), classes), 1 / classes)
    for inside, outside in parts:
        present = np.unique(y[inside])
        weights = {i: class_weights[i] for i in present.tolist()}
        model = _regression(strength, weights).fit(z[inside], y[inside])
        answer = np.zeros((len(outside), classes))
        answer[:, model.classes_] = model.predict_proba(z[outside])
        probabilities[outside] = answer
    return np.asarray(probabilities / probabilities.sum(axis=1, keepdims=True))


def _regression(strength: float, class_weights: Mapping[int, float]) -> LogisticRegression:
    return LogisticRegression(C=strength, class_weight=dict(class_weights), max_iter=200, tol=1e-3)
