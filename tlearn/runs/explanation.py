"""Why the model of a run says what it says: heat maps, and the nearest training photos."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path, PurePath
from typing import Literal, get_args

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter

from tlearn.data.image_paths import PathLike, image_paths
from tlearn.data.images import decode, load_image, read_bytes
from tlearn.errors import ConfigError, DataError, nearest as nearest_name
from tlearn.progress import Progress, Silent
from tlearn.runs.classifier import ModelOutputs
from tlearn.runs.overlay import overlay
from tlearn.runs.run import Run
from tlearn.runs.unknown import MOST_COMPARED, NEIGHBOUR, REJECT

Method = Literal["grad-cam", "occlusion", "both"]
CELLS = 12  # of the grid that patches are moved on, in each direction
PATCH = 3  # cells that a patch covers, in each direction
SOFTNESS = 0.025  # of the side: a hard edge would be something new to see
FAINT = 0.02  # a drop of the probability that is drawn as strong heat at the least
ROWS = 1000  # photos whose distances are computed together
MOST = 200  # photos that are explained at a time
SHOWN = 960  # pixels of the longer side of a photo with its heat map


@dataclass(frozen=True)
class Neighbour:
    """A training photo near to another.

    Attributes:
        file: Its path below the data folder.
        label: Its class.
        distance: Between the features of the two, as the model sees them; at 1 as far as training
            photos usually are from their fifth nearest.
    """

    file: str
    label: str
    distance: float


@dataclass(frozen=True)
class Explanation:
    """Why a model says what it says of one photo.

    Attributes:
        top: The likeliest classes with their probabilities, best first; empty if it has a problem.
        label: The class that is explained.
        probability: Of that class, 0 to 1.
        heat: By method, ``grad-cam`` or ``occlusion``, how much each place speaks for the class,
            ``(size, size)``, from 0 to 1.
        drop: By how much the probability falls at most if a patch covers a part; ``None`` without
            ``occlusion``.
        neighbours: The nearest training photos, the nearest first.
        unknown: Whether it is unlike the photos of all classes; see
            :class:`tlearn.runs.predictions.Prediction`.
        problem: Why the photo cannot be read, else empty.
    """

    path: Path
    top: tuple[tuple[str, float], ...] = ()
    label: str = ""
    probability: float = 0.0
    heat: dict[str, np.ndarray] = field(default_factory=dict)
    drop: float | None = None
    neighbours: tuple[Neighbour, ...] = ()
    unknown: bool = False
    problem: str = ""


def heat_maps(run: Run, pixels: np.ndarray, classes: Sequence[int] | np.ndarray) -> np.ndarray:
    """Return how much each place of photos speaks for a class, by Grad-CAM on the saved model.

    Args:
        run: The run.
        pixels: As its model takes them, from 0 to 255, ``(n, size, size, 3)``.
        classes: The position of a class among the labels of the run, for each photo, ``(n,)``.

    Returns:
        ``(n, size, size)``, from 0 to 1: see :meth:`tlearn.features.grad_cam.GradCam.heat_maps`.
    """
    from tlearn.features.grad_cam import grad_cam

    return grad_cam(run.model).heat_maps(pixels, np.asarray(classes, np.int32))


def occlusion(run: Run, pixels: np.ndarray, number: int) -> tuple[np.ndarray, float]:
    """Return how much covering each place of a photo lowers the probability of a class.

    A patch of the photo's mean colour, with soft edges, is moved over it (Zeiler and Fergus,
    Visualizing and understanding convolutional networks, ECCV 2014); a place has the mean over the
    patches that cover it.

    Args:
        run: The run.
        pixels: As its model takes them, uint8, ``(size, size, 3)``.
        number: The position of the class among the labels of the run.

    Returns:
        A heat map ``(size, size)`` from 0 to 1, pale where nothing lowers the probability by at
        least 0.02, and the largest drop of the probability.
    """
    size, colour = pixels.shape[0], pixels.mean(axis=(0, 1))
    edges = np.linspace(0, size, CELLS + 1).round().astype(int)
    corners = list(product(range(CELLS - PATCH + 1), repeat=2))
    covered = [pixels]
    for row, column in corners:
        mask = np.zeros((size, size))
        mask[edges[row] : edges[row + PATCH], edges[column] : edges[column + PATCH]] = 1
        mask = gaussian_filter(mask, SOFTNESS * size)[..., None]
        covered.append(((1 - mask) * pixels + mask * colour).round().astype(np.uint8))
    whole, *others = run.classifier.predict_pixels(covered)[:, number].astype(np.float64)
    total, count = np.zeros((2, CELLS, CELLS))
    for (row, column), probability in zip(corners, others, strict=True):
        cells = (slice(row, row + PATCH), slice(column, column + PATCH))
        total[cells] += whole - probability
        count[cells] += 1
    drops = np.maximum(total / count, 0)
    small = Image.fromarray((drops / max(drops.max(), FAINT)).astype(np.float32))
    heat = np.asarray(small.resize((size, size), Image.Resampling.BICUBIC))
    return heat.clip(0, 1), float(whole - min(others))


def nearest(run: Run, features: np.ndarray, most: int = 5) -> list[tuple[Neighbour, ...]]:
    """Return the training photos nearest to photos, of those that the run has the features of.

    Args:
        run: The run.
        features: Of the photos, ``(n, m, k)``: see
            :meth:`tlearn.runs.classifier.Classifier.predict_with_features`.
        most: How many for each photo.

    Raises:
        RunError: If ``outputs.npz`` of the run is missing or damaged.
    """
    training = run.outputs().of_split("train")
    known = training.features[:, -1]
    usual = usual_distance(known)
    near = []
    for start in range(0, len(features), ROWS):
        for row in distances_between(features[start : start + ROWS, -1], known):
            distances = row / usual
            order = np.argsort(distances, kind="stable")[:most].tolist()
            near.append(
                tuple(
                    Neighbour(str(training.files[i]), str(training.labels[i]), float(distances[i]))
                    for i in order
                )
            )
    return near


def usual_distance(features: np.ndarray) -> float:
    """Return how far photos usually are from their fifth nearest: features ``(n, k)``, n > 1."""
    some = features[np.random.RandomState(0).permutation(len(features))[:MOST_COMPARED]]
    distances = np.sort(distances_between(some, some), axis=1)  # the first is the photo itself
    return float(np.median(distances[:, : NEIGHBOUR + 1][:, -1])) or 1.0


def distances_between(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return Euclidean distances ``(n, m)`` of vectors ``(n, k)`` and ``(m, k)``."""
    one, other = one.astype(np.float64), other.astype(np.float64)
    squares = (one**2).sum(1)[:, None] + (other**2).sum(1) - 2 * one @ other.T
    distances: np.ndarray = np.sqrt(np.maximum(squares, 0))
    return distances


