"""What a probe does not believe, and what is far from the rest, as findings."""

import numpy as np

from tlearn.checks.copy_checks import Pictures
from tlearn.checks.finding import Finding
from tlearn.checks.outliers import FALSE_ALARMS, outlier_scores
from tlearn.checks.suspect_labels import LabelNoise
from tlearn.data.edits import Change
from tlearn.data.file_table import FileTable
from tlearn.text import percent


def check_labels(pictures: Pictures, noise: LabelNoise, y: np.ndarray) -> list[Finding]:
    """Return the photos whose label is more likely wrong than right, with what it could be.

    Args:
        pictures: The pictures.
        noise: How far their labels can be believed.
        y: The class index of each picture.
    """
    findings: list[Finding] = []
    for i in noise.suspects().tolist():
        p = noise.probabilities[i].copy()
        own, p[y[i]] = float(p[y[i]]), -1.0
        likelier, score = pictures.labels[int(p.argmax())], float(noise.wrong[i])
        reason = (
            f"perhaps {likelier!r}: a model trained without it gives {percent(p.max())} to that "
            f"class and {percent(own)} to its own"
        )
        for name in (file.name for file in pictures.holding(i) if file.label != likelier):
            edits = (Change(name, "class", likelier),)
            findings.append(Finding("suspect label", (name,), reason, "warning", score, edits))
    return findings


def check_outliers(files: FileTable, top: np.ndarray, y: np.ndarray) -> list[Finding]:
    """Return the photos that are far from all others of their class.

    Args:
        files: The photos, of different content.
        top: Features whose angles tell what is alike, ``(n, d)``.
        y: The class index of each.
    """
    scores = outlier_scores(top, y)
    reason = f"unlike all others of its class; about {FALSE_ALARMS:.0%} of photos are so by chance"
    far = scores > 1
    return [
        Finding("outlier", (name,), reason, "note", score, (Change(name, "exclude"),))
        for name, score in zip(files[far].names.to_pylist(), scores[far].tolist(), strict=True)
    ]
