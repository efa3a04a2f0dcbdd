"""What is wrong with copies of a photo: in two splits, in two classes, or in one."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from tlearn.checks.finding import Finding, Severity
from tlearn.checks.near_duplicates import Pair
from tlearn.data.edits import Change
from tlearn.data.file_table import FileTable, ImageFile
from tlearn.data.layouts import SPLITS
from tlearn.text import percent

UNDECIDED = 0.1  # between the probabilities of two classes, of which neither is likelier then
LARGEST = 1 / 3  # of a class that shots of one scene may be, to be put into one split


class Member(NamedTuple):
    """A file among others that show the same.

    Attributes:
        picture: The number of its picture.
        file: The file.
        split: Its split, as of :class:`Pictures`; empty for none.
    """

    picture: int
    file: ImageFile
    split: str


@dataclass(frozen=True)
class Pictures:
    """The different pictures of a data set, and the files that hold them.

    Attributes:
        files: All files.
        numbers: The number of each file's picture, ``(n,)``, from 0; files of equal content hold
            one picture.
        labels: The class names.
        splits: The place of each file's split in ``SPLITS``, ``(n,)``, as it is given or as a
            training draws it; -1 for none.
        pairs: The near duplicates among the pictures.
    """

    files: FileTable
    numbers: np.ndarray
    labels: Sequence[str]
    splits: np.ndarray
    pairs: Sequence[Pair]

    def __len__(self) -> int:
        return int(self.numbers.max(initial=-1)) + 1

    @cached_property
    def counts(self) -> dict[str, int]:
        """The number of files of each class."""
        return self.files.labels.counts()

    def holding(self, picture: int) -> FileTable:
        """Return the files that hold a picture."""
        return self.files[np.flatnonzero(self.numbers == picture)]

    def in_group(self, group: str) -> list[str]:
        """Return the names of the files of a group."""
        names: list[str] = self.files[self.files.groups.are(group)].names.to_pylist()
        return names

    def clusters(self, *kinds: str) -> np.ndarray:
        """Return a number for each picture, the same where pairs of these kinds connect them."""
        return components(len(self), self._connected(kinds))

    def members(self, clusters: np.ndarray) -> Iterator[tuple[int, list[Member]]]:
        """Yield each cluster of several files, by its number, with these files.

        Args:
            clusters: The number of each picture's cluster.
        """
        order = np.lexsort((self.numbers, clusters[self.numbers]))
        of_file = clusters[self.numbers[order]]
        starts = np.append(np.flatnonzero(np.diff(of_file, prepend=-1)), len(order))
        for k in np.flatnonzero(np.diff(starts) > 1).tolist():
            places = order[starts[k] : starts[k + 1]]
            splits = [SPLITS[n] if n >= 0 else "" for n in self.splits[places].tolist()]
            columns = (self.numbers[places].tolist(), self.files[places], splits)
            yield int(of_file[starts[k]]), [*map(Member, *columns)]

    def units(self) -> list[str]:
        """Return for each picture what must stay in one fold: copies, shots of a scene, a group."""
        grouped = ~self.files.groups.are("")
        groups, pictures = self.files.groups.numbers[grouped], self.numbers[grouped]
        _, first, of_file = np.unique(groups, return_index=True, return_inverse=True)
        of_groups = np.stack([pictures[first][of_file], pictures], axis=1)
        pairs = np.concatenate([self._connected(("copy", "shots")), of_groups])
        return [str(i) for i in components(len(self), pairs).tolist()]

    def _connected(self, kinds: Sequence[str]) -> np.ndarray:
        pairs = [(pair.first, pair.second) for pair in self.pairs if pair.kind in kinds]
        return np.array(pairs, np.int64).reshape(-1, 2)


def components(n: int, pairs: np.ndarray) -> np.ndarray:
    """Return for each of ``n`` things the smallest that pairs ``(m, 2)`` connect it with."""
    graph = coo_array((np.ones(len(pairs)), pairs.T), (n, n))
    _, numbers = connected_components(graph, directed=False)
    return np.asarray(np.unique(numbers, return_index=True)[1][numbers])


def check_copies(pictures: Pictures, beliefs: np.ndarray) -> list[Finding]:
    """Return a finding for each file that shows what another shows, which is better to keep.

    Args:
        pictures: The pictures.
        beliefs: The probability of each class for each picture, ``(n, classes)``, from a probe
            that saw none of its copies.
    """
    score = np.ones(len(pictures))  # of its surest pair
    for pair in sorted(pictures.pairs, key=lambda pair: pair.score):
        score[[pair.first, pair.second]] = pair.score
    findings: list[Finding] = []
    for _, its in pictures.members(pictures.clusters("copy")):
        belief = beliefs[[member.picture for member in its]].mean(axis=0)
        of_label = dict(zip(pictures.labels, belief.tolist(), strict=True))
        best, *others = sorted(its, key=lambda member: _worth(member, of_label))
        findings += [_copy(other, best, of_label, float(score[other.picture])) for other in others]
    return findings


def _worth(member: Member, belief: Mapping[str, float]) -> tuple[float, int, int, str]:
    """Return what comes first: the likeliest class, then what is held out, then large files."""
    _, file, split = member
    rank = SPLITS[::-1].index(split) if split in SPLITS else 0
    size = 0
    with suppress(OSError):  # it may be deleted by now
        size = file.path.stat().st_size
    return -belief[file.label], rank, -size, file.name


def _copy(other: Member, best: Member, belief: Mapping[str, float], score: float) -> Finding:
    (i, file, split), (k, one, its) = other, best
    names, exclude = (file.name, one.name), (Change(file.name, "exclude"),)
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
    for root, members in pictures.members(cluster):
        by_label: dict[str, list[Member]] = defaultdict(list)
        for member in members if root in scores else ():
            by_label[member.file.label].append(member)
        for own in by_label.values():
            several = len({copies[member.picture] for member in own}) > 1
            if several and not _one_group(own):
                findings.append(_shots(own, pictures, float(np.mean(scores[root]))))
    return findings


def _one_group(members: Sequence[Member]) -> bool:
    groups = {member.file.group for member in members}
    return len(groups) == 1 and "" not in groups


def _shots(members: Sequence[Member], pictures: Pictures, score: float) -> Finding:
    """Return the finding about shots of one scene, with their copies, in one class."""
    files = [member.file for member in members]
    number = len(files)
    names = tuple(file.name for file in files)
    apart = len({member.split for member in members} - {""}) > 1
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
    joined += [name for other in others for name in pictures.in_group(other)]
    edits = tuple(Change(name, "group", group) for name in joined)
    return Finding("burst", names, reason, severity, score, edits)
