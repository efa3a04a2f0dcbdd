"""What the probabilities are worth: how honest they are, and how well they rank."""

import numpy as np

from tlearn.reports.contents import Contents
from tlearn.reports.markup import name, paragraph, table, text
from tlearn.runs.quality_charts import ranking, reliability_diagram
from tlearn.runs.quality_curves import average, calibration_error, curves_of_classes, reliability
from tlearn.runs.temperature_effect import calibration_lines, reliability_in
from tlearn.runs.unknown import unknown_lines
from tlearn.text import percent


def calibration(contents: Contents) -> str:
    """Return the reliability diagram.

    On validation, which the temperature was fitted on, it shows the cross-fitted probabilities.
    """
    p, y, metrics = contents.probabilities, contents.numbers, contents.run.metrics
    cross_fitted = reliability_in(metrics, "after") if contents.split == "validation" else []
    bins = cross_fitted or reliability(p.max(axis=1), p.argmax(axis=1) == y)
    measured = (
        f"On the {contents.split} photos its probabilities are off by "
        f"{100 * calibration_error(bins):.1f} points on average (expected calibration error). "
    )
    if cross_fitted:
        measured = "How far they are off on average is the expected calibration error. "
    words = (
        f"Are 80% right where it is 80% sure? {measured}Below the "
        f"dashed line it is too sure, above it too modest; large dots stand for many photos."
    )
    lines = [line.removeprefix("calibration: ") for line in calibration_lines(metrics)]
    lines += [line.removeprefix("unknown: ") for line in unknown_lines(metrics)]
    effect = "".join(paragraph(f"{text(line[0].upper() + line[1:])}.") for line in lines)
    before = reliability_in(metrics, "before")
    others = {"without temperature (validation)": before} if before else {}
    after = "with temperature, cross-fitted" if cross_fitted else "as saved"
    chart = reliability_diagram({after: bins} | others)
    figure = contents.draw("reliability", chart, "How often it is right, by how sure it is.")
    rows = [
        [percent(one.probability), percent(one.right), f"{one.images:,}"] for one in reversed(bins)
    ]
    numbers = table(["sure, on average", "right", "photos"], rows)
    return f'{paragraph(words)}{effect}<div class="beside">{figure}{numbers}</div>'


def thresholds(contents: Contents) -> str:
    """Return the curves over all thresholds, each class against the others."""
    p, y, labels = contents.probabilities, contents.numbers, contents.labels
    if len(np.unique(y)) < 2:
        return paragraph("There are photos of one class alone: nothing to tell it from.")
    roc, precision = (
        {labels[k]: curve for k, curve in curves_of_classes(y, p, kind).items()}
        for kind in ("roc", "precision_recall")
    )
    figures = [
        contents.draw(
            "roc",
            ranking(roc, average(list(roc.values()), False), "false alarms", "hits", False),
            "Receiver operating characteristic; in brackets the area under each curve (ROC-AUC).",
        ),
        contents.draw(
            "precision_recall",
            ranking(
                precision, average(list(precision.values()), True), "recall", "precision", True
            ),
            "Precision against recall; in brackets the average precision.",
        ),
    ]
    rows = [
        [name(label), f"{roc[label].area:.3f}", f"{precision[label].area:.3f}"] for label in roc
    ]
    areas = table(["class", "ROC-AUC", "average precision"], rows, sortable=True)
    words = (
        "Each class against all others, for every threshold at which its probability would count "
        "as a yes. The bold line is the mean over the classes, each counting the same."
    )
    every = f"<details><summary>The areas of all classes</summary>{areas}</details>"
    return paragraph(words) + f'<div class="figures">{"".join(figures)}</div>{every}'
