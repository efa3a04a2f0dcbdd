"""Which images are held back: drawn by hashes of contents and groups, near a target per class."""

import hashlib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from tlearn.data.file_table import FileTable
from tlearn.data.layouts import SPLITS, Split

FEW = 30  # images of a split: below, every class gets one, whatever the fraction
MOST = 1.5  # times the requested fraction, which a split may reach so that every class has one


def draw(pool: FileTable, fractions: Mapping[Split, float], seed: int) -> np.ndarray:
    """Choose validation from the units with the lowest draws, then test from the highest.

    Returns:
        The split of each file as its position among :data:`SPLITS`, ``(n,)``.
    """
    unit_of = _units(pool, seed)
    units = _Units.of(unit_of, pool.labels.numbers)
    totals = pool.labels.counts()
    number_of = {label: number for number, label in enumerate(pool.labels.texts)}
    split_of = np.full(len(units.starts) - 1, SPLITS.index("train"), np.int8)
    wanted = [split for split, fraction in fractions.items() if fraction]
    for split in wanted:
        order = np.flatnonzero(split_of == SPLITS.index("train"))
        if split == "test":
            order = order[::-1]
        by_text = _targets(totals, fractions[split], f"{seed}:{split}")
        targets = {number_of[label]: n for label, n in by_text.items()}
        later = len(wanted) - wanted.index(split)  # splits: training, and perhaps test
        split_of[_choose(units, order, targets, later)] = SPLITS.index(split)
    return np.asarray(split_of[unit_of])


def _targets(totals: Mapping[str, int], fraction: float, seed: str) -> dict[str, int]:
    """Return the number of images of each class in a split, rounded at random."""
    least = 1 if reaches_all(totals, fraction) else 0
    rounding = _numbers(f"{seed}:{label}" for label in totals)
    return {
        label: max(least, math.floor(fraction * total + number))
        for (label, total), number in zip(totals.items(), rounding.tolist(), strict=True)
    }


def reaches_all(totals: Mapping[str, int], fraction: float) -> bool:
    """Return whether each class gets an image of a split: not if that makes it too large."""
    requested = fraction * sum(totals.values())
    return requested < FEW or len(totals) <= MOST * requested


@dataclass(frozen=True)
class _Units:
    """How many images of which classes each unit has.

    Attributes:
        starts: Where the classes of each unit begin in the others, and where the last one's end.
        classes: Their numbers.
        counts: The images of each.
    """

    starts: np.ndarray
    classes: np.ndarray
    counts: np.ndarray

    @classmethod
    def of(cls, unit_of: np.ndarray, class_of: np.ndarray) -> "_Units":
        """Count the classes of units, which are numbered from 0."""
        width = int(class_of.max(initial=0)) + 1
        pairs, counts = np.unique(unit_of * width + class_of, return_counts=True)
        units = int(unit_of.max(initial=-1)) + 1
        starts = np.searchsorted(pairs, np.arange(units + 1) * width)
        return cls(starts, pairs % width, counts)

    def sizes(self, unit: int) -> list[tuple[int, int]]:
        """Return the classes of a unit with their images."""
        part = slice(self.starts[unit], self.starts[unit + 1])
        return list(zip(self.classes[part].tolist(), self.counts[part].tolist(), strict=True))

    def with_class(self, number: int) -> np.ndarray:
        """Return the units that have a class."""
        return np.searchsorted(self.starts, np.flatnonzero(self.classes == number), "right") - 1


def _choose(units: _Units, order: np.ndarray, targets: Mapping[int, int], later: int) -> list[int]:
    """Return the first units that bring every class near its target.

    Args:
        units: All units.
        order: Those that can be chosen.
        targets: Images wanted per class.
        later: Units of each class to reserve for the later splits, if it has as many.
    """
    possible = np.zeros(len(units.starts) - 1, bool)
    possible[order] = True
    classes = units.classes[np.repeat(possible, np.diff(units.starts))]
    free = np.bincount(classes, minlength=max(targets, default=0) + 1).tolist()
    spare = [min(later, max(1, n - 1)) for n in free]
    missing = dict(targets)
    wanting = sum(target > 0 for target in targets.values())
    chosen: dict[int, None] = {}

    def overshoot(sizes: list[tuple[int, int]]) -> int:
        return sum(max(0, n - max(0, missing[k])) for k, n in sizes)

    def allowed(sizes: list[tuple[int, int]]) -> bool:
        return all(free[k] > spare[k] for k, _ in sizes)

    def take(unit: int, sizes: list[tuple[int, int]]) -> int:
        """Choose a unit; return of how many classes nothing is missing any more."""
        chosen[unit] = None
        reached = sum(0 < missing[k] <= n for k, n in sizes)
        for k, n in sizes:
            missing[k] -= n
            free[k] -= 1
        return reached

    for unit in order:
        if not wanting:
            break
        sizes = units.sizes(unit)
        if overshoot(sizes) < sum(n for _, n in sizes) / 2 and allowed(sizes):
            wanting -= take(int(unit), sizes)
    for k, target in targets.items():
        if target and missing[k] == target:  # units too large, such as big groups
            mine = order[np.isin(order, units.with_class(k))].tolist()
            rest = [(unit, units.sizes(unit)) for unit in mine if unit not in chosen]
            rest = [(unit, sizes) for unit, sizes in rest if allowed(sizes)]
            if rest:
                take(*min(rest, key=lambda pair: overshoot(pair[1])))
    return list(chosen)


def _units(pool: FileTable, seed: int) -> np.ndarray:
    """Join files of one content or one group; return the number of each file's unit.

    The units are numbered in the order of their draws.
    """
    contents, groups = pool.content_numbers(), pool.groups
    unit_of, names = contents, contents  # the number of what names each file's unit
    grouped = ~groups.are("")
    if grouped.any():
        from scipy.sparse import coo_array
        from scipy.sparse.csgraph import connected_components

        first = int(contents.max()) + 1  # number of a group's name
        names = np.where(grouped, first + groups.numbers, contents)
        n = first + len(groups.texts)
        edges = (contents[grouped], names[grouped])
        graph = coo_array((np.ones(len(edges[0]), bool), edges), (n, n))
        _, units = connected_components(graph, directed=False)
        _, unit_of = np.unique(units[names], return_inverse=True)
    _, first_of, name_of = np.unique(names, return_index=True, return_inverse=True)
    draws = _numbers(f"{seed}:{name}" for name in _unit_names(pool[first_of]))
    lowest = np.full(int(unit_of.max(initial=-1)) + 1, np.inf)
    np.minimum.at(lowest, unit_of, draws[name_of])
    rank = np.empty(len(lowest), np.int64)
    rank[np.argsort(lowest, kind="stable")] = np.arange(len(lowest))
    return np.asarray(rank[unit_of])


def _unit_names(files: FileTable) -> Iterable[str]:
    """Yield what the draw of each file's unit depends on."""
    for part in files.parts():
        groups = part.groups
        for number, content in zip(groups.numbers.tolist(), part.hashes(), strict=True):
            group = groups.texts[number]
            yield f"group {group}" if group else f"content {content}"


def _numbers(texts: Iterable[str]) -> np.ndarray:
    """Hash texts to numbers from 0 to 1."""
    hashes = (hashlib.blake2b(text.encode(), digest_size=8).digest() for text in texts)
    integers = np.fromiter((int.from_bytes(each, "big") for each in hashes), np.uint64)
    return integers.astype(np.float64) / 2**64
