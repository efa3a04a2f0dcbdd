"""Suspect labels: photos whose class a cross-validated probe does not believe.

The probabilities of a probe that was not fitted on a photo are explained by a share of labels that
are wrong: a label is right with probability ``1 - rate``, else any of the other classes. The rate,
and the temperature that makes the probabilities honest beside it, are those of the greatest
likelihood; Bayes' rule then gives for each photo the probability that its label is wrong. Wrong
labels would teach the probe to be unsure: first it is fitted to all photos, then to those whose
labels it believes, then to all but the suspects.

Of flowers with 5 % of the labels swapped (eight draws), 0.82 of the suspects were swapped and 0.78
of the swapped were suspect; by the pruning of confident learning (Northcutt et al., JAIR 2021; its
package ``cleanlab``, ``filter_by="both"``) from cross-validated probabilities of the same probe,
0.76 and 0.73. It has no parameter for a probe that is too sure or not sure enough.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

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
FEW = 3  # groups of photos of a class below which its labels are not judged
RATES = np.array([0.0, *np.geomspace(0.001, 0.4, 28)])
LEAST = -50.0  # logit of a class that no image was seen of
TEMPERATURES = np.exp(np.linspace(-3.0, 1.5, 46))


@dataclass(frozen=True)
class LabelNoise:
    """How far the labels of ``n`` photos can be believed.

    Attributes:
        probabilities: Of each class, from regressions that did not see the photo, ``(n, classes)``.
        wrong: The probability that the photo's label is wrong, ``(n,)``; 0 for classes with too few
            photos to be judged.
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
            use = logits.argmax(axis=1) == y
            continue
        seen = judged & np.isfinite(logits[each, y])
        temperature, rate = _fit(logits[seen], y[seen])
        p = probabilities(np.maximum(logits / temperature, LEAST))
        wrong = np.where(seen, _wrong(p[each, y], rate, classes), 0.0)
        use = wrong <= SUSPECT
    advance(FITS - ROUNDS * len(seeds) * FOLDS)
    return LabelNoise(p, wrong, rate)


def _in_large_classes(y: np.ndarray, classes: int, groups: Sequence[str]) -> np.ndarray:
    """Return whether the class of each photo has enough groups to be judged."""
    pairs = {*zip(groups, y.tolist(), strict=True)}
    number = np.bincount([label for _, label in pairs], minlength=classes)
    return np.asarray(number[y] >= FEW)


def _wrong(p: np.ndarray, rate: float, classes: int) -> np.ndarray:
    """Return the probability that labels are wrong, by the probability of their classes."""
    by_chance = rate / (classes - 1) * (1 - p)
    return np.asarray(by_chance / np.maximum(by_chance + (1 - rate) * p, EPSILON))


def _fit(logits: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Return the temperature and the rate of wrong labels that explain labels best.

    A normal prior on the temperature's logarithm keeps few photos from moving it far.
    """
    classes, best = logits.shape[1], (np.inf, 1.0, 0.0)
    for temperature in TEMPERATURES:
        p = probabilities(np.maximum(logits / temperature, LEAST))[np.arange(len(y)), y, None]
        given = (1 - RATES) * p + RATES / (classes - 1) * (1 - p)  # of each label, by rate
        losses = -np.log(np.maximum(given, EPSILON)).sum(axis=0) + np.log(temperature) ** 2 / 2
        i = int(losses.argmin())
        best = min(best, (float(losses[i]), float(temperature), float(RATES[i])))
    return best[1], best[2]
