"""Two runs side by side: settings, accuracies on the same photos, the photos where they differ."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np

from tlearn.data.layouts import SPLITS
from tlearn.errors import DataError
from tlearn.runs.measurement import Gain, paired_gain
from tlearn.runs.predictions import HeldOutPrediction
from tlearn.runs.run import Run


@dataclass(frozen=True)
class Disagreement:
    """A photo that two runs hold out and of which they say different classes.

    Attributes:
        predictions: Of the first run, and of the other; the names of the photo may differ.
    """

    predictions: tuple[HeldOutPrediction, HeldOutPrediction]

    @property
    def right(self) -> Literal["first", "second", "neither"]:
        """Which of the two is right."""
        one, other = self.predictions
        return "first" if one.correct else "second" if other.correct else "neither"

    def record(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        one, other = self.predictions
        says = [{"class": p.predicted, "probability": p.probability} for p in (one, other)]
        return {"file": one.file, "class": one.label, "right": self.right, "predicted": says}


@dataclass(frozen=True)
class RunComparison:
    """The differences of two runs.

    Attributes:
        names: What they are called.
        settings: By dotted key, the values of both, where both have it and they differ.
        data: The paths of what they were trained on.
        only_classes: For each, the classes that the other does not know.
        trained_on: How many images each was trained on.
        trained_on_both: How many of those are the same.
        held_out: How many images each was measured on without having been trained on them.
        common: How many of those both have, with the same class: they are compared on these.
        common_splits: How many of these are of each split of the first run.
        relabelled: How many more both have, but with another class.
        right: How many of the common images each is right about.
        gain: What the other gains over the first, or ``None`` where there are no common images.
        disagreements: The common images of which they say different classes, surest first.
    """

    names: tuple[str, str]
    settings: dict[str, tuple[Any, Any]]
    data: tuple[str, str]
    only_classes: tuple[tuple[str, ...], tuple[str, ...]]
    trained_on: tuple[int, int]
    trained_on_both: int
    held_out: tuple[int, int]
    common: int
    common_splits: dict[str, int]
    relabelled: int
    right: tuple[int, int]
    gain: Gain | None
    disagreements: list[Disagreement]

    @property
    def p_value(self) -> float | None:
        """How likely so large a difference is by chance: McNemar's exact test."""
        return self.gain.p_value if self.gain else None

    @cached_property
    def mistakes(self) -> tuple[list[HeldOutPrediction], list[HeldOutPrediction]]:
        """For each run, its mistakes on the common images that the other is right about."""
        return (
            [d.predictions[0] for d in self.disagreements if d.right == "second"],
            [d.predictions[1] for d in self.disagreements if d.right == "first"],
        )

    def record(self) -> dict[str, Any]:
        """Return it as ``tlearn diff --json`` prints it; ``gain`` is of the second run."""
        record = asdict(self) | {"photos": [one.record() for one in self.disagreements]}
        del record["disagreements"]
        return record


def diff(one: Run | str | Path, other: Run | str | Path, *, common: bool = False) -> RunComparison:
    """Compare two runs on the photos that they hold out, which must be the same ones.

    Photos are recognised by their content, whatever their path.

    Args:
        one: A run or its directory.
        other: Another.
        common: Compare runs that hold out other photos on those that both hold out.

    Raises:
        DataError: If they hold out other photos and ``common`` is not given, or none in common.
        RunError: If one of them is no finished run, or a file of it is missing or damaged.

    Example:
        >>> tlearn.diff("runs/photos", "runs/photos-2").gain.text  # doctest: +SKIP
        '+1.4 points (95% interval -1.1 to +3.8, p = 0.39)'
    """
    first, second = (run if isinstance(run, Run) else Run(run) for run in (one, other))
    comparison = compare_runs(first, second)
    shared = comparison.common + comparison.relabelled
    if shared == max(comparison.held_out) or (common and comparison.common):
        return comparison
    n, m = comparison.held_out
    names = [repr(str(run.path)) for run in (first, second)]
    advice = "train both on the same photos with the same --seed, --val, --test and --group"
    if comparison.common and not common:
        advice += ", or compare them on the photos that both hold out, with --common"
    raise DataError(
        f"the runs hold out other photos: {names[0]} {n:,} and {names[1]} {m:,}, of which "
        f"{f'{shared:,}' if shared else 'none'} are the same; {advice}"
    )


def compare_runs(one: Run, other: Run) -> RunComparison:
    """Compare two runs on what both hold out; see :func:`diff`.

    Raises:
        RunError: If a file of one of them is missing or damaged.
    """
    first, second = (_flat(run.record["config"]) for run in (one, other))
    settings = {
        key: (first.get(key), second.get(key))
        for key in sorted(first.keys() & second.keys())
        if first[key] != second[key]
    }
    of_one, of_other = (_by_content(run) for run in (one, other))
    both = sorted(of_one.keys() & of_other.keys())
    pairs = [(of_one[content], of_other[content]) for content in both]
    pairs = [(p, q) for p, q in pairs if p.label == q.label]
    splits = Counter(p.split for p, _ in pairs)
    right = np.array([[p.correct, q.correct] for p, q in pairs]).reshape(-1, 2)
    trained = [{c for c, split in run.splits().items() if split == "train"} for run in (one, other)]
    differing = [Disagreement(pair) for pair in pairs if pair[0].predicted != pair[1].predicted]
    return RunComparison(
        names=_names(one, other),
        settings=settings,
        data=(str(one.record["data"]["path"]), str(other.record["data"]["path"])),
        only_classes=(_others(one.labels, other.labels), _others(other.labels, one.labels)),
        trained_on=(len(trained[0]), len(trained[1])),
        trained_on_both=len(trained[0] & trained[1]),
        held_out=(len(of_one), len(of_other)),
        common=len(pairs),
        common_splits={split: splits[split] for split in SPLITS if splits[split]},
        relabelled=len(both) - len(pairs),
        right=(int(right[:, 0].sum()), int(right[:, 1].sum())),
        gain=paired_gain(right[:, 1], right[:, 0]) if pairs else None,
        disagreements=sorted(differing, key=_sureness, reverse=True),
    )


def _sureness(photo: Disagreement) -> float:
    """Return how sure the one is that is wrong, of two that are wrong the less sure."""
    one, other = photo.predictions
    return {"first": other.probability, "second": one.probability}.get(
        photo.right, min(one.probability, other.probability)
    )


def _names(one: Run, other: Run) -> tuple[str, str]:
    """Return the names of the runs' directories, or their paths where those are the same."""
    if one.path.name != other.path.name:
        return one.path.name, other.path.name
    return str(one.path), str(other.path)


def _others(labels: Sequence[str], known: Sequence[str]) -> tuple[str, ...]:
    return tuple(label for label in labels if label not in known)


def _by_content(run: Run) -> Mapping[str, HeldOutPrediction]:
    """Return what a run says of the images that were held back, by their content hashes."""
    contents = run.contents()
    return {contents[p.file]: p for p in run.held_out_predictions() if p.file in contents}


def _flat(value: Any, key: str = "") -> dict[str, Any]:
    """Return nested settings by dotted keys."""
    if isinstance(value, dict) and value:
        return {k: v for name, one in value.items() for k, v in _flat(one, f"{key}.{name}").items()}
    return {key.lstrip("."): value}
