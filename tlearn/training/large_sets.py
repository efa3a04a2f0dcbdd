"""The probe of a set with more images than its strength is chosen on."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from tlearn.features.built_backbone import HALF
from tlearn.progress import Progress
from tlearn.training import regression
from tlearn.training.probe import Probe, Start, require_finite

NUMBERS = 2**28  # features times images that a probe is fitted on, at most: 512 MiB of float16


def most_images(width: int) -> int:
    """Return how many images with ``width`` features each a probe is fitted on at most."""
    return NUMBERS // width


def refit(
    probe: Probe,
    sampled: np.ndarray,
    batches: Iterable[np.ndarray],
    y: np.ndarray,
    class_weights: Sequence[float],
    progress: Progress,
    start: Start | None = None,
) -> Probe:
    """Fit a probe to more images than the sample that it was fitted on.

    It keeps the sample's standardisation and its cross-validated figures. As these are of a poorer
    probe, and perhaps of fewer classes, they count no image as measured. Nothing else is held in
    memory than the standardised features, as float16, and a few copies of the weights.

    Args:
        probe: The probe of the sample.
        sampled: Class indices of the images that it was fitted on.
        batches: The features of the images, ``(k, d)`` each.
        y: Class indices of all images.
        class_weights: Weight of each class.
        progress: Shows what is done.
        start: What it goes on from, if not from nothing.

    Raises:
        BackboneError: If features are not finite.
    """
    rows, done = np.empty((len(y), len(probe.mean)), np.float16), 0
    given = np.empty((len(y), len(class_weights)), np.float32) if start else None
    with progress.task("reading features", len(y), "images") as task:
        for features in batches:
            require_finite(features)
            standardised = (features - probe.mean) / probe.scale
            rows[done : done + len(features)] = np.clip(standardised, -HALF, HALF)
            if start and given is not None:
                given[done : done + len(features)] = start.head.logits(features)
            done += len(features)
            task.advance(len(features))
    # So that the penalty weighs the same against the mean loss of an image: with 1,300 to 9,000
    # images of 31 and 101 classes, the best strengths were near that.
    strength = probe.cross_validation.optimum * _per_class(sampled) / _per_class(y)
    with progress.task("fitting the probe to all images", regression.STEPS, "steps") as task:
        kernel, bias = regression.fit(rows, y, strength, class_weights, task.advance, given)
    if start is not None:
        kernel, bias = start.head.added_to(kernel, bias, probe.mean, probe.scale)
    none = np.zeros(0, np.int64)
    figures = replace(probe.cross_validation, positions=none, guesses=none)
    return replace(probe, kernel=kernel, bias=bias, cross_validation=figures)


def _per_class(y: np.ndarray) -> float:
    return len(y) / len(np.unique(y))
