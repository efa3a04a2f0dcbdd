"""Suspect labels: photos whose class a cross-validated probe does not believe.

The probabilities of a probe that was not fitted on a photo are explained by wrong labels: a photo
of one class has the label of another with a probability of that pair, for labels are mostly wrong
between classes that are alike (as in confident learning: Northcutt et al., JAIR 2021). These
probabilities, and the temperature that makes those of the probe honest beside them, are those of
the greatest likelihood, with a prior that draws pairs to the common share of wrong labels; Bayes'
rule then gives for each photo the probability that its label is wrong. Wrong labels would teach the
probe to be unsure: first it is fitted to all photos, then to those whose labels it believes, then
to all but the suspects, but always to most of each class: of a small one that resembles a large one
less would be believed in each round, until all of it is suspect. No label is judged where the first
agrees with them no more than by chance: random labels, too, are such as a probe believes half of.

Of flowers with 5 % of the labels swapped at random, 0.82 of the suspects were swapped and 0.90 of
the swapped were suspect; with 12 % swapped between roses and tulips alone, 0.59 and 0.79. One share
for all pairs of classes finds a third of the latter.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array

from tlearn.runs.measurement import interval
from tlearn.training.cross_validation import (
    FOLDS,
    SAMPLE,
    choose_strength,
    out_of_fold_logits,
)
from tlearn.training.regression import EPSILON, probabilities

ROUNDS = 3  # of cross-validation, each without what the one before does not believe
REPEATS = 2  # with other folds, whose logits are averaged, in each
FITS = ROUNDS * REPEATS * FOLDS
SUSPECT = 0.5  # the probability of a wrong label from which it is suspect
FITTED = 0.7  # of each class at least, what is believed most
MOST_SUSPECT = 0.5  # of a class: beyond, the probe cannot tell it, and its labels are not judged
FEW = 3  # groups of photos of a class below which its labels are not judged
LEAST = -50.0  # logit of a class that no image was seen of
TEMPERATURES = np.exp(np.linspace(-3.0, 1.5, 19))
PRIOR = 60.0  # photos of each class that the shares of its pairs are drawn by to the common share
PASSES = 40  # over the photos, to find the shares of pairs


@dataclass(frozen=True)
class LabelNoise:
    """How far the labels of ``n`` photos can be believed.

    Attributes:
        probabilities: Of each class, from regressions that did not see the photo, ``(n, classes)``.
        wrong: The probability that the photo's label is wrong, ``(n,)``; 0 for classes that cannot
            be judged: too few photos, or not told from another.
        rate: The part of all labels that is estimated to be wrong.
    """

    probabilities: np.ndarray
    wrong: np.ndarray
    rate: float

    def suspects(self) -> np.ndarray:
        """Return the positions of photos whose label is more likely wrong, the surest first."""
        order = np.argsort(-self.wrong, kind="stable")
        return order[self.wrong[order] > SUSPECT]


def label_noise(
    z: np.ndarray,
    y: np.ndarray,
    classes: int,
    groups: Sequence[str],
    seed: int,
    advance: Callable[[int], object] = lambda n: None,
) -> LabelNoise:
    """Estimate which labels are wrong.

    Args:
        z: Features of the photos, ``(n, d)``.
        y: Class indices.
        classes: How many classes there are, 2 at least.
        groups: For each photo, what must stay in one fold: copies do not vouch for each other.
        seed: Decides the folds.
        advance: Called with how many of ``FITS`` are done.
    """
    p, wrong, rate = np.full((len(y), classes), 1 / classes), np.zeros(len(y)), 0.0
    judged = _in_large_classes(y, classes, groups)
    if not judged.any():
        return LabelNoise(p, wrong, rate)
    chosen = choose_strength(z, y, groups, [1.0] * classes, seed).optimum
    strength = chosen * min(1.0, SAMPLE / len(y))  # the same penalty against the mean loss
    seeds = range(seed, seed + (REPEATS if len(y) <= SAMPLE else 1))
    each, use = np.arange(len(y)), np.ones(len(y), bool)
    for turn in range(ROUNDS):
        logits = np.mean(
            [out_of_fold_logits(z, y, classes, groups, strength, s, use, advance) for s in seeds],
            axis=0,
        )
        if not turn:
            guesses = logits.argmax(axis=1)
            if not _beyond_chance(guesses, y, classes):
                p = probabilities(np.maximum(logits, LEAST))
                break
            belief = probabilities(np.maximum(logits, LEAST))[each, y]
            use = _fitted(guesses == y, belief, y)
            continue
        seen = judged & np.isfinite(logits[each, y])
        temperature, given = _fit(logits[seen], y[seen])
        p = probabilities(np.maximum(logits / temperature, LEAST))
        wrong = np.where(seen, 1 - _true(p, y, given)[each, y], 0.0)
        rate, use = float(wrong[seen].mean()), _fitted(wrong <= SUSPECT, 1 - wrong, y)
    for label in range(classes):
        own = y == label
        if own.any() and (wrong[own] > SUSPECT).mean() > MOST_SUSPECT:
            wrong[own] = 0.0
    advance(FITS - ROUNDS * len(seeds) * FOLDS)
    return LabelNoise(p, wrong, rate)


def _beyond_chance(guesses: np.ndarray, y: np.ndarray, classes: int) -> bool:
    """Return whether guesses agree with labels surely more often than by chance (Cohen, 1960)."""
    guessed, labelled = (np.bincount(some, minlength=classes) / len(y) for some in (guesses, y))
    return interval(float((guesses == y).mean()), len(y))[0] > float(guessed @ labelled)


def _fitted(believed: np.ndarray, belief: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return which photos to fit to: those that are believed, and :data:`FITTED` of each class.

    Args:
        believed: Whether the label of each photo is believed, ``(n,)``.
        belief: How much, ``(n,)``.
        y: The labels.
    """
    use = believed.copy()
    for label in np.unique(y):
        own = np.flatnonzero(y == label)
        surest = own[np.argsort(-belief[own], kind="stable")]
        use[surest[: math.ceil(FITTED * len(own))]] = True
    return use


