"""Measures of single photos: how they are stored, how large, dark, bright and sharp they are."""

import contextlib
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from PIL import Image

from tlearn.data.columns import CHUNK, NAMES
from tlearn.data.file_table import FileTable, ImageFile
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


_TEXTS = ("format", "mode")
_KIND = np.dtype(
    [*((name, "i2") for name in _TEXTS), ("width", "i4"), ("height", "i4")]
    + [(name, "?") for name in Measures._fields[4:7]]
    + [(name, "f8") for name in Measures._fields[7:]]
)


class MeasureTable:
    """Measures of photos in columns, 87 bytes for each photo.

    Args:
        rows: ``(n,)``, with a field for each of :class:`Measures`; texts by their numbers.
        texts: The different texts.
    """

    def __init__(self, rows: np.ndarray, texts: Sequence[str]) -> None:
        self._rows, self._texts = rows, texts

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[Measures]:
        for start in range(0, len(self), CHUNK):
            for first, second, *numbers in self._rows[start : start + CHUNK].tolist():
                yield Measures(self._texts[first], self._texts[second], *numbers)

    def part(self, places: np.ndarray) -> "MeasureTable":
        """Return those of the photos at some positions, or of a mask."""
        return MeasureTable(self._rows[places], self._texts)

    def column(self, name: str) -> np.ndarray:
        """Return one number of each photo, ``(n,)``."""
        return np.asarray(self._rows[name])

    def modes(self) -> Counter[str]:
        """Return how many photos are of each mode."""
        numbers, counts = np.unique(self._rows["mode"], return_counts=True)
        return Counter(
            {self._texts[k]: n for k, n in zip(numbers.tolist(), counts.tolist(), strict=True)}
        )


class Measuring:
    """Measures the photos that :func:`tlearn.data.scan.scan` looks at."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._number_of: dict[str, int] = {}
        self._names: list[str] = []
        self._rows: list[tuple[Any, ...]] = []
        self._parts: list[tuple[Any, np.ndarray]] = []  # of those before: names and rows

    def inspect(self, file: ImageFile, examined: Examined, data: bytes) -> None:
        """Measure a photo."""
        form, mode, *numbers = measure(examined, data)
        with self._lock:
            texts = (self._number_of.setdefault(t, len(self._number_of)) for t in (form, mode))
            self._rows.append((*texts, *numbers))
            self._names.append(file.name)
            if len(self._names) == CHUNK:
                self._flush()

    def _flush(self) -> None:
        self._parts.append((pa.array(self._names, NAMES), np.array(self._rows, _KIND)))
        self._names, self._rows = [], []

    def measures_of(self, files: FileTable) -> MeasureTable:
        """Return the measures of photos, in their order.

        Raises:
            KeyError: If one was not measured.
        """
        self._flush()
        names = pa.concat_arrays([names for names, _ in self._parts])
        places = pc.index_in(files.names, value_set=names)
        if places.null_count:
            raise KeyError("a photo that was not measured")
        rows = np.concatenate([rows for _, rows in self._parts])
        return MeasureTable(rows[places.to_numpy()], (*self._number_of,))


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
