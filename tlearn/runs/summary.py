"""Summaries of a run and of an evaluation, as printed in a terminal."""

from collections.abc import Mapping, Sequence
from typing import Any

from tlearn.runs.measurement import (
    Figures,
    confused_pairs,
    measured_split,
    metric_texts,
    with_interval,
)
from tlearn.runs.run import Evaluation, Run
from tlearn.runs.temperature_effect import calibration_lines
from tlearn.runs.unknown import unknown_lines
from tlearn.text import epochs_text, printable, shell

SHOWN_CLASSES = 3  # classes named
SHOWN_PROBLEMS = 10  # reasons named


def metrics_line(figures: Figures) -> str:
    """Return one line with all metrics and the number of images."""
    values = ", ".join(f"{name} {text}" for name, text in metric_texts(figures).items())
    return f"{values}, {figures['n']:,} images"


def run_summary(run: Run) -> str:
    """Return the lines printed when a training ends."""
    metrics, path = run.metrics, run.place
    lines = ["stopped: the model is the best so far"] if metrics["stopped"] else []
    probe, *stages = metrics["stages"]
    n = metrics["validation"]["n"]
    shares = zip((probe, *stages), run.stage_shares, strict=True)
    lines += [_stage_line(stage, share, n) for stage, share in shares]
    if any(0 < stage["share"] < 1 for stage in (probe, *stages)):
        lines.append("the model averages their probabilities, weighted by these shares")
    lines += run.gain_lines()
    splits = [split for split in ("validation", "test") if split in metrics]
    lines += [f"{split}: {metrics_line(metrics[split])}" for split in splits]
    if stages:
        lines.append(
            "  validation accuracy is slightly optimistic: it was used for model selection"
            + ("" if "test" in metrics else "; --test 0.2 gives an unbiased estimate")
        )
    if probe["name"] == "probe" and _is_better(probe, run):
        lines.append(
            "  the probe does better than this head: train it longer, or leave head.hidden and "
            "head.module out"
        )
    lines += [*calibration_lines(metrics), *unknown_lines(metrics)]
    lines += class_lines(metrics[measured_split(metrics)])
    problems = run.problems()
    if problems:
        lines.append(f"problems ({len(problems)}), all in {path / 'problems.csv'}:")
        lines += _problem_lines(problems)
    lines += [
        f"took {metrics['seconds']['total']:.0f} s; the run is in {path}",
        f"  model {path / 'model.keras'}, report {path / 'report.html'}",
        f"next: {shell('tlearn', 'predict', path, 'PHOTO_OR_FOLDER')}",
    ]
    return "\n".join(map(printable, lines))


def _problem_lines(problems: Sequence[Mapping[str, str]]) -> list[str]:
    """Return a line for each reason, with the first file of several."""
    files: dict[str, list[str]] = {}
    for problem in problems:
        files.setdefault(problem["reason"], []).append(problem["file"])
    lines = [
        f"  {first}{f' and {len(others)} more' if others else ''}: {reason}"
        for reason, (first, *others) in files.items()
    ]
    more = len(lines) - SHOWN_PROBLEMS
    return [*lines[:SHOWN_PROBLEMS], *([f"  and {more} more"] if more > 0 else [])]


def evaluation_summary(evaluation: Evaluation) -> str:
    """Return the lines printed by ``tlearn evaluate``."""
    lines = [metrics_line(evaluation.metrics)]
    lines += class_lines(evaluation.metrics)
    if evaluation.selected_on:
        lines.append(
            f"{evaluation.selected_on:,} of them were validation images, used for model selection: "
            f"the figures are slightly optimistic"
        )
    if evaluation.trained_on:
        lines.append(
            f"{evaluation.trained_on:,} images were trained on and are not counted; --split all "
            f"counts them"
        )
    if evaluation.unknown:
        classes = ", ".join(f"{label} ({n})" for label, n in evaluation.unknown.items())
        lines.append(f"not counted, because the model does not know their class: {classes}")
    lines += [f"unreadable: {name}: {reason}" for name, reason in evaluation.unreadable]
    return "\n".join(map(printable, lines))


def class_lines(figures: Figures) -> list[str]:
    """Return lines on the classes recognised worst, and what they are taken for."""
    rows = [
        (values["recall"], label, values["n"])
        for label, values in figures["per_class"].items()
        if values["n"] and values["recall"] < 1
    ]
    mistakes = {true: (other, count) for true, other, count in reversed(confused_pairs(figures))}
    lines = [
        f"  {label}: {round(recall * n)} of {n:,} recognised, most often taken for "
        f"{mistakes[label][0]} ({mistakes[label][1]})"
        for recall, label, n in sorted(rows)[:SHOWN_CLASSES]
    ]
    return [*(["least recognised:"] if lines else []), *lines]


def _is_better(probe: dict[str, Any], run: Run) -> bool:
    """Return whether the probe does better than the model of a head that starts at random."""
    head = run.record["config"]["head"]
    better: bool = probe["accuracy"] > run.metrics["validation"]["accuracy"]
    return bool(head["hidden"] or head["module"]) and not probe["share"] and better


def _stage_line(stage: dict[str, Any], share: str, n: int) -> str:
    """Return a line on a stage."""
    epochs = f"{epochs_text(stage['epochs'])}, " if stage["epochs"] else ""
    remark = ""
    if stage["share"] < 1:
        remark = f", share of the model {share}" if stage["share"] else ", not in the model"
    accuracy = with_interval(stage["accuracy"], n)
    return f"{stage['name']}: {epochs}{stage['seconds']:.0f} s, validation {accuracy}{remark}"
