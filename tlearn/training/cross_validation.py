"""Cross-validation of regressions: what each says of images that it was not fitted on."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from threadpoolctl import threadpool_limits

from tlearn.training import regression
from tlearn.training.folds import assign_folds

STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)  # inverse regularisation, scikit-learn's C
FIRST = 2  # where the search begins: right for most photo sets
FOLDS = 5
SAMPLE = 4000  # images the strength is chosen on, at most: more would not change the choice
SMALL = 100_000_000  # multiplications of a product below which one thread is fastest
STEPS = 4  # strengths that a search looks at, typically


@dataclass(frozen=True)
class CrossValidation:
    """Predictions of regressions for images that they were not fitted on.

    Of six strengths, the best by log loss flatters the accuracy by less than its noise.

    Attributes:
        strength: The inverse regularisation with the least log loss.
        accuracy: The part of the images that is classified right.
        log_loss: In nats; infinite if there were too few images to hold any out.
        positions: The images counted, in ascending order.
        guesses: The predicted class of each.
        optimum: The strength between its neighbours at which the log loss is estimated to be least.
    """

    strength: float
    accuracy: float
    log_loss: float
    positions: np.ndarray
    guesses: np.ndarray
    optimum: float


def few_threads(multiplications: int) -> threadpool_limits:
    """Return a context in which products of so many multiplications take one thread, if small.

    Of small ones there are many: threads that wait for each other made them 20 times slower.
    """
    return threadpool_limits(1 if multiplications < SMALL else None)


def choose_strength(
    z: np.ndarray,
    y: np.ndarray,
    groups: Sequence[str],
    class_weights: Sequence[float],
    seed: int,
    advance: Callable[[int], object] = lambda n: None,
    known: tuple[np.ndarray, np.ndarray] | None = None,
) -> CrossValidation:
    """Choose the strength with the least log loss.

    The loss has one valley over the strength: the search walks from the usual one downhill. With
    too few images to hold any out, it stays there.

    Of a head that it starts from, ``known`` holds the logits, and which images are new to it: only
    those are counted, and where there are none, the strength is the least.
    """
    parts = folds_of(y, groups, seed)
    seen = np.sort(np.concatenate([outside for _, outside in parts])) if parts else np.zeros(0, int)
    given, new = known or (None, np.ones(len(y), bool))
    seen = seen[new[seen]]
    if not len(seen):
        advance(STEPS * FOLDS)
        usual = STRENGTHS[FIRST] if new.any() else STRENGTHS[0]
        return CrossValidation(usual, 0.0, np.inf, seen, seen, usual)
    scores: dict[int, CrossValidation] = {}

    def score(i: int) -> CrossValidation:
        if i not in scores:
            strength = STRENGTHS[i]
            logits = held_out_logits(z, y, parts, strength, class_weights, advance, given)
            held_out = logits[seen]
            guesses = held_out.argmax(axis=1)
            loss = regression.log_loss(y[seen], regression.probabilities(held_out))
            accuracy = float((guesses == y[seen]).mean())
            scores[i] = CrossValidation(strength, accuracy, loss, seen, guesses, strength)
        return scores[i]

    def better(i: int, than: int) -> bool:
        return score(i).log_loss < score(than).log_loss

    best = FIRST
    for step in (1, -1):
        while 0 <= best + step < len(STRENGTHS) and better(best + step, best):
            best += step
    advance(max(0, STEPS * FOLDS - len(scores) * len(parts)))  # the search was short
    losses = [score(i).log_loss for i in (best - 1, best, best + 1) if i in scores]
    return replace(score(best), optimum=STRENGTHS[best] * 10 ** _lowest(losses))


def _lowest(losses: Sequence[float]) -> float:
    """Return where a parabola through three losses at -1, 0 and 1 is lowest; 0 if there are less.

    The middle one is the least of them, so it is no farther than half a step from there.
    """
    if len(losses) < 3:
        return 0.0
    before, least, after = losses
    return (before - after) / max(2 * (before + after - 2 * least), regression.EPSILON)


def out_of_fold_logits(
    z: np.ndarray,
    y: np.ndarray,
    classes: int,
    groups: Sequence[str],
    strength: float,
    seed: int,
    use: np.ndarray | None = None,
    advance: Callable[[int], object] = lambda n: None,
) -> np.ndarray:
    """Return logits ``(n, classes)`` of every image, from regressions that did not see its group.

    Minus infinity stands for classes that a regression had no image of.

    Args:
        z: Features, ``(n, d)``.
        y: Class indices.
        classes: How many classes there are.
        groups: For each image, what must stay in one fold: copies do not vouch for each other.
        strength: The inverse regularisation, for as many images as there are.
        seed: Decides the folds.
        use: Which images the regressions are fitted on, ``(n,)``; all if not given.
        advance: Called with 1 after each of at most ``FOLDS`` regressions.

    Raises:
        ValueError: If all images are of one group.
    """
    number = min(FOLDS, len(set(groups)))
    if number < 2:
        raise ValueError("images of one group alone cannot be held out")
    fold = assign_folds(y, groups, number, seed)
    inside = np.ones(len(y), bool) if use is None else use
    parts = [
        (np.flatnonzero((fold != k) & inside), np.flatnonzero(fold == k)) for k in range(number)
    ]
    return held_out_logits(z, y, parts, strength, [1.0] * classes, advance)


def folds_of(
    y: np.ndarray, groups: Sequence[str], seed: int
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return ``(inside, outside)`` positions of each fold, over a sample where there are many."""
    counts = np.bincount(y)
    number = min(FOLDS, int(counts.max()), len(set(groups)))
    if number < 2:
        return []
    positions = np.arange(len(y))
    if len(y) > SAMPLE:
        positions = np.sort(np.random.default_rng(seed).choice(len(y), SAMPLE, replace=False))
    fold = assign_folds(y[positions], np.asarray(groups)[positions].tolist(), number, seed)
    parts = [(positions[fold != k], positions[fold == k]) for k in range(number)]
    return [(i, o) for i, o in parts if len(o) and len(np.unique(y[i])) > 1]


def held_out_logits(
    z: np.ndarray,
    y: np.ndarray,
    parts: Sequence[tuple[np.ndarray, np.ndarray]],
    strength: float,
    class_weights: Sequence[float],
    advance: Callable[[int], object] = lambda n: None,
    given: np.ndarray | None = None,
) -> np.ndarray:
    """Return scores ``(n, classes)``, each row from a regression that did not see it."""
    scores = np.zeros((len(y), len(class_weights))) if given is None else given.astype(np.float64)
    for inside, outside in parts:
        before = None if given is None else given[inside]
        kernel, bias = regression.fit(z[inside], y[inside], strength, class_weights, given=before)
        scores[outside] += z[outside] @ kernel + bias
        advance(1)
    return scores
