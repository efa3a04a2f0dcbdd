"""How much two pictures are the same, once one is moved to lie on the other.

A slight crop or turn moves everything. So from where the first picture may lie on the second one
(:mod:`tlearn.checks.placing`), its affine map is estimated, with Lucas and Kanade's method (IJCAI
1981) from coarse to fine; then the correlation of what the pictures share is taken, of the pictures
themselves and of their outlines. Outlines tell two shots from two copies: light and large areas are
alike in many photos of one scene.
"""

import numpy as np

PIXELS = 64  # the side of a thumbnail that is compared
LEVELS = 3  # of halved thumbnails
STEPS = 6  # of each
FREE = 0.25  # how far each number of a map may change
MARGIN = 2  # pixels at the borders that are not compared: filters see beyond them
SHARED = 0.4  # of a picture, at least, if the pictures are to be compared
FINE, COARSE = 1, 4  # smoothings between which outlines are: with 2 and 12, silhouettes count
PAIRS = 256  # at a time


def similarity(
    first: np.ndarray,
    second: np.ndarray,
    place: np.ndarray,
    levels: int = LEVELS,
    steps: int = STEPS,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the correlation of pictures and of outlines of pairs of aligned thumbnails.

    Args:
        first: Grey thumbnails, ``(n, side, side)``, of any type; the side is a multiple of
            ``2 ** (levels - 1)``.
        second: Those that they are compared with.
        place: Where about the pixels of the second are in the first: affine maps, ``(n, 2, 3)``, of
            a place to the right and down, from -1 to 1.
        levels: Of halved thumbnails, on which one after the other they are aligned.
        steps: On each.

    Returns:
        Both correlations, ``(n, 2)``, from -1 to 1: 1 for copies, 0 where too little is shared; and
        the places, aligned.
    """
    alike, aligned = np.zeros((len(first), 2)), place.copy()
    for start in range(0, len(first), PAIRS):
        part = slice(start, start + PAIRS)
        a, b = first[part].astype(np.float32), second[part].astype(np.float32)
        aligned[part] = _align(a, b, place[part], levels, steps)
        alike[part] = _similarity(a, b, aligned[part])
    return alike, aligned


def _similarity(a: np.ndarray, b: np.ndarray, place: np.ndarray) -> np.ndarray:
    moved, inner = _moved(a, place, MARGIN)
    inner[:, :MARGIN] = inner[:, -MARGIN:] = inner[:, :, :MARGIN] = inner[:, :, -MARGIN:] = 0
    pairs = ((moved, b), (_outlines(moved), _outlines(b)))
    alike = np.stack([_correlation(x, y, inner) for x, y in pairs], axis=1)
    return np.asarray(alike * (inner.mean(axis=(1, 2)) >= SHARED)[:, None])


def _align(a: np.ndarray, b: np.ndarray, start: np.ndarray, levels: int, steps: int) -> np.ndarray:
    """Return the places in each picture a that lay it on b, ``(n, 2, 3)``."""
    pyramid = [(a, b)]
    for _ in range(levels - 1):
        pyramid.append((_halved(pyramid[-1][0]), _halved(pyramid[-1][1])))
    place = start
    for x, y in reversed(pyramid):
        side = x.shape[1]
        right, down = _axes(side)
        for _ in range(steps):
            moved, shared = _moved(x, place)
            moved = _standardised(moved, shared)
            rest = (_standardised(y, shared) - moved) * shared
            slopes = np.stack(np.gradient(moved, axis=(2, 1)), axis=-1) * (side / 2)
            slopes = slopes * shared[..., None]
            by_place = (slopes * right[..., None], slopes * down[..., None], slopes)
            flat = np.stack(by_place, axis=-1).reshape(len(x), -1, 6)
            curvature = flat.transpose(0, 2, 1) @ flat + 0.01 * side**2 * np.eye(6, dtype="f4")
            gradient = flat.transpose(0, 2, 1) @ rest.reshape(len(x), -1, 1)
            change = np.linalg.solve(curvature, gradient).reshape(-1, 2, 3)
            changed = place + place[:, :, :2] @ change  # first changed, then placed
            place = start + (changed - start).clip(-FREE, FREE)
    return place


def _axes(side: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the places of pixels from -1 to 1, to the right and down, for broadcasting."""
    axis = ((np.arange(side) + 0.5) / side * 2 - 1).astype(np.float32)
    return axis[None, None, :], axis[None, :, None]


def _moved(a: np.ndarray, place: np.ndarray, margin: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Sample pictures where they lie on others.

    Args:
        a: The pictures.
        place: Their places.
        margin: Pixels at their borders that are not to be sampled.

    Returns:
        The samples, and 1 where there is something to sample, else 0; each as ``a``.
    """
    n, side, _ = a.shape
    right, down = _axes(side)

    def at(row: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        x, y, shift = row.astype(np.float32).T[:, :, None, None]
        pixels = (x * right + y * down + shift + 1) * (side / 2) - 0.5
        within = (pixels > margin - 0.5) & (pixels < side - 0.5 - margin)
        pixels = pixels.clip(0, side - 1.001)
        whole = np.floor(pixels)
        return whole.astype(np.int32), pixels - whole, within

    (x, part_x, within_x), (y, part_y, within_y) = at(place[:, 0]), at(place[:, 1])
    pixel = (np.arange(n, dtype=np.int32) * side**2)[:, None, None] + y * side + x
    flat = a.reshape(-1)
    upper = flat[pixel] * (1 - part_x) + flat[pixel + 1] * part_x
    lower = flat[pixel + side] * (1 - part_x) + flat[pixel + side + 1] * part_x
    return upper * (1 - part_y) + lower * part_y, (within_x & within_y).astype(np.float32)


def _standardised(a: np.ndarray, shared: np.ndarray) -> np.ndarray:
    """Return pictures with mean 0 and deviation 1 over what is shared."""
    count = shared.sum(axis=(1, 2), keepdims=True) + 1e-6
    a = a - (a * shared).sum(axis=(1, 2), keepdims=True) / count
    deviation = np.sqrt((a * a * shared).sum(axis=(1, 2), keepdims=True) / count)
    return np.asarray(a / (deviation + 1e-3))


def _correlation(a: np.ndarray, b: np.ndarray, shared: np.ndarray) -> np.ndarray:
    product = np.asarray(_standardised(a, shared) * _standardised(b, shared) * shared)
    return np.asarray(product.sum(axis=(1, 2)) / (shared.sum(axis=(1, 2)) + 1e-6))


def _halved(a: np.ndarray) -> np.ndarray:
    return np.asarray(a.reshape(len(a), a.shape[1] // 2, 2, a.shape[2] // 2, 2).mean(axis=(2, 4)))


def _outlines(a: np.ndarray) -> np.ndarray:
    """Return what is left between a fine and a coarse smoothing."""
    fine = _smoothed(a, FINE)
    return np.asarray(fine - _smoothed(fine, COARSE - FINE))


def _smoothed(a: np.ndarray, times: int) -> np.ndarray:
    for _ in range(times):
        for axis in (1, 2):
            a = (np.roll(a, 1, axis) + 2 * a + np.roll(a, -1, axis)) / 4
    return a
