"""Growing subsets of the training photos, and how often probes fitted to them are wrong."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from tlearn.config import RunConfig
from tlearn.data.file_table import FileTable
from tlearn.data.splits import Splits
from tlearn.errors import DataError
from tlearn.progress import Progress
from tlearn.runs.measurement import class_numbers
from tlearn.training.folds import assign_folds
from tlearn.training.probe import fit_probe

SHARES = (0.1, 0.2, 0.35, 0.5, 0.75, 1.0)  # of the training photos
FEWEST = 4  # shares: a curve through fewer tells nothing
LEAST = 30  # photos to train on
REPEATS = 3  # subsets of each share, in each fold
MOST_FOLDS = 10
MOST = 8000  # photos: more take minutes, and their curve is flat
NEVER = -1  # the fold of photos that are trained on alone


@dataclass(frozen=True)
class Subsets:
    """Photos, and which of them are held out in turn.

    Attributes:
        files: The photos.
        y: Their class indices.
        groups: For each, the number of what it stays together with, from 0.
        folds: The fold in which each is held out, from 0, or :data:`NEVER`, for each repetition:
            ``(repetitions, photos)``.
        shares: Of the photos that are not held out, rising to 1.
        classes: How many there are.
        seed: Decides the subsets.
    """

    files: FileTable
    y: np.ndarray
    groups: np.ndarray
    folds: np.ndarray
    shares: tuple[float, ...]
    classes: int
    seed: int

    @property
    def measured(self) -> np.ndarray:
        """Whether each photo is held out in any fold."""
        return np.asarray(self.folds[0] != NEVER)

    def known(self, rows: np.ndarray) -> tuple[np.ndarray, list[str], list[float], int]:
        """Return what a probe has to know of photos beside their features."""
        return self.y[rows], self.groups[rows].astype(str).tolist(), [1.0] * self.classes, self.seed

    def parts(self) -> Iterator[tuple[int, np.ndarray, list[np.ndarray]]]:
        """Yield repetition, positions held out, and positions of the subset of each share.

        A subset is in the next one. Groups are in one piece, and of every class there is its part,
        none missing.
        """
        for repetition, folds in enumerate(self.folds):
            for fold in range(int(folds.max()) + 1):
                inside = np.flatnonzero(folds != fold)
                seed = (self.seed, repetition, fold)
                order = inside[order_by_groups(self.y[inside], self.groups[inside], seed)]
                ends = np.flatnonzero(np.diff(self.groups[order], append=-1)) + 1
                wanted = [max(self.classes, round(share * len(order))) for share in self.shares]
                last = ends[np.searchsorted(ends, wanted)]
                yield repetition, np.flatnonzero(folds == fold), [order[:n] for n in last]


def subsets_of(splits: Splits, config: RunConfig) -> Subsets:
    """Return the photos that a learning curve is measured on: those for training and validation.

    Where the data gives a validation split, that is held out, else each photo in its turn.

    Raises:
        DataError: If there are too few photos.
    """
    given = bool(splits.validation.given.are("validation").any())
    files = FileTable.concatenated([splits.train, splits.validation])
    fixed = given & ~files.given.are("validation")
    y = class_numbers(files, splits.labels)
    _, groups = np.unique(files.units(), return_inverse=True)
    if len(files) > MOST:
        chosen = np.sort(order_by_groups(y, groups, (config.seed,))[:MOST])
        files, y, fixed = files[chosen], y[chosen], fixed[chosen]
        _, groups = np.unique(groups[chosen], return_inverse=True)
    number = min(MOST_FOLDS, max(2, round(1 / config.val)), int(groups.max()) + 1)
    folds = np.stack(
        [
            np.where(fixed, NEVER, 0)
            if given
            else assign_folds(y, groups.astype(str).tolist(), number, config.seed + repetition)
            for repetition in range(REPEATS)
        ]
    )
    inside, classes = int((folds[0] != 0).sum()), len(splits.labels)
    shares = tuple(share for share in SHARES if round(share * inside) >= classes)
    if len(shares) < FEWEST or inside < LEAST:
        least = max(LEAST, 1 + int(classes / SHARES[-FEWEST]))
        raise DataError(
            f"a learning curve needs about {least} photos or more to train on, for {classes} "
            f"classes; there are {inside}; add some"
        )
    return Subsets(files, y, groups, folds, shares, classes, config.seed)


def order_by_groups(y: np.ndarray, groups: np.ndarray, seed: Sequence[int]) -> np.ndarray:
    """Return all positions in a random order of which any beginning has its part of each class.

    Images of a group follow each other; the first group of each class comes before the second of
    any.

    Args:
        y: Class indices.
        groups: The numbers of the groups.
        seed: Decides the order.
    """
    rng = np.random.default_rng(seed)
    numbers, members = np.unique(groups, return_inverse=True)
    counts = np.zeros((len(numbers), int(y.max()) + 1))  # images by group and class
    np.add.at(counts, (members, y), 1)
    main, turns = counts.argmax(axis=1), np.zeros(len(numbers))
    for label in np.unique(main):
        of_class = np.flatnonzero(main == label)
        turns[of_class] = rng.permutation(len(of_class)) / len(of_class)
    rank = np.empty(len(numbers), int)
    rank[np.lexsort((rng.random(len(numbers)), turns))] = np.arange(len(numbers))
    return np.argsort(rank[members], kind="stable")


def measure(
    subsets: Subsets, features: np.ndarray, progress: Progress
) -> tuple[np.ndarray, np.ndarray]:
    """Fit a probe to each subset, and count how often it is wrong about what is held out.

    The strength is chosen once for each share.

    Args:
        subsets: The photos.
        features: Theirs, ``(photos, d)``.
        progress: Shows progress.

    Returns:
        The mean number of photos of each share, ``(shares,)``, and whether the probe is wrong about
        each photo that is held out, ``(repetitions, shares, photos)``.
    """
    shares = len(subsets.shares)
    wrong = np.zeros((REPEATS, shares, len(subsets.files)))
    sizes: list[list[int]] = [[] for _ in range(shares)]
    strengths: dict[int, float] = {}
    parts = list(subsets.parts())
    with progress.task("fitting probes", len(parts) * shares, "probes") as task:
        for repetition, outside, nested in parts:
            for share, inside in enumerate(nested):
                known = subsets.known(inside)
                probe = fit_probe(features[inside, None], *known, strength=strengths.get(share))
                strengths.setdefault(share, probe.cross_validation.strength)
                guesses = probe.logits(features[outside]).argmax(axis=1)
                wrong[repetition, share, outside] = guesses != subsets.y[outside]
                sizes[share].append(len(inside))
                task.advance()
    return np.array([np.mean(counts) for counts in sizes]), wrong[..., subsets.measured]
