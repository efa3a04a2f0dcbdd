"""What the checks of content compare: for each picture a row of features and a thumbnail.

Memory is a few kilobytes for each picture: the features of all taps pass by in batches, and only
their principal components stay.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image
from scipy.linalg import eigh

from tlearn.checks.alignment import PIXELS
from tlearn.data.file_table import FileTable, ImageFile
from tlearn.data.prefetch import prefetch_map, readers
from tlearn.data.scanned_photos import read_scanned
from tlearn.features.activations import BATCH, Activations
from tlearn.features.built_backbone import FEATURES
from tlearn.features.image_views import ImageViews
from tlearn.progress import Progress
from tlearn.training.probe import require_finite, standardise

WIDTH = 512  # components at most: with more the checks are not better
SAMPLE = 2000  # photos whose components they are
LOOKED_AT = 128  # pixels of the longer side that borders are searched in
EVEN = 16  # of 255, between the 5th and the 95th percentile of a line of one colour
SAME = 10  # between the colours of the lines of a border
INNER = 1 / 3  # of each side at least is no border


@dataclass(frozen=True)
class Components:
    """Projects features on the axes along which those of a sample differ most.

    Attributes:
        mean: Subtracted from the features, ``(d,)``.
        scale: What they are divided by then, ``(d,)``.
        axes: ``(d, k)``.
    """

    mean: np.ndarray
    scale: np.ndarray
    axes: np.ndarray

    @classmethod
    def of(cls, x: np.ndarray, to_standardise: bool) -> "Components":
        """Return the components of a sample of features, ``(n, d)``.

        Raises:
            BackboneError: If there are features that are not finite.
        """
        require_finite(x)
        mean, scale, z = np.zeros(x.shape[1], x.dtype), np.ones(x.shape[1], x.dtype), x
        if to_standardise:
            mean, scale, z = standardise(x)
        most = min(WIDTH, len(z))
        squares, vectors = eigh(z @ z.T, subset_by_index=(len(z) - most, len(z) - 1))
        some = squares > 1e-6 * max(float(squares.max()), 1e-6)
        axes = z.T @ (vectors[:, some] / np.sqrt(squares[some]))
        return cls(mean, scale, axes.astype(np.float32))

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Return the components ``(n, k)`` of features ``(n, d)``."""
        require_finite(x)
        return np.asarray((x - self.mean) / self.scale @ self.axes, np.float32)


@dataclass(frozen=True)
class PhotoFeatures:
    """What is compared of ``n`` photos.

    Attributes:
        depths: Components of the standardised features of all depths, ``(n, k)``: for probes, and
            for what looks alike.
        top: Components of the averages at the top, ``(n, k)``, with the angles between them: for
            what is alike.
    """

    depths: np.ndarray
    top: np.ndarray


def read_features(
    activations: Activations, files: FileTable, seed: int, progress: Progress
) -> PhotoFeatures:
    """Return the features of photos; cache them, too, where trainings find them.

    Raises:
        DataError: If a photo can no longer be read.
    """
    views = ImageViews(files)
    activations.cache_missing(views, (FEATURES,))
    tap = activations.built.taps[-1]
    columns = slice(-tap.width, tap.channels - tap.width or None)  # the averages come first
    chosen = np.sort(np.random.default_rng(seed).permutation(len(files))[:SAMPLE])
    sample = activations.rows(views[chosen], FEATURES)
    parts = (Components.of(sample, True), Components.of(sample[:, columns], False))
    depths, top = (np.empty((len(files), part.axes.shape[1]), np.float32) for part in parts)
    done = 0
    with progress.task("reading features", len(files), "images") as task:
        for arrays in activations.batches(views.batches(BATCH), [FEATURES]):
            x = arrays[FEATURES]
            depths[done : done + len(x)] = parts[0](x)
            top[done : done + len(x)] = parts[1](x[:, columns])
            done += len(x)
            task.advance(len(x))
    return PhotoFeatures(depths, top)


def thumbnails(files: Sequence[ImageFile], progress: Progress) -> np.ndarray:
    """Return grey thumbnails of photos without even borders: ``(n, PIXELS, PIXELS)`` uint8.

    They are squashed.

    Raises:
        DataError: If a photo can no longer be read.
    """

    def render(file: ImageFile) -> np.ndarray:
        with read_scanned(file, PIXELS) as image:
            box = within_borders(image)
            small = image.resize((PIXELS, PIXELS), Image.Resampling.BICUBIC, box)
            return np.asarray(small.convert("L"))

    result = np.empty((len(files), PIXELS, PIXELS), np.uint8)
    with progress.task("making thumbnails", len(files), "images") as task:
        for i, pixels in enumerate(
            prefetch_map(render, files, threads=readers(file.path for file in files[:1]))
        ):
            result[i] = pixels
            task.advance()
    return result


def within_borders(image: Image.Image) -> tuple[int, int, int, int]:
    """Return the box of an RGB image without borders of one colour, in pixels."""
    scale = max(1, max(image.size) // LOOKED_AT)
    grey = np.asarray(image.reduce(scale).convert("L"))
    box = []
    for lines in (grey.T, grey):
        first, last = _border(lines), len(lines) - _border(lines[::-1])
        box.append((first, last) if last - first >= INNER * len(lines) else (0, len(lines)))
    (left, right), (top, bottom) = box
    width, height = image.size
    return scale * left, scale * top, min(scale * right, width), min(scale * bottom, height)


def _border(lines: np.ndarray) -> int:
    """Return how many of the first lines are of one colour."""
    some = lines.shape[1] // 20
    for n, line in enumerate(np.sort(lines[k]) for k in range(len(lines))):
        low, high = int(line[some]), int(line[-1 - some])
        if n == 0:
            first = low + high
        if high - low > EVEN or abs(low + high - first) > 2 * SAME:
            return n
    return len(lines)
