"""``ensemble``: the average of several finished runs, as one run with one model.

Keras is imported by the functions that need it, after everything that can be checked without it.
"""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tlearn.atomic import atomic_directory
from tlearn.csv_files import csv_text
from tlearn.data.splits import Splits, images_per_class
from tlearn.errors import ConfigError, RunError, os_errors_as
from tlearn.experiments.shared_images import gain_of, shared_splits
from tlearn.experiments.trials import curve_of
from tlearn.progress import Progress, console_progress
from tlearn.python_files import HEADS
from tlearn.reports.page import report_of_training
from tlearn.runs.charts import curves_of_runs
from tlearn.runs.classifier import BETWEEN, Classifier, save
from tlearn.runs.continued_run import write_earlier_splits
from tlearn.runs.directory import RunDirectory, check_free
from tlearn.runs.measurement import class_numbers, outputs_of
from tlearn.runs.run import Run
from tlearn.runs.run_records import PROBLEM_COLUMNS
from tlearn.training.score import ValidationScore
from tlearn.training.shares import (
    equal_shares,
    shares_of,
)
from tlearn.training.state import StageResult
from tlearn.training.stopwatch import Stopwatch

Shares = Literal["fitted", "equal"]
PRESET = "ensemble"  # where a training has its preset


def ensemble(
    runs: Sequence[str | Path],
    out: str | Path,
    *,
    shares: Shares = "fitted",
    quiet: bool = False,
    progress: Progress | None = None,
) -> Run:
    """Average the probabilities of several finished runs; write them as one run.

    Its model sees photos at the largest size of the runs, and scales them down for the others; it
    averages as many test-time views as the run with the most. It is measured, and shares are
    fitted, on images alone that no run was trained on: those that all hold out. Its figures have a
    ``gain`` over the best of the runs alone, on their test images; where there are none, on
    validation images that neither the shares nor the choice of that run have seen
    (:func:`tlearn.training.shares.cross_fitted`).

    Args:
        runs: Two or more run directories, of any backbones and sizes, with the same classes and
            resize rule. They may be ensembles themselves.
        out: The run directory to make.
        shares: ``fitted`` on validation, or ``equal``: the plain average.
        quiet: Show nothing while it works.
        progress: Where to show progress instead of standard error.

    Raises:
        TlearnError: If a run cannot be used, or they do not fit together; nothing is written then.

    Example:
        >>> tlearn.ensemble(["runs/small", "runs/large"], "runs/both")  # doctest: +SKIP
    """
    if shares not in get_args(Shares):
        raise ConfigError(f"shares takes {' or '.join(get_args(Shares))}. Received: {shares!r}")
    clock, path = Stopwatch(), Path(out)
    members = [Run(run) for run in runs]
    check_free(path)
    check_members(members)
    splits, left_out = shared_splits(members)
    progress = progress or console_progress(quiet)
    counts = ", ".join(f"{len(files):,} {split}" for split, files in splits.items() if files)
    progress.say(f"{len(members)} runs, images of all: {counts}")
    what = f"the run directory {str(path)!r} cannot be made"
    with (
        os_errors_as(RunError, what, "choose another place with --out"),
        atomic_directory(path) as folder,
        clock.part("total"),
    ):
        _write(RunDirectory(folder), members, splits, left_out, shares, progress, clock)
    run = Run(path)
    report_of_training(run, progress)
    return run


def check_members(runs: Sequence[Run]) -> None:
    """Refuse runs that one model cannot hold.

    Raises:
        RunError: If there are too few, one is there twice, or they take other photos or classes.
    """
    if len(runs) < 2:
        raise RunError(
            f"an ensemble takes two or more runs, not {len(runs)}; name another run that was "
            f"trained on the same photos"
        )
    digests: dict[str, Run] = {}
    for run in runs:
        same = digests.setdefault(run.classifier.digest, run)
        if same is not run:
            raise RunError(
                f"the runs {str(same.path)!r} and {str(run.path)!r} have the same model; name "
                f"each run once"
            )
    first = runs[0]
    for run in runs[1:]:
        paths = f"the runs {str(first.path)!r} and {str(run.path)!r}"
        one, other = set(first.labels), set(run.labels)
        if one != other:
            raise RunError(
                f"{paths} have other classes: {', '.join(sorted(one - other)[:5]) or 'none'} only "
                f"in the first, {', '.join(sorted(other - one)[:5]) or 'none'} only in the second; "
                f"give runs of the same classes"
            )
        for name in ("resize", "ranges"):
            values = [getattr(r.classifier, name) for r in (first, run)]
            if values[0] != values[1]:
                raise RunError(
                    f"{paths} read photos in other ways, {name} is {values[0]} and {values[1]}, "
                    f"and one model takes one; train one of them anew as the other"
                )


