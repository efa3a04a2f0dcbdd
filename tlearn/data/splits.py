"""Which images are trained on, which choose, and which are kept for the end."""

import csv
import hashlib
import io
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from tlearn.data.scan import ImageFile, Manifest, Problem, Split
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
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(["file", "class", "split", "content", "group"])
        for side, files in self.items():
            writer.writerows([f.name, f.label, side, f.content, f.group] for f in files)
        return out.getvalue()


def split(
    manifest: Manifest, validation: float, test: float, seed: int
) -> tuple[Splits, tuple[Problem, ...]]:
    """Put every image on a side.

    Given sides (``train/``, ``validation/``, ``test/`` folders) are kept; what is missing is drawn
    from the training images. A draw looks at nothing but the seed and the content (or the group),
    so a file keeps its side when others come or go. That makes a class's share a matter of chance;
    where it strays by more than half from what was asked for, the files nearest to the threshold
    change sides, so that small classes stand on every side too.

    Identical copies and files of one group are on one side. Training copies of images in a given
    validation or test folder are left out, and reported.

    Args:
        manifest: The scanned data.
        validation: Fraction for validation, over 0 and under 1.
        test: Fraction for test, 0 for none.
        seed: Changes the draw.

    Returns:
        The splits, and what was left out of them.

    Raises:
        DataError: If a class cannot stand on both sides.
    """
    labels = manifest.labels
    _check_counts(manifest)
    given = {side: [f for f in manifest.files if f.given == side] for side in SIDES}
    pool = [f for f in manifest.files if f.given in (None, "train")]
    held_back = [*given["validation"], *given["test"]]
    pool, left_out = _without_copies(pool, held_back)

    wanted: dict[Split, float] = {
        "test": 0.0 if given["test"] else test,
        "validation": 0.0 if given["validation"] else validation,
    }
    drawn = _draw(pool, wanted, seed)
    for side in SIDES:
        drawn[side] += given[side] if side != "train" else []
    _check_sides(labels, drawn)
    order = {f.name: i for i, f in enumerate(manifest.files)}
    sides = (tuple(sorted(drawn[side], key=lambda f: order[f.name])) for side in SIDES)
    return Splits(labels, *sides), left_out


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
    pool: Sequence[ImageFile], held_back: Sequence[ImageFile]
) -> tuple[list[ImageFile], tuple[Problem, ...]]:
    """Take images out of training that are also in a given validation or test folder."""
    kept_for_checking = {f.content: f for f in reversed(held_back)}
    left_out = tuple(
        Problem(
            f.name,
            "duplicate",
            f"the same image as {kept_for_checking[f.content].name}; left out of training",
        )
        for f in pool
        if f.content in kept_for_checking
    )
    return [f for f in pool if f.content not in kept_for_checking], left_out


def _draw(
    pool: Sequence[ImageFile], wanted: Mapping[Split, float], seed: int
) -> dict[Split, list[ImageFile]]:
    """Draw test first, then validation, from units that stay together."""
    units = _units(pool, seed)
    counts = Counter(f.label for f in pool)
    sides: dict[int, Split] = {}
    low = 0.0
    for side, fraction in wanted.items():
        if not fraction:
            continue
        high = low + fraction
        free = [i for i in range(len(units)) if i not in sides]
        chosen = {i for i in free if low <= units[i][0] < high}
        for label, count in counts.items():
            _even_out(label, round(fraction * count), units, free, chosen)
        sides.update(dict.fromkeys(chosen, side))
        low = high
    drawn: dict[Split, list[ImageFile]] = {side: [] for side in SIDES}
    for i, (_, files) in enumerate(units):
        drawn[sides.get(i, "train")] += files
    return drawn


Unit = tuple[float, list[ImageFile]]  # a draw from 0 to 1, and the files that stay together


def _even_out(
    label: str, target: int, units: Sequence[Unit], free: Sequence[int], chosen: set[int]
) -> None:
    """Move units of one class into or out of ``chosen`` where its share strays by over half."""
    least, most = max(1, target // 2), max(1, target + (target + 1) // 2)
    own = [i for i in free if all(f.label == label for f in units[i][1])]

    def count() -> int:
        return sum(f.label == label for i in chosen for f in units[i][1])

    for i in own:
        if count() < least and i not in chosen and len(set(own) - chosen) > 1:
            chosen.add(i)
    for i in reversed(own):
        size = len(units[i][1])
        if count() > most and i in chosen and count() - size >= least:
            chosen.remove(i)


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


def _check_sides(labels: Iterable[str], drawn: Mapping[Split, Sequence[ImageFile]]) -> None:
    for side in ("train", "validation"):
        present = {f.label for f in drawn[side]}  # type: ignore[index]
        missing = [label for label in labels if label not in present]
        if missing:
            raise DataError(
                f"class {missing[0]!r} has no image on the {side} side; give it more images, or "
                f"groups that can be divided"
            )
