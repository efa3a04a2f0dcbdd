"""The images that several runs hold out, and what an average of the runs gains on them."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from tlearn.data.data_source import ImageFile
from tlearn.data.earlier_splits import split_by_unit
from tlearn.data.splits import Splits
from tlearn.errors import DataError, RunError
from tlearn.runs.directory import RunDirectory
from tlearn.runs.measurement import class_numbers, paired_gain
from tlearn.runs.predictions import read_predictions
from tlearn.runs.run import Run
from tlearn.text import encode_name
from tlearn.training.folds import assign_folds
from tlearn.training.shares import Fit, best_of, cross_fitted

FOLDS = 5  # of the validation images, where the gain is measured on them


def shared_splits(runs: Sequence[Run]) -> tuple[Splits, int]:
    """Return what images are to an ensemble, and how many held-out ones it cannot count.

    ``train`` is what any run was trained on, ``test`` what is test to all of them, ``validation``
    whatever else all of them hold out, in the same class. Images are told apart by content; what is
    of one group with an image that any was trained on does not count.

    Raises:
        DataError: If they share no validation image.
    """
    every = [_with_places(run.dataset(), run, runs[0]) for run in runs]
    train = {file.content: file for splits in reversed(every) for file in splits.train}
    units = split_by_unit([row for run in runs for row in run.split_rows()])
    trained = {unit for unit, split in units.items() if split == "train"}
    held_out = [
        {(file.content, file.label) for file in (*splits.validation, *splits.test)}
        for splits in every
    ]
    shared = set.intersection(*held_out)
    last = set.intersection(*({file.content for file in splits.test} for splits in every))
    files = [
        file
        for file in (*every[0].validation, *every[0].test)
        if (file.content, file.label) in shared
        and trained.isdisjoint((f"content {file.content}", f"group {file.group}"))
    ]
    parts: list[tuple[ImageFile, ...]] = [
        tuple(file for file in files if (file.content in last) == is_test)
        for is_test in (False, True)
    ]
    if not parts[0]:
        raise DataError(
            f"no validation image is held out by all {len(runs)} runs: one was trained on what "
            f"another holds out, or lacks it; train them on the same photos with the same --seed, "
            f"--val and --test"
        )
    left_out = {c for c, _ in set.union(*held_out)} - {file.content for file in files}
    return Splits(runs[0].labels, tuple(train.values()), *parts), len(left_out)


def _with_places(splits: Splits, run: Run, first: Run) -> Splits:
    """Return images with names that hold below the photos of the first run."""
    if run.photo_folder == first.photo_folder:
        return splits
    named = [
        tuple(replace(file, name=encode_name(str(file.path))) for file in files)
        for _, files in splits.items()
    ]
    return Splits(splits.labels, *named)


def gain_of(
    run: RunDirectory,
    members: Sequence[Run],
    names: Sequence[str],
    splits: Splits,
    logits: Sequence[np.ndarray],
    fit: Fit,
) -> dict[str, Any]:
    """Return how much more often the average is right than the best of its members by itself.

    Args:
        run: The ensemble, with the predictions of its saved model.
        members: The runs; what they say is what their own models said when they were trained.
        names: What they are called.
        splits: The images.
        logits: What each says of the validation images within the ensemble.
        fit: Gives shares.
    """
    y = class_numbers(splits.validation, splits.labels)
    right = np.array([_right(member, splits.validation) for member in members])
    best = best_of(y, logits, right)
    if splits.test:
        held_out = read_predictions((run / "predictions.csv").read_text(encoding="utf-8"))
        average = np.array([p.correct for p in held_out if p.split == "test"])
        alone = _right(members[best], splits.test)
    else:
        groups = [file.group or file.content for file in splits.validation]
        folds = assign_folds(y, groups, min(FOLDS, len(set(groups))), seed=0)
        average, alone = cross_fitted(y, logits, right, folds, fit)
    return {
        "over": names[best],
        "split": "test" if splits.test else "validation",
        "right": [int(average.sum()), int(alone.sum())],
        **asdict(paired_gain(average, alone)),
    }


def _right(member: Run, files: Sequence[ImageFile]) -> np.ndarray:
    """Return whether a run is right about each image that it held out, by its own saved model.

    Raises:
        RunError: If its predictions do not have them.
    """
    contents = member.contents()
    right = {(contents.get(p.file), p.label): p.correct for p in member.held_out_predictions()}
    try:
        return np.array([right[file.content, file.label] for file in files])
    except KeyError:
        raise RunError(
            f"predictions.csv of the run {str(member.path)!r} lacks images that it held out; put "
            f"it back or train again"
        ) from None
