"""Where one picture may lie on another: turned, mirrored, or one in a part of the other.

Aligning two pictures finds small moves alone. So parts of each are compared, at a low resolution,
with the other one in its eight positions, and the best are where aligning starts.
"""

from itertools import product
from typing import NamedTuple

import numpy as np

from tlearn.checks.neighbours import standardised_rows

PIXELS = 16  # pixels of what is compared
SIZES = (1.0, 0.88, 0.75)  # of parts, in sides of the picture
STEPS = 3  # places of a part along a side
MOST = 3  # starts for a pair
AXES = (np.eye(2), np.eye(2)[::-1])  # as they are, and exchanged
TURNS = np.array([axes * mirrored for axes in AXES for mirrored in product((1, -1), repeat=2)])


class Starts(NamedTuple):
    """The best places of each of ``n`` pairs, the best first: ``(MOST, n)`` each.

    Attributes:
        first: The position of the picture that is moved, or a part of it.
        second: That of the picture that it lies on.
        place: Where the pixels of the second are in the first, ``(MOST, n, 2, 3)``, as
            :func:`tlearn.checks.alignment.similarity` takes it.
        alike: The correlation of the two, up to 1.
    """

    first: np.ndarray
    second: np.ndarray
    place: np.ndarray
    alike: np.ndarray


def starts(thumbnails: np.ndarray, pairs: np.ndarray) -> Starts:
    """Return where pictures may lie on each other.

    Args:
        thumbnails: Grey, ``(pictures, side, side)``.
        pairs: Positions of pictures, ``(n, 2)``; memory grows with ``n``.
    """
    used, places = np.unique(pairs, return_inverse=True)
    i, j = places.reshape(-1, 2).T
    boxes, parts = _parts(thumbnails[used].astype(np.float32))
    turned = _flat(turns(parts[:, 0]))
    parts = _flat(parts)
    both = [parts[a] @ turned[b].transpose(0, 2, 1) for a, b in ((i, j), (j, i))]
    alike = np.stack(both, axis=1).reshape(len(i), -1)
    best = np.argsort(-alike, axis=1)[:, :MOST]
    swapped, part, turn = np.unravel_index(best.T, (2, len(boxes), len(TURNS)))
    first, second = np.where(swapped, pairs[:, ::-1].T[:, None], pairs.T[:, None])
    size, right, down = np.moveaxis(boxes[part], -1, 0)
    turning = size[..., None, None] * TURNS[turn].swapaxes(-1, -2)
    place = np.concatenate([turning, np.stack([right, down], axis=-1)[..., None]], axis=-1)
    return Starts(first, second, place, np.take_along_axis(alike, best, axis=1).T)


def turns(pictures: np.ndarray) -> np.ndarray:
    """Return pictures ``(n, side, side)`` in their eight positions, ``(n, 8, side, side)``."""
    both = (pictures, pictures.swapaxes(1, 2))
    mirrored = product((1, -1), repeat=2)
    return np.stack([x[:, ::d, ::r] for x, (r, d) in product(both, mirrored)], axis=1)


def _parts(pictures: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cut parts out of pictures, the whole first.

    Returns:
        Of each part its size, and where its middle is to the right and down, ``(parts, 3)``; the
        parts, ``(n, parts, PIXELS, PIXELS)``.
    """
    boxes, parts = [], []
    for size in SIZES:
        middles = np.linspace(size - 1, 1 - size, STEPS if size < 1 else 1)
        windows = np.stack([_window(pictures.shape[1], size, middle) for middle in middles])
        rows = np.einsum("ajk,nkl->najl", windows, pictures, optimize=True)
        its = np.einsum("najl,bil->nabji", rows, windows, optimize=True)
        boxes += [(size, right, down) for down in middles for right in middles]
        parts.append(its.reshape(len(pictures), -1, PIXELS, PIXELS))
    return np.array(boxes), np.concatenate(parts, axis=1)


def _window(side: int, size: float, middle: float) -> np.ndarray:
    """Return the matrix ``(PIXELS, side)`` that averages a part of a row."""
    edges = (np.linspace(middle - size, middle + size, PIXELS + 1) + 1) / 2 * side
    pixels = np.arange(side)
    shared = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    weights = shared.clip(0)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True), np.float32)


def _flat(pictures: np.ndarray) -> np.ndarray:
    """Return rows ``(n, k, pixels)`` of mean 0 and length 1 of pictures ``(n, k, side, side)``."""
    n, k, *sides = pictures.shape
    return standardised_rows(pictures.reshape(n * k, *sides)).reshape(n, k, -1)
