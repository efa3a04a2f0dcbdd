"""How good a classifier is: figures with their intervals."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.stats import binomtest
from sklearn.metrics import confusion_matrix, log_loss, precision_recall_fscore_support

from tlearn.data.scan import ImageFile
from tlearn.errors import DataError
from tlearn.progress import Progress, Silent
from tlearn.runs.classifier import Classifier


def measure_files(
    classifier: Classifier, files: Sequence[ImageFile], progress: Progress | None = None
) -> tuple[dict[str, Any], np.ndarray]:
    """Return figures and probabilities of labelled images, by the path that predicts for users.

    Returns:
        As :func:`measure`, and ``(n, classes)`` in the order of the files.

    Raises:
        DataError: If one of them can no longer be read.
    """
    probabilities = []
    with (progress or Silent()).task("evaluating", len(files), "images") as task:
        for path, found in classifier.predict([f.path for f in files]):
            if isinstance(found, DataError):
                raise DataError(f"{str(path)!r} can no longer be read: {found}; start again")
            probabilities.append(found)
            task.advance()
    y = np.array([classifier.labels.index(f.label) for f in files])
    found = np.stack(probabilities)
    return measure(y, found, classifier.labels), found


def measure(y: np.ndarray, probabilities: np.ndarray, labels: Sequence[str]) -> dict[str, Any]:
    """Return the figures of ``metrics.json`` for one side.

    Args:
        y: True class indices, ``(n,)``.
        probabilities: ``(n, classes)``.
        labels: Class names.

    Returns:
        ``n``, ``accuracy`` with its 95 % interval (Wilson 1927), ``macro_f1``, ``log_loss`` (nats),
        ``per_class`` (precision, recall, f1, n) and the ``confusion`` matrix, true classes in rows.
        Classes without images count neither in ``macro_f1`` nor appear with a recall.
    """
    p = probabilities.astype(np.float64)
    p /= p.sum(axis=1, keepdims=True)
    guess = p.argmax(axis=1)
    indices = np.arange(len(labels))
    precision, recall, f1, support = precision_recall_fscore_support(
        y, guess, labels=indices, zero_division=0.0
    )
    present = support > 0
    return {
        "n": len(y),
        "accuracy": float((guess == y).mean()),
        "accuracy_ci95": interval(float((guess == y).mean()), len(y)),
        "macro_f1": float(f1[present].mean()),
        "log_loss": float(log_loss(y, p, labels=indices)),
        "per_class": {
            label: {
                "precision": float(precision[i]),
                "recall": float(recall[i]) if support[i] else None,
                "f1": float(f1[i]) if support[i] else None,
                "n": int(support[i]),
            }
            for i, label in enumerate(labels)
        },
        "confusion": confusion_matrix(y, guess, labels=indices).tolist(),
    }


def interval(accuracy: float, n: int) -> list[float]:
    """Return the 95 % interval of an accuracy over ``n`` images (Wilson, 1927)."""
    found = binomtest(round(accuracy * n), n).proportion_ci(method="wilson")
    return [float(found.low), float(found.high)]


def mcnemar(one: np.ndarray, other: np.ndarray) -> float:
    """Return how likely a difference as large is by chance: the exact test of McNemar (1947).

    Args:
        one: For each image, whether one of two classifiers is right.
        other: The same of the other, in the same order.
    """
    first, second = int((one & ~other).sum()), int((other & ~one).sum())
    return float(binomtest(first, first + second).pvalue) if first + second else 1.0