def _in_large_classes(y: np.ndarray, classes: int, groups: Sequence[str]) -> np.ndarray:
    """Return whether the class of each photo has enough groups to be judged."""
    pairs = {*zip(groups, y.tolist(), strict=True)}
    number = np.bincount([label for _, label in pairs], minlength=classes)
    return np.asarray(number[y] >= FEW)


def _true(p: np.ndarray, y: np.ndarray, given: np.ndarray) -> np.ndarray:
    """Return the probability of each true class, ``(n, classes)``, now that labels are known.

    Args:
        p: The probability of each class from the photo alone, ``(n, classes)``.
        y: The labels.
        given: The probability of each label (columns) for each true class (rows).
    """
    joint = p * given.T[y]
    return np.asarray(joint / np.maximum(joint.sum(axis=1, keepdims=True), EPSILON))


def _fit(logits: np.ndarray, y: np.ndarray) -> tuple[float, np.ndarray]:
    """Return the temperature, and the labels given to each true class, that explain labels best.

    A normal prior on the temperature's logarithm keeps few photos from moving it far.
    """
    best, chosen = np.inf, (1.0, np.eye(logits.shape[1]))
    for temperature in TEMPERATURES:
        p = probabilities(np.maximum(logits / temperature, LEAST))
        given = _given(p, y)
        likelihoods = (p * given.T[y]).sum(axis=1)
        loss = -np.log(np.maximum(likelihoods, EPSILON)).sum() + np.log(temperature) ** 2 / 2
        if loss < best:
            best, chosen = loss, (float(temperature), given)
    return chosen


def _given(p: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return how probable each label is for each true class, by expectation maximisation."""
    n, classes = p.shape
    own = np.eye(classes, dtype=bool)
    of_label = csr_array((np.ones(n), (y, np.arange(n))), (classes, n))  # sums rows by label
    given = np.where(own, 0.99, 0.01 / (classes - 1))
    for _ in range(PASSES):
        counts = (of_label @ _true(p, y, given)).T
        share = counts[~own].sum() / n
        counts += PRIOR * np.where(own, 1 - share, share / (classes - 1))
        before, given = given, counts / counts.sum(axis=1, keepdims=True)
        if np.abs(given - before).max() < 1e-5:
            break
    return given
