"""Which images are held back: drawn by hashes of contents and groups, near a target per class."""

import hashlib
import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from tlearn.data.data_source import ImageFile
from tlearn.data.layouts import SPLITS, Split

FEW = 30  # images of a split: below, every class gets one, whatever the fraction
MOST = 1.5  # times the requested fraction, which a split may reach so that every class has one


def draw(
    pool: Sequence[ImageFile], fractions: Mapping[Split, float], seed: int
) -> dict[Split, list[ImageFile]]:
    """Choose validation from the units with the lowest draws, then test from the highest."""
    drawn: dict[Split, list[ImageFile]] = {split: [] for split in SPLITS}
    totals = Counter(f.label for f in pool)
    units = _units(pool, seed)
    wanted = [split for split, fraction in fractions.items() if fraction]
    for split in wanted:
        if split == "test":
            units.reverse()
        targets = _targets(totals, fractions[split], f"{seed}:{split}")
        later = len(wanted) - wanted.index(split)  # splits: training, and perhaps test
        chosen = _choose([Counter(f.label for f in files) for files in units], targets, later)
        drawn[split] = [f for i in sorted(chosen) for f in units[i]]
        units = [files for i, files in enumerate(units) if i not in chosen]
    drawn["train"] = [f for files in units for f in files]
    return drawn


def _targets(totals: Mapping[str, int], fraction: float, seed: str) -> Counter[str]:
    """Return the number of images of each class in a split, rounded at random."""
    least = 1 if reaches_all(totals, fraction) else 0
    return Counter(
        {
            label: max(least, math.floor(fraction * total + _number(f"{seed}:{label}")))
            for label, total in totals.items()
        }
    )


def reaches_all(totals: Mapping[str, int], fraction: float) -> bool:
    """Return whether each class gets an image of a split: not if that makes it too large."""
    requested = fraction * sum(totals.values())
    return requested < FEW or len(totals) <= MOST * requested


def _choose(units: Sequence[Counter[str]], targets: Counter[str], later: int) -> set[int]:
    """Return the indices of the first units that bring every class near its target.

    Args:
        units: Images per class of each unit.
        targets: Images wanted per class.
        later: Units of each class to reserve for the later splits, if it has as many.
    """
    free = Counter(label for sizes in units for label in sizes)
    spare = {label: min(later, max(1, n - 1)) for label, n in free.items()}
    missing = Counter(targets)
    chosen: set[int] = set()

    def overshoot(i: int) -> int:
        return sum(max(0, n - max(0, missing[label])) for label, n in units[i].items())

    def take(i: int) -> None:
        chosen.add(i)
        missing.subtract(units[i])
        free.subtract(units[i].keys())

    def allowed(i: int) -> bool:
        return i not in chosen and all(free[label] > spare[label] for label in units[i])

    for i, sizes in enumerate(units):
        if overshoot(i) < sizes.total() / 2 and allowed(i):
            take(i)
    of_class: dict[str, list[int]] = defaultdict(list)
    for i, sizes in enumerate(units):
        for label in sizes:
            of_class[label].append(i)
    for label, target in targets.items():
        if target and missing[label] == target:  # units too large, such as big groups
            possible = [i for i in of_class[label] if allowed(i)]
            if possible:
                take(min(possible, key=overshoot))
    return chosen


def _units(pool: Sequence[ImageFile], seed: int) -> list[list[ImageFile]]:
    """Join files of one content or one group; return these units in the order of their draws."""
    parent: dict[str, str] = {}

    def root(name: str) -> str:
        while parent.setdefault(name, name) != name:
            name = parent[name]
        return name

    for f in pool:
        if f.group:
            a, b = sorted((root(f"content {f.content}"), root(_unit_name(f))))
            parent[b] = a
    units: dict[str, list[ImageFile]] = defaultdict(list)
    for f in pool:
        units[root(_unit_name(f))].append(f)

    def draw(files: list[ImageFile]) -> float:
        return min(_number(f"{seed}:{name}") for name in {_unit_name(f) for f in files})

    return sorted(units.values(), key=draw)


def _unit_name(file: ImageFile) -> str:
    return f"group {file.group}" if file.group else f"content {file.content}"


def _number(text: str) -> float:
    """Hash a text to a number from 0 to 1."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") / 2**64