def explain(
    run: Run | PathLike,
    paths: PathLike | Iterable[PathLike],
    *,
    method: Method = "grad-cam",
    label: str | None = None,
    neighbours: int = 5,
    progress: Progress | None = None,
) -> list[Explanation]:
    """Explain what the model of a run says of photos.

    :func:`tlearn.runs.explanation_files.write_explanations` writes them as pictures and a page.

    Args:
        run: The run, or its directory.
        paths: Photos; folders, archives and tables stand for all files in them. At most 200.
        method: ``grad-cam``, which takes one pass of the model; ``occlusion``, which takes 101; or
            ``both``.
        label: The class to explain; that which is likeliest for each photo if not given.
        neighbours: How many of the nearest training photos to name.
        progress: Where to show progress.

    Raises:
        ConfigError: If there is no such method or class, or fewer than no neighbours.
        DataError: If a path does not exist, or there are too many photos.
        RunError: If the run cannot be used.

    Example:
        >>> tlearn.explain("runs/photos", "new.jpg")[0].neighbours  # doctest: +SKIP
    """
    run, progress = run if isinstance(run, Run) else Run(run), progress or Silent()
    if method not in get_args(Method):
        allowed = ", ".join(get_args(Method))
        raise ConfigError(f"method must be one of {allowed}. Received: {method!r}")
    if neighbours < 0:
        raise ConfigError(f"neighbours must be 0 or more. Received: {neighbours}")
    if label is not None and label not in run.labels:
        raise ConfigError(
            f"the run {str(run.path)!r} has no class {label!r}{nearest_name(label, run.labels)}; "
            f"it has {', '.join(run.labels)}"
        )
    files = image_paths([paths] if isinstance(paths, str | PurePath) else paths, progress)
    if len(files) > MOST:
        raise DataError(
            f"{len(files)} photos are too many to explain at a time; give up to {MOST}, or a "
            f"folder of as many"
        )
    explanations, readable = list[Explanation](), list[ModelOutputs]()
    with progress.task("explaining", len(files), "images") as task:
        for path, outputs in run.classifier.predict_with_features(files):
            task.advance()
            if isinstance(outputs, DataError):
                explanations.append(Explanation(path, problem=str(outputs)))
            else:
                explanations.append(_explain(run, path, outputs, method, label))
                readable.append(outputs)
    if not readable:
        return explanations
    near = iter(nearest(run, np.stack([outputs.features for outputs in readable]), neighbours))
    threshold = run.unknown_detector.threshold(REJECT)
    unknown = iter([score > threshold for score, _ in run.unknown_detector.each(readable)])
    return [
        e if e.problem else replace(e, neighbours=next(near), unknown=next(unknown))
        for e in explanations
    ]


def _explain(
    run: Run, path: Path, outputs: ModelOutputs, method: Method, label: str | None
) -> Explanation:
    """Explain what the model says of a photo that it could read."""
    p = outputs.probabilities
    ranked = np.argsort(-p, kind="stable")
    number = int(ranked[0]) if label is None else run.labels.index(label)
    classifier = run.classifier
    pixels = load_image(path, classifier.size, classifier.resize, *classifier.ranges)
    heat, drop = {}, None
    if method != "occlusion":
        heat["grad-cam"] = heat_maps(run, pixels[None], [number])[0]
    if method != "grad-cam":
        heat["occlusion"], drop = occlusion(run, pixels, number)
    top = tuple((run.labels[i], float(p[i])) for i in ranked[:3].tolist())
    return Explanation(path, top, run.labels[number], float(p[number]), heat, drop)


def shown_photo(run: Run, path: Path) -> Image.Image:
    """Return a photo to look at: upright, RGB, its longer side at most ``SHOWN`` pixels.

    Raises:
        DataError: If it cannot be read.
    """
    photo = decode(read_bytes(path), SHOWN // 2, run.classifier.ranges)
    photo.thumbnail((SHOWN, SHOWN))
    return photo


def overlays(run: Run, explanation: Explanation) -> dict[str, Image.Image]:
    """Return the photo of an explanation with each of its heat maps over it, by method.

    Raises:
        DataError: If the photo cannot be read any more.
    """
    photo = shown_photo(run, explanation.path)
    resize = run.classifier.resize
    return {name: overlay(photo, heat, resize) for name, heat in explanation.heat.items()}
