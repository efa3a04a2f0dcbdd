"""Learning curves and the confusion matrix, as pictures."""

import io
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, PercentFormatter

from tlearn.runs.fonts import suit

TRAIN, VALIDATION = "#4c78a8", "#e45756"
FORMATS = ("svg", "png")


def rendered(figure: Figure) -> dict[str, bytes]:
    """Return a figure as SVG and PNG, by file ending; the same figure gives the same bytes."""
    suit(figure)
    files = {}
    for kind in FORMATS:
        out = io.BytesIO()
        metadata = {"Date": None} if kind == "svg" else None
        with (
            mpl.rc_context({"svg.hashsalt": "tlearn", "svg.fonttype": "none"}),
            warnings.catch_warnings(),
        ):
            # What no installed font holds is drawn as boxes in PNG; SVG holds the text itself.
            warnings.filterwarnings("ignore", "Glyph .* missing from")
            figure.savefig(out, format=kind, dpi=144, metadata=metadata)
        files[kind] = out.getvalue()
    return files


def learning_curves(
    history: Sequence[dict[str, Any]], levels: Mapping[str, Mapping[str, float]]
) -> Figure:
    """Draw accuracy and loss over all epochs, with the borders of stages.

    Args:
        history: Rows of ``history.csv``.
        levels: Validation ``accuracy`` and ``loss`` of what is no epoch, by name: the probe, and
            the weights that were kept.
    """
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    for axes, name in zip(figure.subplots(1, 2), ("accuracy", "loss"), strict=True):
        for (label, level), style in zip(levels.items(), ("--", ":"), strict=False):
            axes.axhline(level[name], color="0.45", linestyle=style, linewidth=1.2, label=label)
        _draw_epochs(axes, history, name)
        axes.set_xlim(0.5, max(len(history), 1) + 0.5)
        axes.set_ylabel(name)
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", color="0.92")
        axes.legend(frameon=False, fontsize=8)
    return figure


def _draw_epochs(axes: Any, history: Sequence[dict[str, Any]], name: str) -> None:
    if not history:
        axes.set_xticks([])
        axes.set_xlabel("no stage after the probe")
        return
    epochs = np.arange(1, len(history) + 1)
    for prefix, colour, label in (("", TRAIN, "training"), ("val_", VALIDATION, "validation")):
        values = [row[prefix + name] for row in history]
        axes.plot(epochs, values, color=colour, marker=".", label=label)
    for start in (i for i, row in enumerate(history) if row["epoch"] == 1):
        if start:
            axes.axvline(start + 0.5, color="0.8", linewidth=1)
        axes.annotate(
            _literal(history[start]["stage"]),
            (start + 0.6, 1),
            xycoords=("data", "axes fraction"),
            xytext=(0, 3),
            textcoords="offset points",
            fontsize=8,
            color="0.35",
        )
    axes.set_xlabel("epoch")
    axes.xaxis.get_major_locator().set_params(integer=True)


def confusion(matrix: Sequence[Sequence[int]], labels: Sequence[str], title: str) -> Figure:
    """Draw a confusion matrix: true classes in rows, shade by the share of the row."""
    counts = np.asarray(matrix)
    n = len(labels)
    side = min(16.0, max(3.6, 1.6 + 0.42 * n))
    figure = Figure(figsize=(side + 0.6, side), layout="constrained")
    axes = figure.subplots()
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    image = axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    small = 8 if n <= 20 else 6 if n <= 40 else 4
    names = [_literal(label) for label in labels]
    axes.set_xticks(range(n), names, rotation=90 if n > 4 else 0, fontsize=small)
    axes.set_yticks(range(n), names, fontsize=small)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    axes.set_title(title, fontsize=9)
    if n <= 40:
        for i, j in np.argwhere(counts):
            colour = "white" if share[i, j] > 0.5 else "0.2"
            axes.text(j, i, counts[i, j], ha="center", va="center", fontsize=small, color=colour)
    figure.colorbar(image, shrink=0.8, label="share of the true class")
    return figure


def accuracy_against_cost(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """Draw backbones by what an image costs and how many are told right, with the frontier.

    Args:
        rows: As :meth:`tlearn.training.ranking.Comparison.rows` gives them.
    """
    figure = Figure(figsize=(7.5, 4.8), layout="constrained")
    axes = figure.subplots()
    best = sorted((r for r in rows if r["frontier"]), key=lambda r: -r["images_per_second"])
    cost = [1000 / r["images_per_second"] for r in best]
    axes.step(
        cost,
        [r["accuracy"] for r in best],
        where="post",
        color=VALIDATION,
        linewidth=1.2,
        alpha=0.6,
        label="no other is both quicker and more accurate",
    )
    above = True
    for row in sorted(rows, key=lambda r: r["images_per_second"]):
        x, y = 1000 / row["images_per_second"], row["accuracy"]
        low, high = row["accuracy_ci95"]
        colour = VALIDATION if row["frontier"] else TRAIN
        axes.errorbar(x, y, [[y - low], [high - y]], fmt="o", color=colour, elinewidth=0.8)
        above = not above  # names of neighbours stand apart
        axes.annotate(
            _literal(row["backbone"]),
            (x, y),
            xytext=(6, 5 if above else -12),
            textcoords="offset points",
            fontsize=8,
            color="0.2",
        )
    axes.set_xscale("log")
    axes.margins(x=0.2)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.set_xlabel("milliseconds per image on this machine")
    axes.set_ylabel("accuracy of the probe, cross-validated, 95 % interval")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="0.92")
    axes.legend(frameon=False, fontsize=8, loc="lower right")
    return figure


def _literal(name: str) -> str:
    """Keep matplotlib from reading a name between dollar signs as a formula."""
    return name.replace("$", r"\$")