def _write(
    run: RunDirectory,
    members: Sequence[Run],
    splits: Splits,
    left_out: int,
    rule: Shares,
    progress: Progress,
    clock: Stopwatch,
) -> None:
    """Write the run: the model, what it says of held-out images, its figures, and its record."""
    from tlearn.experiments.joint_model import LEAST, average, join, side_by_side
    from tlearn.training.results import (
        HISTORY_COLUMNS,
        measure_saved,
        stage_entry,
        versions,
        write_metrics,
    )

    names, labels = _names(members), splits.labels
    y = class_numbers(splits.validation, labels)
    with clock.part("loading the model"):
        orders = [[member.labels.index(label) for label in labels] for member in members]
        pixels, outputs = join([member.classifier.model for member in members], orders)
    joint = _joint_classifier(members, side_by_side(pixels, outputs))
    with clock.part("evaluation"):
        p = outputs_of(joint, splits.validation, progress).probabilities
    logits = [np.log(np.maximum(part, LEAST)) for part in np.split(p, len(members), axis=1)]
    fit = shares_of if rule == "fitted" else equal_shares
    shares = fit(y, logits).tolist()
    model = average(pixels, outputs, shares)
    with run.replacing("model.keras") as path:
        card = (joint.size, joint.resize, joint.backbone, joint.ranges, joint.tta)
        save(model, path, labels, *card)
    heads = [file for member in members for file in sorted(member.path.glob(HEADS))]
    for number, file in enumerate(heads, start=1):
        run.write(f"head_{number}.py", file.read_bytes())
    run.write_json("labels.json", labels)
    run.write("splits.csv", splits.csv_parts())
    _write_earlier_splits(run, members, splits)
    run.write("problems.csv", csv_text(PROBLEM_COLUMNS, []))
    run.write("history.csv", csv_text(HISTORY_COLUMNS, []))
    run.write_record(
        {
            "config": _common_config(members, joint),
            "members": [_member(*pair) for pair in zip(members, shares, strict=True)],
            "shares": rule,
            "data": _data(members[0], splits),
            "versions": versions(),
        }
    )
    saved = Classifier.load(run / "model.keras", joint.choice)
    metrics = measure_saved(run, splits, saved, progress, clock)
    metrics["stages"] = [
        stage_entry(_result(member, name, y, own), len(y), share)
        for member, name, own, share in zip(members, names, logits, shares, strict=True)
    ]
    metrics["gain"] = gain_of(run, members, names, splits, logits, fit)
    metrics |= {"left_out": left_out, "stopped": False}
    curves = curves_of_runs(dict(zip(names, map(curve_of, members), strict=True)))
    write_metrics(run, metrics, curves, progress, clock)
    run.event("finished", seconds=round(clock.seconds()["total"], 3))


def _write_earlier_splits(run: RunDirectory, members: Sequence[Run], splits: Splits) -> None:
    """Write what members were trained on before, if they continue other runs."""
    rows = pa.concat_tables([member.split_rows() for member in members])
    own = [file.content for _, files in splits.items() for file in files]
    is_own = pc.is_in(rows["content"], value_set=pa.array(own, pa.large_string()))
    earlier = rows.filter(pc.and_not(pc.equal(rows["split"], "train"), is_own))
    if len(earlier):
        write_earlier_splits(run, earlier)


def _joint_classifier(members: Sequence[Run], model: Any) -> Classifier:
    """Return what predicts with all members at once; there is no file of it."""
    classifiers = [member.classifier for member in members]
    digest = hashlib.blake2b("".join(c.digest for c in classifiers).encode(), digest_size=16)
    names = dict.fromkeys(name for c in classifiers for name in c.backbone.split(BETWEEN))
    return replace(
        classifiers[0],
        size=max(c.size for c in classifiers),
        backbone=BETWEEN.join(names),
        digest=digest.hexdigest(),
        tta=max(c.tta for c in classifiers),
        in_memory=model,
    )


def _result(member: Run, name: str, y: np.ndarray, logits: np.ndarray) -> StageResult:
    """Return a member as the ensemble's figures have it, in place of a stage."""
    epochs = sum(stage["epochs"] for stage in member.metrics["stages"])
    seconds = float(member.metrics["seconds"]["total"])
    return StageResult(name, "", epochs, seconds, ValidationScore.of(y, logits))


def _names(members: Sequence[Run]) -> list[str]:
    """Return the names of the runs' directories; their paths where two are called the same."""
    count = Counter(member.path.resolve().name for member in members)
    paths = [member.path.resolve() for member in members]
    return [path.name if count[path.name] == 1 else str(path) for path in paths]


def _common_config(members: Sequence[Run], joint: Classifier) -> dict[str, Any]:
    """Return the settings that all members share, and those of the ensemble itself."""
    first, *others = (member.record["config"] for member in members)
    common = {
        key: value
        for key, value in first.items()
        if all(key in config and config[key] == value for config in others)
    }
    own = {"size": joint.size, "resize": joint.resize, "tta": joint.tta, "preset": PRESET}
    return {**common, "backbone": joint.backbone, **own}


def _member(member: Run, share: float) -> dict[str, Any]:
    classifier = member.classifier
    return {
        "run": str(member.path.resolve()),
        "backbone": classifier.backbone,
        "size": classifier.size,
        "model": classifier.digest,
        "share": round(share, 6),
    }


def _data(first: Run, splits: Splits) -> dict[str, Any]:
    """Return where the photos are, and how many of each class there are."""
    images = {label: sum(n.values()) for label, n in images_per_class(splits).items()}
    return {**first.record["data"], "images": images}
