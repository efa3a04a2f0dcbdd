"""How well each class is recognised, with intervals; which classes are confused."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np

from tlearn.runs.measurement import Figures, confused_pairs, interval
from tlearn.text import percent

Pair = tuple[float, float]
ORDERED = 300  # classes up to which leaves of the tree are turned; it takes n^3 steps and more


@dataclass(frozen=True)
class Share:
    """A share from 0 to 1 with its 95% interval."""

    value: float
    ci95: Pair

    @property
    def text(self) -> str:
        """It, for people."""
        return f"{percent(self.value)} ({percent(self.ci95[0])} to {percent(self.ci95[1])})"


@dataclass(frozen=True)
class ClassFigures:
    """How well a class is recognised.

    Attributes:
        label: The class.
        images: How many images of it were measured on.
        guesses: How many images were predicted as it.
        right: How many of both.
        precision: Right among the guesses; ``None`` where it was never predicted.
        recall: Right among its images; ``None`` without images.
        f1: The harmonic mean of both; ``None`` without images.
    """

    label: str
    images: int
    guesses: int
    right: int
    precision: Share | None
    recall: Share | None
    f1: Share | None


def class_figures(figures: Figures) -> list[ClassFigures]:
    """Return how well each class of one split of ``metrics.json`` is recognised."""
    guesses: Counter[str] = Counter()
    for row in figures["confusion"].values():
        guesses.update(row)
    return [_of_class(label, figures, guesses[label]) for label in figures["per_class"]]


def _of_class(label: str, figures: Figures, guesses: int) -> ClassFigures:
    images: int = figures["per_class"][label]["n"]
    right: int = figures["confusion"][label].get(label, 0)
    return ClassFigures(
        label,
        images,
        guesses,
        right,
        precision=share_of(right, guesses),
        recall=share_of(right, images),
        f1=f1_share(right, images, guesses) if images else None,
    )


def share_of(right: int, n: int) -> Share | None:
    """Return a share of ``n`` with the interval of Wilson (1927)."""
    return Share(right / n, _pair(interval(right / n, n))) if n else None


def f1_share(right: int, images: int, guesses: int) -> Share:
    """Return F1 with an interval.

    Of the images that are of the class or predicted as it, those that are both are the share
    ``J``, the index of Jaccard, and ``F1 = 2 J / (1 + J)``. So many of so many are a binomial
    count, hence the interval of Wilson (1927) for ``J``, carried over by that rising function.

    Args:
        right: How many images of the class were predicted as it.
        images: How many there are, at least 1.
        guesses: How many were predicted as it.
    """
    either = images + guesses - right
    low, high = (2 * end / (1 + end) for end in interval(right / either, either))
    return Share(2 * right / (images + guesses), (low, high))


def _pair(ends: list[Any]) -> Pair:
    return float(ends[0]), float(ends[1])


def class_order(figures: Figures) -> list[int]:
    """Return the classes in an order in which those that are confused are neighbours.

    The leaves of a tree of average linkage over how often two classes are taken for each other,
    turned so that neighbours are as near as the tree allows (Bar-Joseph et al., 2001). Without
    confusions it is the order there is.
    """
    labels = list(figures["per_class"])
    numbers = {label: k for k, label in enumerate(labels)}
    shares = np.zeros((len(labels), len(labels)))
    for true, other, count in confused_pairs(figures):
        shares[numbers[true], numbers[other]] += count / figures["per_class"][true]["n"]
    if len(labels) < 3 or not shares.any():
        return list(range(len(labels)))
    from scipy.cluster.hierarchy import leaves_list, linkage, optimal_leaf_ordering
    from scipy.spatial.distance import squareform

    both = shares + shares.T
    distances = squareform(both.max() - both, checks=False)
    tree = linkage(distances, "average")
    if len(labels) <= ORDERED:
        tree = optimal_leaf_ordering(tree, distances)
    order: list[int] = leaves_list(tree).tolist()
    return order
