"""How much two pictures are the same, once one is stretched and shifted to lie on the other.

A slight crop moves everything. So the stretch and shift are estimated first, with Lucas and
Kanade's method (IJCAI 1981) from coarse to fine; then the correlation of what the pictures share is
taken, of the pictures themselves and of their outlines. Outlines tell two shots from two copies:
light and large areas are alike in many photos of one scene.
"""

import numpy as np

PIXELS = 64  # the side of a thumbnail that is compared
LEVELS = 3  # of halved thumbnails
STEPS = 6  # of each
STRETCH = (0.75, 1.33)
SHIFT = 0.3  # of half a side, at most
MARGIN = 2  # pixels at the borders that are not compared: filters see beyond them
FINE, COARSE = 1, 4  # smoothings between which outlines are: with 2 and 12, silhouettes count
PAIRS = 256  # at a time


def similarity(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the correlation of pictures and of outlines of pairs of aligned thumbnails.

    Args:
        first: Grey thumbnails, ``(n, side, side)``, of any type; the side is a multiple of 4.
        second: Those that they are compared with.

    Returns:
        ``(n, 2)``: both correlations, from -1 to 1; 1 for copies.
    """
    parts = [
        _similarity(
            first[i : i + PAIRS].astype(np.float32), second[i : i + PAIRS].astype(np.float32)
        )
        for i in range(0, len(first), PAIRS)
    ]
    return np.concatenate([np.zeros((0, 2)), *parts])


def _similarity(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    place = _align(a, b)
    moved, shared = _moved(a, place)
    outlines, _ = _moved(_outlines(a), place)
    inner = np.zeros_like(shared)
    inner[:, MARGIN:-MARGIN, MARGIN:-MARGIN] = shared[:, MARGIN:-MARGIN, MARGIN:-MARGIN]
    pairs = ((moved, b), (outlines, _outlines(b)))
    return np.stack([_correlation(x, y, inner) for x, y in pairs], axis=1)


def _align(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the stretch and shift of each picture a that lay it on b, ``(n, 4)``.

    These are horizontal and vertical stretch, then shift, in units of half a side.
    """
    pyramid = [(a, b)]
    for _ in range(LEVELS - 1):
        pyramid.append((_halved(pyramid[-1][0]), _halved(pyramid[-1][1])))
    place = np.tile(np.array([1.0, 1.0, 0.0, 0.0]), (len(a), 1))
    for x, y in reversed(pyramid):
        side = x.shape[1]
        axis = _axis(side)
        for _ in range(STEPS):
            moved, shared = _moved(x, place)
            moved = _standardised(moved, shared)
            rest = (_standardised(y, shared) - moved) * shared
            down, right = (slope * side / 2 for slope in np.gradient(moved, axis=(1, 2)))
            stretches = [right * axis, down * axis[:, None]]
            slopes = np.stack([*stretches, right, down], axis=-1) * shared[..., None]
            flat = slopes.reshape(len(x), -1, 4)
            curvature = flat.transpose(0, 2, 1) @ flat + 0.01 * side**2 * np.eye(4)
            gradient = flat.transpose(0, 2, 1) @ rest.reshape(len(x), -1, 1)
            place += np.linalg.solve(curvature, gradient)[..., 0]
            place[:, :2] = place[:, :2].clip(*STRETCH)
            place[:, 2:] = place[:, 2:].clip(-SHIFT, SHIFT)
    return place


def _axis(side: int) -> np.ndarray:
    """Return the places of pixels from -1 to 1."""
    return (np.arange(side) + 0.5) / side * 2 - 1


def _moved(a: np.ndarray, place: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sample pictures where they lie on others; return where there is something to sample, too."""
    side = a.shape[1]

    def sampled(stretch: np.ndarray, shift: np.ndarray) -> tuple[np.ndarray, ...]:
        at = (stretch[:, None] * _axis(side) + shift[:, None] + 1) / 2 * side - 0.5
        within = ((at > -0.5) & (at < side - 0.5)).astype(np.float32)
        at = at.clip(0, side - 1.001)
        pixel = at.astype(np.int64)
        return pixel, (at - pixel).astype(np.float32), within

    x, part_x, within_x = (v[:, None, :] for v in sampled(place[:, 0], place[:, 2]))
    y, part_y, within_y = (v[:, :, None] for v in sampled(place[:, 1], place[:, 3]))
    n = np.arange(len(a))[:, None, None]
    upper = a[n, y, x] * (1 - part_x) + a[n, y, x + 1] * part_x
    lower = a[n, y + 1, x] * (1 - part_x) + a[n, y + 1, x + 1] * part_x
    return np.asarray(upper * (1 - part_y) + lower * part_y), np.asarray(within_x * within_y)


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
