"""Measures of single photos: how they are stored, how large, dark, bright and sharp they are."""

import contextlib
import threading
from typing import NamedTuple

import numpy as np
from PIL import Image

from tlearn.data.file_table import ImageFile
from tlearn.data.images import Examined, stored_size

PIXELS = 256  # pixels of the longer side of what is measured: about what networks see
BLUR_WIDTH = 9  # pixels of the blur that shows how sharp a photo is
ORIENTATION = 0x0112  # EXIF tag


class Measures(NamedTuple):
    """What is measured on one photo.

    Attributes:
        format: As Pillow calls it: ``JPEG``, ``PNG``, ...
        mode: As Pillow calls it: ``RGB``, ``L``, ``CMYK``, ...
        width: In pixels, as stored.
        height: In pixels, as stored.
        several: Whether it holds more than one frame or page.
        turned: Whether EXIF says that it is to be turned or mirrored.
        grey: Whether it has no colour, however it is stored.
        dark: The luminance, from 0 to 255, that 5% of the photo exceed.
        bright: The luminance that 95% of the photo exceed.
        darkest: The luminance that 99.5% of the photo exceed.
        brightest: The luminance that 0.5% of the photo exceed.
        spread: The largest standard deviation of a colour channel, from 0 to 127.5.
        blur: How little another blur changes it, from 0 (sharp) to 1.
        edge: The sharpest edges in it, in parts of its range of luminance.
        along: The same in the direction in which it is least sharp, as that of a motion.
        across: The same across that direction.
    """

    format: str
    mode: str
    width: int
    height: int
    several: bool
    turned: bool
    grey: bool
    dark: float
    bright: float
    darkest: float
    brightest: float
    spread: float
    blur: float
    edge: float
    along: float
    across: float


class Measuring:
    """Measures the photos that :func:`tlearn.data.scan.scan` looks at; a few hundred bytes each.

    Attributes:
        measures: By the names of the photos.
    """

    def __init__(self) -> None:
        self.measures: dict[str, Measures] = {}
        self._lock = threading.Lock()

    def inspect(self, file: ImageFile, examined: Examined, data: bytes) -> None:
        """Measure a photo."""
        measures = measure(examined, data)
        with self._lock:
            self.measures[file.name] = measures


def measure(examined: Examined, data: bytes) -> Measures:
    """Measure a photo that was decoded from ``data``; it is shrunk."""
    loaded = examined.loaded
    width, height = stored_size(loaded, data)
    several = turned = False
    with contextlib.suppress(Exception):  # damaged metadata count as none
        # An MPO is a JPEG with what cameras add to it, such as a preview.
        several = loaded.format != "MPO" and bool(getattr(loaded, "is_animated", False))
    with contextlib.suppress(Exception):
        turned = loaded.getexif().get(ORIENTATION, 1) in range(2, 9)
    small = examined.image
    small.thumbnail((PIXELS, PIXELS), Image.Resampling.BOX)
    channels = np.array([np.asarray(channel, np.float32) for channel in small.split()])
    grey = np.asarray(small.convert("L"), np.float32)
    dark, bright, darkest, brightest = np.percentile(grey, (95, 5, 0.5, 99.5)).tolist()
    return Measures(
        loaded.format or "",
        loaded.mode,
        width,
        height,
        several,
        turned,
        bool((channels.max(0) - channels.min(0)).mean() < 2),
        dark,
        bright,
        darkest,
        brightest,
        float(channels.std((1, 2)).max()),
        blur(grey),
        *edges(grey),
    )


def blur(grey: np.ndarray) -> float:
    """Return how little a photo is changed by another blur, from 0 (sharp) to 1 (blurred).

    F. Crete et al., The blur effect: perception and estimation with a new no-reference perceptual
    blur metric, SPIE 6492 (2007). What is smooth by nature counts little, unlike in the variance
    of the Laplacian.

    Args:
        grey: Luminance from 0 to 255, shape ``(height, width)``.
    """
    from scipy.ndimage import uniform_filter1d  # a quarter of a second

    if min(grey.shape) < 2:
        return 0.0
    values = []
    for axis in (0, 1):
        before = np.abs(np.diff(grey, axis=axis))
        after = np.abs(np.diff(uniform_filter1d(grey, BLUR_WIDTH, axis=axis), axis=axis))
        lost = np.maximum(0, before - after).sum()
        values.append(1 - lost / max(before.sum(), 1e-6))
    return float(max(values))


def edges(grey: np.ndarray) -> tuple[float, float, float]:
    """Return how sharp the sharpest edges are: in all, in one direction, and across that.

    That is the 99.5th percentile of the Laplacian, and of second differences, in parts of the range
    of luminance. It is high if anything in a photo is sharp, as before a background that is not.
    The direction is that of four in which the differences are least, as along a motion.
    """
    if min(grey.shape) < 3:
        return 0.0, 0.0, 0.0
    low, high = np.percentile(grey, (1, 99))
    inner = grey[1:-1, 1:-1]
    right, down = grey[1:-1, 2:] + grey[1:-1, :-2], grey[2:, 1:-1] + grey[:-2, 1:-1]
    falling, rising = grey[2:, 2:] + grey[:-2, :-2], grey[2:, :-2] + grey[:-2, 2:]

    def sharpness(differences: np.ndarray) -> float:
        sizes = np.abs(differences).ravel()
        place = int(0.995 * (len(sizes) - 1))
        return float(np.partition(sizes, place)[place] / max(high - low, 8))

    pairs = [(right, down, 1.0), (falling, rising, 1.5)]  # pixels of diagonals are farther apart
    directions = [tuple(sharpness(x - 2 * inner) / by for x in pair) for *pair, by in pairs]
    along, across = min((sorted(pair) for pair in directions), key=lambda pair: pair[0])
    return sharpness(right + down - 4 * inner), along, across
