"""The images that several runs hold out, and what an average of the runs gains on them."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import pyarrow as pa

from tlearn.data.earlier_splits import EarlierSplits
from tlearn.data.file_table import FileTable
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
    train = FileTable.concatenated([splits.train for splits in reversed(every)])
    last_of_content = np.zeros(len(train), np.int64)
    numbers = train.content_numbers()
    last_of_content[numbers] = np.arange(len(train))  # that of the first run which has it
    train = train[last_of_content[: numbers.max() + 1]]
    held_out = [_labelled_contents(s.validation, s.test) for s in every]
    shared = set.intersection(*map(set, held_out))
    last = set.intersection(*({*splits.test.content_array().to_pylist()} for splits in every))
    files = FileTable.concatenated([every[0].validation, every[0].test])
    is_shared = np.array([pair in shared for pair in held_out[0]], bool)
    earlier = EarlierSplits.of_rows(pa.concat_tables([run.split_rows() for run in runs]))
    files = files[is_shared & ~earlier.trained(files)]
    contents = files.content_array().to_pylist()
    is_test = np.array([content in last for content in contents], bool)
    parts = [files[~is_test], files[is_test]]
    if not parts[0]:
        raise DataError(
            f"no validation image is held out by all {len(runs)} runs: one was trained on what "
            f"another holds out, or lacks it; train them on the same photos with the same --seed, "
            f"--val and --test"
        )
    left_out = {content for pairs in held_out for content, _ in pairs} - {*contents}
    return Splits(runs[0].labels, train, *parts), len(left_out)


def _labelled_contents(*tables: FileTable) -> list[tuple[bytes, str]]:
    """Return the content hash and the class of each file."""
    files = FileTable.concatenated(tables)
    labels = files.labels
    classes = (labels.texts[number] for number in labels.numbers.tolist())
    return list(zip(files.content_array().to_pylist(), classes, strict=True))


def _with_places(splits: Splits, run: Run, first: Run) -> Splits:
    """Return images with names that hold below the photos of the first run."""
    if run.photo_folder == first.photo_folder:
        return splits
    named = [
        files.replaced(name=[encode_name(str(file.path)) for file in files])
        for _, files in splits.items()
    ]
    there = (FileTable(first.photo_folder, files.columns) for files in named)
    return Splits(splits.labels, *there)


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
        groups = splits.validation.units()
        folds = assign_folds(y, groups, min(FOLDS, len(set(groups))), seed=0)
        average, alone = cross_fitted(y, logits, right, folds, fit)
    return {
        "over": names[best],
        "split": "test" if splits.test else "validation",
        "right": [int(average.sum()), int(alone.sum())],
        **asdict(paired_gain(average, alone)),
    }


def _right(member: Run, files: FileTable) -> np.ndarray:
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
