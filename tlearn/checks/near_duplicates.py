"""Near duplicates: pictures that were recompressed, resized, turned, tilted, recoloured or cropped.

Candidates are the nearest neighbours, by features of all depths, and by thumbnails as they are,
mirrored and turned; what two pictures share once they are aligned decides: the correlation of their
outlines, and how alike the photos of the set are anyway.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from tlearn.checks.alignment import similarity
from tlearn.checks.neighbours import nearest, standardised_rows, unit_rows
from tlearn.checks.placing import starts, turns
from tlearn.progress import Progress

BLOCK = 1024  # pairs at a time
ALIKE = 3  # neighbours by features that are looked at
FARTHEST = 1.25  # distance of their features, where 0 is the same and 1.41 unrelated
SIMILAR = 2  # neighbours by thumbnails
UNLIKE = 0.6  # distance of thumbnails: a correlation of 0.82
SEARCHED = (0, 1, 2, 3, 5)  # turns: none, mirrored, by 180 degrees, by 90 (and so by 270)
LEAST = 0.35  # correlation of pictures at low resolution from which they are aligned
POSSIBLE = 0.5  # correlation of outlines of small thumbnails from which large ones are compared
DOUBT = 0.1  # the same, below the threshold: large ones rarely give 0.03 more
FINAL_STEPS = 3  # of aligning large ones
# Of copies made of photos of five sets, three in a hundred have less; of different shots, two pairs
# from one tripod have more. Hands of one person in one pose have 0.8.
COPY = 0.9  # correlation of outlines, at least
SHOT, SHOT_DISTANCE = 0.6, 0.68  # of shots of one scene: at least, and of their features at most
# Where photos are much alike, such as digits or scans, so many parts of what usually lacks to 1.
COPY_PART, SHOT_PART = 0.3, 0.67
CERTAIN = 0.95  # a copy, however alike the photos are: those of a set may all have copies
USUAL = 0.25  # quantile of photos, by the correlation with what is most alike


@dataclass(frozen=True)
class Pair:
    """Two pictures that are one, or nearly.

    Attributes:
        first: Position of a picture.
        second: That of another, larger.
        kind: ``copy`` of one photo, or two ``shots`` of one scene.
        score: The correlation of their outlines, up to 1.
    """

    first: int
    second: int
    kind: Literal["copy", "shots"]
    score: float


def near_duplicates(features: np.ndarray, thumbnails: np.ndarray, progress: Progress) -> list[Pair]:
    """Return the pairs of near duplicates among pictures, each pair once.

    Args:
        features: ``(n, d)``; angles between them count.
        thumbnails: Grey, ``(n, side, side)`` uint8.
        progress: Shows what is done.
    """
    unit = unit_rows(features)
    pairs = _candidates(unit, thumbnails, progress)
    with progress.task("comparing pictures", len(pairs), "pairs") as task:
        outlines, placed = _coarse(_shrunk(thumbnails, 2), pairs, task.advance)
    copy, shots = _thresholds(len(unit), pairs, outlines)
    found: list[Pair] = []
    likely = np.flatnonzero(outlines > max(POSSIBLE, shots - DOUBT))
    for start in range(0, len(likely), BLOCK):
        first, second, place = (values[likely[start : start + BLOCK]] for values in placed)
        alike = similarity(thumbnails[first], thumbnails[second], place, 1, FINAL_STEPS)[0][:, 1]
        near = np.linalg.norm(unit[first] - unit[second], axis=1) <= SHOT_DISTANCE
        found += [
            Pair(min(a, b), max(a, b), "copy" if score >= copy else "shots", score)
            for a, b, score, is_near in zip(
                first.tolist(), second.tolist(), alike.tolist(), near.tolist(), strict=True
            )
            if score >= copy or (score >= shots and is_near)
        ]
    return found


def _coarse(
    small: np.ndarray, pairs: np.ndarray, advance: Callable[[int], object]
) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Return the correlation of outlines of pairs, and how they lie on each other then.

    That is the picture that is moved, that which it lies on, and the place.
    """
    outlines, best = np.zeros(len(pairs)), np.full(len(pairs), -np.inf)
    first, second = pairs.T.copy()
    place = np.zeros((len(pairs), 2, 3))
    for start in range(0, len(pairs), BLOCK):
        block = pairs[start : start + BLOCK]
        for i, j, its, alike in zip(*starts(small, block), strict=True):
            some = np.flatnonzero(alike >= LEAST)
            scores, moved = similarity(small[i[some]], small[j[some]], its[some])
            better = scores.sum(axis=1) > best[start + some]
            some, scores, moved = some[better], scores[better], moved[better]
            at = start + some
            best[at], outlines[at], place[at] = scores.sum(axis=1), scores[:, 1], moved
            first[at], second[at] = i[some], j[some]
        advance(len(block))
    return outlines, (first, second, place)


def _thresholds(n: int, pairs: np.ndarray, outlines: np.ndarray) -> tuple[float, float]:
    """Return from which correlation of outlines two pictures are copies, and shots of a scene."""
    most_alike = np.zeros(n)
    for column in pairs.T:
        np.maximum.at(most_alike, column, outlines)
    lacking = 1 - float(np.quantile(most_alike, USUAL))
    copy = min(CERTAIN, max(COPY, 1 - COPY_PART * lacking))
    return copy, min(copy, max(SHOT, 1 - SHOT_PART * lacking))


def _candidates(unit: np.ndarray, thumbnails: np.ndarray, progress: Progress) -> np.ndarray:
    """Return pairs ``(m, 2)`` of positions that are to be compared, the smaller first."""
    positions = turns(_shrunk(thumbnails, 4)).swapaxes(0, 1)
    flat = standardised_rows(positions[0])
    searches = [(unit, unit, ALIKE, FARTHEST)]
    searches += [(flat, standardised_rows(positions[turn]), SIMILAR, UNLIKE) for turn in SEARCHED]
    pairs = [np.zeros((0, 2), np.int64)]
    with progress.task("searching near duplicates", len(searches) * len(unit), "images") as task:
        for x, of, most, farthest in searches:
            near, distances = nearest(x, most, of, task.advance)
            i, k = np.nonzero(distances <= farthest)
            pairs.append(np.sort(np.stack([i, near[i, k]], axis=1), axis=1))
    return np.unique(np.concatenate(pairs), axis=0)


def _shrunk(thumbnails: np.ndarray, times: int) -> np.ndarray:
    """Return thumbnails with sides so many times smaller, as uint8."""
    n, side, _ = thumbnails.shape
    parts = thumbnails.reshape(n, side // times, times, side // times, times)
    return np.asarray(parts.mean(axis=(2, 4), dtype=np.float32), np.uint8)
