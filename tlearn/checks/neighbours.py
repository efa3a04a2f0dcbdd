"""The nearest neighbours of each photo, in memory that grows with the photos, not their square."""

from collections.abc import Callable

import numpy as np

BLOCK = 2**24  # distances at a time: 64 MiB


def nearest(
    x: np.ndarray,
    most: int,
    of: np.ndarray | None = None,
    advance: Callable[[int], object] = lambda n: None,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the nearest other rows of every row, and the Euclidean distances to them.

    Args:
        x: Features, ``(n, d)``, float32.
        most: How many neighbours; there are ``k = min(most, n - 1)``.
        of: Other rows for the same photos, such as those of mirror images, whose neighbours in
            ``x`` are wanted.
        advance: Called with how many rows are done.

    Returns:
        Positions ``(n, k)`` and distances ``(n, k)``, the nearest first.
    """
    n = len(x)
    k = min(most, n - 1)
    places, distances = np.zeros((n, k), np.int64), np.zeros((n, k), np.float32)
    of = x if of is None else of
    squares, own = (np.einsum("ij,ij->i", rows, rows) for rows in (x, of))
    rows = max(1, BLOCK // n)
    for start in range(0, n if k else 0, rows):
        block = slice(start, start + rows)
        d = own[block, None] + squares - 2 * (of[block] @ x.T)
        d[np.arange(len(d)), np.arange(start, start + len(d))] = np.inf
        near = np.argpartition(d, k - 1, axis=1)[:, :k]
        its = np.take_along_axis(d, near, axis=1)
        order = np.argsort(its, axis=1, kind="stable")
        places[block] = np.take_along_axis(near, order, axis=1)
        distances[block] = np.sqrt(np.maximum(np.take_along_axis(its, order, axis=1), 0))
        advance(len(d))
    return places, distances


def standardised_rows(pictures: np.ndarray) -> np.ndarray:
    """Return pictures ``(n, side, side)`` as rows of mean 0 and length 1, float32."""
    flat = pictures.reshape(len(pictures), -1).astype(np.float32)
    return unit_rows(flat - flat.mean(axis=1, keepdims=True))


def unit_rows(x: np.ndarray) -> np.ndarray:
    """Return rows of length 1; those of zeros remain so."""
    lengths = np.sqrt(np.einsum("ij,ij->i", x, x))
    return np.asarray(x / np.maximum(lengths, np.finfo(np.float32).tiny)[:, None])
