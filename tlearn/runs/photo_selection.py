"""Which of many photos are most worth labelling: those a model is unsure of, unlike each other.

How sure a model is of a photo is the margin between its two likeliest classes (Scheffer, Decomain
and Wrobel, Active hidden Markov models for information extraction, 2001). Of the least sure photos,
a selection as of k-means++ takes those whose gradients in the last layer are far apart (Ash and
others, Deep batch active learning by diverse, uncertain gradient lower bounds, ICLR 2020: BADGE).
"""

import heapq
import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

WIDER = 3  # times as many photos as wanted are those that are chosen from


@dataclass(frozen=True)
class Candidate:
    """A photo without a label.

    Attributes:
        probabilities: What the model gives for it, ``(classes,)``.
        features: What the heads of the model see, ``(k,)``.
    """

    path: Path
    probabilities: np.ndarray
    features: np.ndarray

    @property
    def margin(self) -> float:
        """By how much the likeliest class is likelier than the second, from 0 to 1."""
        second, first = np.partition(self.probabilities, -2)[-2:]
        return float(first - second)


def least_sure(candidates: Iterable[Candidate], most: int) -> list[Candidate]:
    """Return those with the least margins, the least first; no more than ``most`` are in memory."""
    count = itertools.count()  # of equals the first ones stay
    heap: list[tuple[float, int, Candidate]] = []
    for candidate in candidates:
        entry = (-candidate.margin, -next(count), candidate)
        if len(heap) < most:
            heapq.heappush(heap, entry)
        else:
            heapq.heappushpop(heap, entry)
    return [candidate for _, _, candidate in sorted(heap, reverse=True)]


def select(candidates: Sequence[Candidate], number: int, seed: int) -> list[Candidate]:
    """Return that many photos, unsure and unlike each other, in the order they were chosen.

    Args:
        candidates: Photos, the least sure first.
        number: How many are wanted.
        seed: Decides the draws.
    """
    pool = candidates[: WIDER * number]
    if len(pool) <= number:
        return list(pool)
    rng = np.random.default_rng(seed)
    # The gradient by the last layer's weights, were the likeliest class right, is the product of
    # these two: it is never written out, which many classes would make large.
    errors = -np.stack([one.probabilities for one in pool]).astype(np.float64)
    errors[np.arange(len(pool)), (-errors).argmax(axis=1)] += 1
    features = np.stack([one.features for one in pool]).astype(np.float64)
    squares = (errors**2).sum(axis=1) * (features**2).sum(axis=1)
    chosen, last = [0], 0
    distances = np.full(len(pool), np.inf)
    while len(chosen) < number:
        products = (errors @ errors[last]) * (features @ features[last])
        squared = np.maximum(0.0, squares + squares[last] - 2 * products)
        squared[chosen] = 0.0
        distances = np.minimum(distances, squared)
        if not distances.any():  # all others are like those chosen
            others = np.setdiff1d(np.arange(len(pool)), chosen)
            chosen += others[: number - len(chosen)].tolist()
            break
        last = int(rng.choice(len(pool), p=distances / distances.sum()))
        chosen.append(last)
    return [pool[i] for i in chosen]
