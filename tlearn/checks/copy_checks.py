"""What is wrong with copies of a photo: in two splits, in two classes, or in one."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from tlearn.checks.finding import Finding, Severity
from tlearn.checks.near_duplicates import Pair
from tlearn.data.edits import Change
from tlearn.data.file_table import ImageFile
from tlearn.data.layouts import SPLITS
from tlearn.text import percent

UNDECIDED = 0.1  # between the probabilities of two classes, of which neither is likelier then
LARGEST = 1 / 3  # of a class that shots of one scene may be, to be put into one split


@dataclass(frozen=True)
class Pictures:
    """The different pictures of a data set, each with the files that hold it.

    Attributes:
        files: The files of each picture, of equal content.
        labels: The class names.
        splits: The split of each file by its name, as it is given or as a training draws it; those
            without one are missing.
        pairs: The near duplicates among the pictures.
    """

    files: Sequence[Sequence[ImageFile]]
    labels: Sequence[str]
    splits: Mapping[str, str]
    pairs: Sequence[Pair]

    @cached_property
    def counts(self) -> Counter[str]:
        """The number of files of each class."""
        return Counter(file.label for files in self.files for file in files)

    @cached_property
    def groups(self) -> dict[str, list[str]]:
        """The names of the files of each group."""
        names: dict[str, list[str]] = defaultdict(list)
        for file in (file for files in self.files for file in files if file.group):
            names[file.group].append(file.name)
        return names

    def clusters(self, *kinds: str) -> np.ndarray:
        """Return a number for each picture, the same where pairs of these kinds connect them."""
        return components(len(self.files), self._connected(kinds))

    def units(self) -> list[str]:
        """Return for each picture what must stay in one fold: copies, shots of a scene, a group."""
        pairs = self._connected(("copy", "shots"))
        first: dict[str, int] = {}
        for i, files in enumerate(self.files):
            pairs += [(first.setdefault(f.group, i), i) for f in files if f.group]
        return [str(i) for i in components(len(self.files), pairs).tolist()]

    def _connected(self, kinds: Sequence[str]) -> list[tuple[int, int]]:
        return [(pair.first, pair.second) for pair in self.pairs if pair.kind in kinds]


def components(n: int, pairs: Iterable[tuple[int, int]]) -> np.ndarray:
    """Return for each of ``n`` things the smallest that pairs connect it with, ``(n,)``."""
    parent = list(range(n))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    for pair in pairs:
        a, b = sorted(map(root, pair))
        parent[b] = a
    return np.array([root(i) for i in range(n)], np.int64)


def check_copies(pictures: Pictures, beliefs: np.ndarray) -> list[Finding]:
    """Return a finding for each file that shows what another shows, which is better to keep.

    Args:
        pictures: The pictures.
        beliefs: The probability of each class for each picture, ``(n, classes)``, from a probe
            that saw none of its copies.
    """
    score = np.ones(len(pictures.files))  # of its surest pair
    for pair in sorted(pictures.pairs, key=lambda pair: pair.score):
        score[[pair.first, pair.second]] = pair.score
    cluster = pictures.clusters("copy")
    members: dict[int, list[tuple[int, ImageFile]]] = defaultdict(list)
    for i, files in enumerate(pictures.files):
        members[int(cluster[i])] += [(i, file) for file in files]
    findings: list[Finding] = []
    for its in members.values():
        if len(its) > 1:
            belief = beliefs[[i for i, _ in its]].mean(axis=0)
            of_label = dict(zip(pictures.labels, belief.tolist(), strict=True))
            best, *others = sorted(its, key=lambda pair: _worth(pair[1], of_label, pictures))
            findings += [
                _copy(other, best, of_label, pictures, float(score[other[0]])) for other in others
            ]
    return findings


def _worth(
    file: ImageFile, belief: Mapping[str, float], pictures: Pictures
) -> tuple[float, int, int, str]:
    """Return what comes first: the likeliest class, then what is held out, then large files."""
    split = pictures.splits.get(file.name)
    rank = SPLITS[::-1].index(split) if split in SPLITS else 0
    size = 0
    with suppress(OSError):  # it may be deleted by now
        size = file.path.stat().st_size
    return -belief[file.label], rank, -size, file.name


def _copy(
    other: tuple[int, ImageFile],
    best: tuple[int, ImageFile],
    belief: Mapping[str, float],
    pictures: Pictures,
    score: float,
) -> Finding:
    (i, file), (k, one) = other, best
    names, exclude = (file.name, one.name), (Change(file.name, "exclude"),)
    split, its = (pictures.splits.get(f.name, "") for f in (file, one))
    score = 1.0 if i == k else score
    if file.label != one.label:
        own, better = belief[file.label], belief[one.label]
        if better - own < UNDECIDED:
            reason = (
                f"the same picture as one of class {one.label!r}: one of the two labels is wrong, "
                f"and a model trained on the others cannot say which; exclude one, or both"
            )
            return Finding("conflict", names, reason, "error", better - own)
        reason = (
            f"the same picture as one of class {one.label!r}, which is likelier: a model trained "
            f"without them gives {percent(better)} to that class and {percent(own)} to "
            f"{file.label!r}"
        )
        return Finding("conflict", names, reason, "error", better - own, exclude)
    if split and its and split != its:
        if i == k:  # draw_splits keeps those together that it draws
            reason = f"the same file as one in {its}: a training leaves it out of {split}"
            return Finding("leak", names, reason, "warning", score, exclude)
        reason = (
            f"in {split}, and nearly the same picture as one in {its}: the accuracy is flattered"
        )
        if (file.given, one.given) != (split, its):
            reason = (
                f"nearly the same picture as another of its class, and a training puts this one "
                f"into {split} and the other into {its}: the accuracy is flattered"
            )
        return Finding("leak", names, reason, "error", score, exclude)
    if i == k:
        reason = "the same file as another of its class"
        return Finding("duplicate", names, reason, "warning", score, exclude)
    reason = "nearly the same picture as another of its class"
    return Finding("near duplicate", names, reason, "warning", score, exclude)


def check_shots(pictures: Pictures) -> list[Finding]:
    """Return near-identical shots of a class that should be in one split, as one group."""
    cluster, copies = pictures.clusters("copy", "shots"), pictures.clusters("copy")
    scores: dict[int, list[float]] = defaultdict(list)
    for pair in pictures.pairs:
        if pair.kind == "shots":
            scores[int(cluster[pair.first])].append(pair.score)
    findings: list[Finding] = []
    for root, its in scores.items():
        by_label: dict[str, list[tuple[int, ImageFile]]] = defaultdict(list)
        for i in np.flatnonzero(cluster == root).tolist():
            for file in pictures.files[i]:
                by_label[file.label].append((int(copies[i]), file))
        for own in by_label.values():
            files = [file for _, file in own]
            if len({copy for copy, _ in own}) > 1 and not _one_group(files):
                findings.append(_shots(files, pictures, float(np.mean(its))))
    return findings


def _one_group(files: Sequence[ImageFile]) -> bool:
    groups = {file.group for file in files}
    return len(groups) == 1 and "" not in groups


def _shots(files: Sequence[ImageFile], pictures: Pictures, score: float) -> Finding:
    """Return the finding about shots of one scene, with their copies, in one class."""
    number = len(files)
    names = tuple(file.name for file in files)
    splits = {pictures.splits[name] for name in names if name in pictures.splits}
    apart = len(splits) > 1
    severity: Severity = "warning" if apart else "note"
    if len(files) > LARGEST * pictures.counts[files[0].label]:
        reason = f"{number} near-identical shots, too many of their class to be put into one split"
        return Finding("burst", names, reason, severity, score)
    if apart:
        reason = f"{number} near-identical shots in several splits: the accuracy is flattered"
    else:
        reason = f"{number} near-identical shots, which another split may part"
    group, *others = sorted({file.group for file in files} - {""}) or [f"shots like {names[0]}"]
    joined = [file.name for file in files if not file.group]
    joined += [name for other in others for name in pictures.groups[other]]
    edits = tuple(Change(name, "group", group) for name in joined)
    return Finding("burst", names, reason, severity, score, edits)
