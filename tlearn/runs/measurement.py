"""How good a classifier is: figures with their intervals, and how they are written."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from statistics import NormalDist
from typing import Any, Literal

import numpy as np

from tlearn.data.file_table import FileTable
from tlearn.errors import DataError
from tlearn.metrics import METRICS, Metric, guess_counts
from tlearn.progress import Progress, Silent
from tlearn.runs.classifier import Classifier, ModelOutputs
from tlearn.text import percent

LEVEL = 0.05  # of error at which a difference is called significant
FEW = 30  # images below which the interval is shown first
NARROW = 0.1  # half the width of an informative interval
Z = NormalDist().inv_cdf(1 - LEVEL / 2)
Figures = Mapping[str, Any]


def metrics_in(figures: Figures) -> list[Metric]:
    """Return the metrics that figures hold: older runs may lack some."""
    return [metric for metric in METRICS.values() if metric.key in figures]


def metric_text(metric: Metric, figures: Figures) -> str:
    """Return a metric as people read it."""
    value = figures[metric.key]
    if metric.key == "accuracy":
        return accuracy_text(value, figures["n"])
    if value is None:
        return "not finite"
    return with_interval(value, figures["n"]) if metric.share else format(value, metric.form)


def metric_texts(figures: Figures) -> dict[str, str]:
    """Return those for which there is always room as people read them, by their names."""
    return {m.name: metric_text(m, figures) for m in metrics_in(figures) if m.brief}


def measured_split(metrics: Mapping[str, Any]) -> Literal["validation", "test"]:
    """Return the split whose figures in ``metrics.json`` stand for a run: test, if it has one."""
    return "test" if "test" in metrics else "validation"


def measure_files(
    classifier: Classifier,
    files: FileTable,
    progress: Progress | None = None,
    rows: np.ndarray | None = None,
) -> tuple[dict[str, Any], ModelOutputs]:
    """Return the figures of labelled images, and what the model gives for them, in their order.

    The figures are as of :func:`measure`, by the path that predicts for users; ``rows`` as of
    :func:`outputs_of`.

    Raises:
        DataError: If one of them can no longer be read.
    """
    outputs = outputs_of(classifier, files, progress, rows)
    y = class_numbers(files, classifier.labels)
    return measure(y, outputs.probabilities, classifier.labels), outputs


def outputs_of(
    classifier: Classifier,
    files: FileTable,
    progress: Progress | None = None,
    rows: np.ndarray | None = None,
) -> ModelOutputs:
    """Return what a model gives for images, in the order of the files.

    Args:
        classifier: The model.
        files: The images.
        progress: Shows progress.
        rows: The positions of the images whose features are returned, all if not given: they take
            much more memory than probabilities.

    Raises:
        DataError: If one of them can no longer be read.
    """
    wanted = np.ones(len(files), bool) if rows is None else np.isin(np.arange(len(files)), rows)
    probabilities = np.empty((len(files), 0), np.float32)
    features: list[np.ndarray] = []
    with (progress or Silent()).task("evaluating", len(files), "images") as task:
        given = classifier.predict_with_features([file.path for file in files])
        for i, (path, outputs) in enumerate(given):
            if isinstance(outputs, DataError):
                raise DataError(f"{str(path)!r} can no longer be read: {outputs}; start again")
            if i == 0:  # of runs side by side there are those of each
                probabilities = np.empty((len(files), len(outputs.probabilities)), np.float32)
            probabilities[i] = outputs.probabilities
            if wanted[i]:
                features.append(outputs.features)
            task.advance()
    return ModelOutputs(probabilities, np.stack(features))


def class_numbers(files: FileTable, labels: Sequence[str]) -> np.ndarray:
    """Return the classes of images as positions among the labels, ``(n,)``; all are there."""
    return files.labels.as_numbers(labels)


def measure(y: np.ndarray, probabilities: np.ndarray, labels: Sequence[str]) -> dict[str, Any]:
    """Return the figures of ``metrics.json`` for one split.

    Args:
        y: True class indices, ``(n,)``.
        probabilities: ``(n, classes)``.
        labels: Class names.

    Returns:
        ``n``, every one of :data:`tlearn.metrics.METRICS`, for each that is a share of the images
        its interval, as ``accuracy_ci95`` (Wilson, 1927), ``per_class``
        (precision, recall, f1, n; recall and f1 are ``None`` without images), and ``confusion``:
        for each true class, how many images were predicted as which, where there are any.
    """
    p = probabilities.astype(np.float64)
    p /= p.sum(axis=1, keepdims=True)
    right, images, guesses = guess_counts(y, p)
    figures = {key: metric.compute(y, p) for key, metric in METRICS.items()}
    return {
        "n": len(y),
        **figures,
        **{
            f"{key}_ci95": interval(figures[key], len(y))
            for key, metric in METRICS.items()
            if metric.share
        },
        "per_class": {
            label: {
                "precision": float(right[i] / max(1, guesses[i])),
                "recall": float(right[i] / images[i]) if images[i] else None,
                "f1": float(2 * right[i] / (images[i] + guesses[i])) if images[i] else None,
                "n": int(images[i]),
            }
            for i, label in enumerate(labels)
        },
        "confusion": _confusion(y, p.argmax(axis=1), labels),
    }


def _confusion(
    y: np.ndarray, guess: np.ndarray, labels: Sequence[str]
) -> dict[str, dict[str, int]]:
    counts: dict[str, dict[str, int]] = {label: {} for label in labels}
    cells = Counter(zip(y.tolist(), guess.tolist(), strict=True))
    for (true, predicted), count in sorted(cells.items()):
        counts[labels[true]][labels[predicted]] = count
    return counts


def confused_pairs(figures: Figures) -> list[tuple[str, str, int]]:
    """Return true class, predicted class and count of all errors, the most frequent first."""
    pairs = [
        (true, predicted, count)
        for true, row in figures["confusion"].items()
        for predicted, count in row.items()
        if true != predicted
    ]
    return sorted(pairs, key=lambda pair: -pair[2])


def interval(accuracy: float, n: int) -> list[float]:
    """Return the 95% interval of an accuracy over ``n`` images (Wilson, 1927)."""
    middle = (accuracy + Z**2 / (2 * n)) / (1 + Z**2 / n)
    half = Z / (1 + Z**2 / n) * math.sqrt(accuracy * (1 - accuracy) / n + Z**2 / (4 * n**2))
    return [max(0.0, middle - half), min(1.0, middle + half)]


def with_interval(accuracy: float, n: int) -> str:
    """Return an accuracy over ``n`` images with its interval."""
    low, high = map(percent, interval(accuracy, n))
    value = percent(accuracy) if n >= FEW else f"{round(accuracy * n)} of {n} right"
    return f"{value} (95% interval {low} to {high})"


def accuracy_text(accuracy: float, n: int) -> str:
    """Return an accuracy with its interval; over few images, how many more narrow it."""
    if n >= FEW:
        return with_interval(accuracy, n)
    low, high = map(percent, interval(accuracy, n))
    text = f"{round(accuracy * n)} of {n} right; too few photos to be sure: {low} to {high}"
    more = photos_missing(accuracy, n)
    return f"{text} ({more} more would tell within {NARROW:.0%})" if more else text


def photos_missing(accuracy: float, n: int) -> int:
    """Return how many more images narrow the 95% interval to :data:`NARROW` on either side."""
    more = 0
    while np.ptp(interval(accuracy, n + more)) > 2 * NARROW:
        more += 1
    return more


@cache
def mcnemar(first: int, second: int) -> float:
    """Return how likely a difference as large is by chance: the exact test of McNemar (1947).

    Args:
        first: How many images one of two classifiers alone is right about.
        second: How many the other alone is right about.
    """
    from scipy.stats import binomtest  # takes half a second

    return float(binomtest(first, first + second).pvalue) if first + second else 1.0


@dataclass(frozen=True)
class Gain:
    """How much more often one classifier is right than another, on the same images.

    Attributes:
        share: The difference of their accuracies.
        ci95: Its 95% interval.
        p_value: How likely a difference as large is by chance; see :func:`mcnemar`.
        images: How many images it was measured on.
    """

    share: float
    ci95: tuple[float, float]
    p_value: float
    images: int

    @property
    def text(self) -> str:
        """It, for people."""
        # 0.0 is added because there is a -0.0, too.
        gain, low, high = (f"{round(100 * x, 1) + 0.0:+.1f}" for x in (self.share, *self.ci95))
        return f"{gain} points (95% interval {low} to {high}, p = {self.p_value:.2g})"


def paired_gain(one: np.ndarray, other: np.ndarray) -> Gain:
    """Return the gain of one classifier over another.

    The interval is that of Agresti and Min (2005): two images are added, on which the two are right
    equally often. Where trainings were repeated, an image counts by how often they are right about
    it.

    Args:
        one: Whether it is right about each image, ``(n,)``, or how often, from 0 to 1.
        other: The same of the other.
    """
    difference = one.astype(np.float64) - other
    n = len(difference) + 2
    middle, square = difference.sum() / n, ((difference**2).sum() + 1) / n
    half = Z * math.sqrt((square - middle**2) / n)
    p = mcnemar(int((difference > 0).sum()), int((difference < 0).sum()))
    return Gain(float(difference.mean()), (middle - half, middle + half), p, len(difference))


def gain_lines(metrics: Figures) -> list[str]:
    """Return lines on what an ensemble gains over the best of its runs; none of a training."""
    gain = metrics.get("gain")
    if not gain:
        return []
    split, (one, other) = gain["split"], gain["right"]
    words = Gain(gain["share"], gain["ci95"], gain["p_value"], gain["images"]).text
    name = f", {gain['over']}" if split == "test" else ""
    lines = [
        f"gain over the best run alone{name}: {words}, {one} and {other} of {gain['images']} "
        f"{split} images right; {'could be' if gain['p_value'] >= LEVEL else 'more than'} chance"
    ]
    if split == "validation":
        lines.append(
            "  cross-fitted: shares, and which run is best, were chosen without the images that "
            "they are measured on"
        )
    if left_out := metrics["left_out"]:
        lines.append(
            f"  {left_out} images that one run held out do not count: another was trained on "
            f"them, or does not have them in that class"
        )
    return lines


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjust p values of several tests so that any is falsely below a level as rarely as that.

    The step-down rule of Holm (1979), which holds however the tests depend on each other.
    """
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, i in enumerate(np.argsort(p_values, kind="stable").tolist()):
        largest = max(largest, min(1.0, p_values[i] * (len(p_values) - rank)))
        adjusted[i] = largest
    return adjusted
