"""Two runs side by side, in words."""

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

from tlearn.config import Stage
from tlearn.runs.measurement import LEVEL, with_interval
from tlearn.runs.run_comparison import Disagreement, RunComparison
from tlearn.text import epochs_text, percent, printable

SHOWN = 10  # photos of a kind, and classes
RIGHT = {"first": "only {} is", "second": "only {} is", "neither": "neither run is"}


def comparison_text(comparison: RunComparison) -> str:
    """Return a comparison as lines for people."""
    one, other = comparison.names
    lines = [*verdict(comparison), "what differs:"]
    differing = differences(comparison)
    lines += [f"  {what}: {a} in {one}, {b} in {other}" for what, (a, b) in differing.items()]
    lines += [] if differing else ["  neither configuration nor photos"]
    for right in RIGHT:
        photos = [d for d in comparison.disagreements if d.right == right]
        lines += _photos(comparison.names, photos) if photos else ()
    if not comparison.disagreements:
        lines.append("they say the same class of every photo")
    return "\n".join(map(printable, lines))


def verdict(comparison: RunComparison) -> Iterator[str]:
    """Yield lines on how right both are, and whether the difference could be chance."""
    one, other = comparison.names
    if comparison.gain is None:
        yield "no photo is held out by both"
        return
    for name, right in zip(comparison.names, comparison.right, strict=True):
        yield f"{name}: {with_interval(right / comparison.common, comparison.common)}"
    p_value = comparison.gain.p_value
    splits = [f"{count:,} {split}" for split, count in comparison.common_splits.items()]
    photos = f"{splits[0]} photos" if len(splits) == 1 else f"{comparison.common:,} photos"
    of = f" ({' and '.join(splits)})" if len(splits) > 1 else ""
    yield f"{other} against {one}: {comparison.gain.text}, on {photos}{of}"
    yield f"  {'could be' if p_value >= LEVEL else 'more than'} chance (McNemar's exact test)"
    if n := comparison.relabelled:
        yield f"  {n:,} more {'do' if n > 1 else 'does'} not count: of another class in each run"


def differences(comparison: RunComparison) -> dict[str, tuple[str, str]]:
    """Return what differs in configuration, data and classes: for both, in words."""
    lines = {
        key: (setting_text(key, first), setting_text(key, second))
        for key, (first, second) in comparison.settings.items()
    }
    if comparison.data[0] != comparison.data[1]:
        lines["data"] = comparison.data
    if any(comparison.only_classes):
        one, other = (_some(labels) for labels in comparison.only_classes)
        lines["classes only there"] = one, other
    same = comparison.trained_on_both
    if comparison.trained_on != (same, same):
        one, other = (f"{n:,} ({n - same:,} only there)" for n in comparison.trained_on)
        lines["photos trained on"] = one, other
    return lines


def _some(labels: Sequence[str]) -> str:
    more = f" and {len(labels) - SHOWN} more" if labels[SHOWN:] else ""
    return ", ".join(labels[:SHOWN]) + more or "none"


def heading(names: tuple[str, str], right: str, count: int) -> str:
    """Return a line on photos of which two runs say different classes.

    Args:
        names: Of the runs.
        right: Which of them is right: see :attr:`Disagreement.right`.
        count: How many photos there are.
    """
    who = RIGHT[right].format(names[right == "second"])
    return f"photos that {who} right about, the surest mistakes first: {count:,}"


def _photos(names: tuple[str, str], photos: Sequence[Disagreement]) -> Iterator[str]:
    yield heading(names, photos[0].right, len(photos))
    for photo in photos[:SHOWN]:
        first, second = (f"{p.predicted} {percent(p.probability)}" for p in photo.predictions)
        file, label = photo.predictions[0].file, photo.predictions[0].label
        yield f"  {file} is {label}: {names[0]} says {first}, {names[1]} {second}"
    if photos[SHOWN:]:
        yield f"  and {len(photos) - SHOWN:,} more; --json lists all"


def setting_text(key: str, value: Any) -> str:
    """Return the value of a setting in words."""
    if key == "stages":
        titles = [
            f"{stage.title} for {epochs_text(stage.epochs)} at {stage.learning_rate:g}"
            for stage in (Stage(**values) for values in value or ())
        ]
        counted = [(len([*same]), title) for title, same in groupby(titles)]
        words = [f"{title}, {n} times" if n > 1 else title for n, title in counted]
        return "; ".join(words) or "the probe alone"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        value = ", ".join(map(str, value))
    return "not given" if value in (None, "") else str(value)
