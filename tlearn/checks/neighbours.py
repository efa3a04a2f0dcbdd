"""The nearest neighbours of each photo, in memory that grows with the photos, not their square."""

from collections.abc import Callable

import numpy as np

BLOCK = 2**24  # distances at a time: 64 MiB
GROUP = 64  # distances of which the least is looked for first


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
        d = of[block] @ x.T
        d *= -2
        d += squares
        d[np.arange(len(d)), np.arange(start, start + len(d))] = np.inf
        near = _least(d, k)
        its = np.take_along_axis(d, near, axis=1) + own[block, None]
        order = np.argsort(its, axis=1, kind="stable")
        places[block] = np.take_along_axis(near, order, axis=1)
        distances[block] = np.sqrt(np.maximum(np.take_along_axis(its, order, axis=1), 0))
        advance(len(d))
    return places, distances


def _least(d: np.ndarray, k: int) -> np.ndarray:
    """Return where the ``k`` least numbers of each row are, in any order.

    They are in the ``k`` groups whose own least numbers are least. So most of a row is looked at
    once, and not partitioned, which would take longer than the distances themselves.
    """
    groups = d.shape[1] // GROUP
    if groups <= k:
        return np.asarray(np.argpartition(d, k - 1, axis=1)[:, :k])
    least = d[:, : groups * GROUP].reshape(len(d), GROUP, groups).min(axis=1)
    chosen = np.argpartition(least, k - 1, axis=1)[:, :k]
    inside = (chosen[:, None] + groups * np.arange(GROUP)[:, None]).reshape(len(d), -1)
    rest = np.broadcast_to(np.arange(groups * GROUP, d.shape[1]), (len(d), d.shape[1] % GROUP))
    places = np.concatenate([inside, rest], axis=1)
    best = np.argpartition(np.take_along_axis(d, places, axis=1), k - 1, axis=1)[:, :k]
    return np.asarray(np.take_along_axis(places, best, axis=1))


def standardised_rows(pictures: np.ndarray) -> np.ndarray:
    """Return pictures ``(n, side, side)`` as rows of mean 0 and length 1, float32."""
    flat = pictures.reshape(len(pictures), -1).astype(np.float32)
    return unit_rows(flat - flat.mean(axis=1, keepdims=True))


def unit_rows(x: np.ndarray) -> np.ndarray:
    """Return rows of length 1; those of zeros remain so."""
    lengths = np.sqrt(np.einsum("ij,ij->i", x, x))
    return np.asarray(x / np.maximum(lengths, np.finfo(np.float32).tiny)[:, None])
