"""Which images are trained on, which choose, and which are kept for the end."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from tlearn.csv_files import csv_text
from tlearn.data.layouts import Split
from tlearn.data.problems import Problem
from tlearn.data.scan import ImageFile, Manifest
from tlearn.errors import DataError

SIDES: tuple[Split, ...] = ("train", "validation", "test")


@dataclass(frozen=True)
class Splits:
    """The images of each side, in the order of the manifest."""

    labels: tuple[str, ...]
    train: tuple[ImageFile, ...]
    validation: tuple[ImageFile, ...]
    test: tuple[ImageFile, ...] = ()

    def items(self) -> Iterable[tuple[Split, tuple[ImageFile, ...]]]:
        """Yield ``(side, files)`` for the three sides."""
        return zip(SIDES, (self.train, self.validation, self.test), strict=True)

    def to_csv(self) -> str:
        """Return ``splits.csv``: file, class, side, content hash and group of every image."""
        columns = ("file", "class", "split", "content", "group")
        files = ((side, file) for side, files in self.items() for file in files)
        return csv_text(columns, ((f.name, f.label, side, f.content, f.group) for side, f in files))


def draw_splits(
    manifest: Manifest, validation: float, test: float, seed: int
) -> tuple[Splits, tuple[Problem, ...]]:
    """Put every image on a side.

    Given sides (``train/``, ``validation/``, ``test/`` folders) are kept; what is missing is drawn
    from the training images. A draw looks at nothing but the seed and the content (or the group),
    so a file keeps its side when others come or go. That makes a class's share a matter of chance;
    where it strays by more than half from what was asked for, the files nearest to the threshold
    change sides, so that small classes stand on every side too.

    Identical copies and files of one group are on one side. What has a copy or its group in a given
    validation or test folder is left out of training, and for a given test folder out of validation
    too; it is reported.

    Args:
        manifest: The scanned data.
        validation: Fraction for validation, over 0 and under 1.
        test: Fraction for test, 0 for none.
        seed: Changes the draw.

    Returns:
        The splits, and what was left out of them.

    Raises:
        DataError: If a class cannot stand in training, validation, and a drawn test.
    """
    labels = manifest.labels
    _check_counts(manifest)
    if all(f.given in ("validation", "test") for f in manifest.files):
        raise DataError(
            f"{str(manifest.root)!r} holds no train/ folder to train on; add one, or give a folder "
            f"of class folders"
        )
    pool = [f for f in manifest.files if f.given in (None, "train")]
    given_test = [f for f in manifest.files if f.given == "test"]
    given_validation, left_out = _without_copies(
        [f for f in manifest.files if f.given == "validation"], given_test, "validation"
    )
    pool, more = _without_copies(pool, [*given_validation, *given_test], "training")

    asked: dict[Split, float] = {
        "test": 0.0 if given_test else test,
        "validation": 0.0 if given_validation else validation,
    }
    wanted = {side: fraction for side, fraction in asked.items() if fraction}
    drawn = _draw(pool, wanted, seed)
    drawn["validation"] += given_validation
    drawn["test"] += given_test
    _check_sides(labels, drawn, ("train", "validation", *wanted))
    order = {f.name: i for i, f in enumerate(manifest.files)}
    sides = (tuple(sorted(drawn[side], key=lambda f: order[f.name])) for side in SIDES)
    return Splits(labels, *sides), (*left_out, *more)


def _check_counts(manifest: Manifest) -> None:
    labels = manifest.labels
    if len(labels) < 2:
        raise DataError(
            f"{str(manifest.root)!r} has one class only, {labels[0]!r}; a classifier needs two or "
            f"more class folders with images"
        )
    small = [label for label, count in manifest.counts.items() if count < 2]
    if small:
        raise DataError(
            f"class {small[0]!r} has one image only; every class needs two or more, one to train "
            f"on and one to check with"
        )


def _without_copies(
    files: Sequence[ImageFile], held_back: Sequence[ImageFile], side: str
) -> tuple[list[ImageFile], tuple[Problem, ...]]:
    """Take out of ``files`` what has a copy or its group in ``held_back``."""
    copies = {f.content: f.name for f in reversed(held_back)}
    groups = {f.group: f.name for f in reversed(held_back) if f.group}
    kept: list[ImageFile] = []
    left_out: list[Problem] = []
    for f in files:
        if f.content in copies:
            why = f"the same image as {copies[f.content]}; left out of {side}"
            left_out.append(Problem(f.name, "duplicate", why))
        elif f.group in groups:
            why = f"of group {f.group!r} as is {groups[f.group]}; left out of {side}"
            left_out.append(Problem(f.name, "group", why))
        else:
            kept.append(f)
    return kept, tuple(left_out)


Unit = tuple[float, list[ImageFile]]  # a draw from 0 to 1, and the files that stay together


def _draw(
    pool: Sequence[ImageFile], wanted: Mapping[Split, float], seed: int
) -> dict[Split, list[ImageFile]]:
    """Draw test first, then validation, from units that stay together."""
    drawn: dict[Split, list[ImageFile]] = {side: [] for side in SIDES}
    totals = Counter(f.label for f in pool)
    free = _units(pool, seed)
    low = 0.0
    for done, (side, fraction) in enumerate(wanted.items()):
        chance = [i for i, (draw, _) in enumerate(free) if low <= draw < low + fraction]
        targets = {label: round(fraction * total) for label, total in totals.items()}
        chosen = _Balance(free, chance, targets, spare=len(wanted) - done).restore()
        drawn[side] = [f for i in sorted(chosen) for f in free[i][1]]
        free = [unit for i, unit in enumerate(free) if i not in chosen]
        low += fraction
    drawn["train"] = [f for _, files in free for f in files]
    return drawn


class _Balance:
    """Moves units into or out of those chosen for a side, where a class's share is far off.

    Args:
        units: All units to choose from, by ascending draw.
        drawn: Indices of those that chance chose.
        targets: Images wanted per class; a share may stray from it by half.
        spare: Units of each class to leave for the sides that come after.
    """

    def __init__(
        self,
        units: Sequence[Unit],
        drawn: Iterable[int],
        targets: Mapping[str, int],
        spare: int,
    ) -> None:
        self.spare = spare
        self.bounds = {k: (max(1, n // 2), max(1, n + (n + 1) // 2)) for k, n in targets.items()}
        self.sizes = [Counter(f.label for f in files) for _, files in units]
        self.own: dict[str, list[int]] = defaultdict(list)  # units with images of a class
        for i, sizes in enumerate(self.sizes):
            for label in sizes:
                self.own[label].append(i)
        self.left = Counter({label: len(own) for label, own in self.own.items()})
        self.images: Counter[str] = Counter()  # chosen, per class
        self.chosen: set[int] = set()
        for i in drawn:
            self._move(i, 1)

    def restore(self) -> set[int]:
        """Take out what is too much, then put in what is missing; return the chosen units."""
        for label, (_, most) in self.bounds.items():
            for i in reversed(self.own[label]):
                if self.images[label] <= most and self.left[label] >= self.spare:
                    break
                if i in self.chosen:
                    self._move(i, -1)
        # Units that make a share too large, such as big groups, come in where nothing else helps.
        for large in (False, True):
            for label, (least, _) in self.bounds.items():
                for i in self.own[label]:
                    if self.images[label] >= least:
                        break
                    if i not in self.chosen and self._fits(i, large):
                        self._move(i, 1)
        return self.chosen

    def _fits(self, i: int, large: bool) -> bool:
        return all(
            self.left[label] > self.spare
            and (large or self.images[label] + size <= self.bounds[label][1])
            for label, size in self.sizes[i].items()
        )

    def _move(self, i: int, step: int) -> None:
        """Put unit ``i`` in (1) or take it out (-1)."""
        self.chosen ^= {i}
        for label, size in self.sizes[i].items():
            self.images[label] += step * size
            self.left[label] -= step


def _units(pool: Sequence[ImageFile], seed: int) -> list[Unit]:
    """Join files of one content or one group, and draw a number for each unit."""
    parent: dict[str, str] = {}

    def root(key: str) -> str:
        while parent.setdefault(key, key) != key:
            key = parent[key]
        return key

    for f in pool:
        if f.group:
            a, b = sorted((root(f"content {f.content}"), root(f"group {f.group}")))
            parent[b] = a
    members: dict[str, list[ImageFile]] = defaultdict(list)
    for f in pool:
        members[root(f"group {f.group}" if f.group else f"content {f.content}")].append(f)

    def draw(files: list[ImageFile]) -> float:
        names = {f"group {f.group}" if f.group else f"content {f.content}" for f in files}
        digests = (
            hashlib.blake2b(f"{seed}:{name}".encode(), digest_size=8).digest() for name in names
        )
        return min(int.from_bytes(digest, "big") for digest in digests) / 2**64

    return sorted(((draw(files), files) for files in members.values()), key=lambda unit: unit[0])


def _check_sides(
    labels: Iterable[str], drawn: Mapping[Split, Sequence[ImageFile]], sides: Iterable[Split]
) -> None:
    for side in sides:
        present = {f.label for f in drawn[side]}
        missing = [label for label in labels if label not in present]
        if missing:
            raise DataError(
                f"class {missing[0]!r} has no image on the {side} side; give it more images, in "
                f"the {side} folder if there is one, or groups that can be divided"
            )
