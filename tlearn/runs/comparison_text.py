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
    lines = [*_verdict(comparison), *_differences(comparison)]
    for right in RIGHT:
        photos = [d for d in comparison.disagreements if d.right == right]
        lines += _photos(comparison.names, photos) if photos else ()
    if not comparison.disagreements:
        lines.append("they say the same class of every photo")
    return "\n".join(map(printable, lines))


def _verdict(comparison: RunComparison) -> Iterator[str]:
    one, other = comparison.names
    if comparison.gain is None:
        yield "no photo is held out by both"
        return
    for name, right in zip(comparison.names, comparison.right, strict=True):
        yield f"{name}: {with_interval(right / comparison.common, comparison.common)}"
    p_value = comparison.gain.p_value
    yield f"{other} against {one}: {comparison.gain.text}, on {comparison.common:,} photos"
    yield f"  {'could be' if p_value >= LEVEL else 'more than'} chance (McNemar's exact test)"
    if n := comparison.relabelled:
        yield f"  {n:,} more {'do' if n > 1 else 'does'} not count: of another class in each run"


def _differences(comparison: RunComparison) -> Iterator[str]:
    yield "what differs:"
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
    one, other = comparison.names
    for name, (first, second) in lines.items():
        yield f"  {name}: {first} in {one}, {second} in {other}"
    if not lines:
        yield "  neither configuration nor photos"


def _some(labels: Sequence[str]) -> str:
    more = f" and {len(labels) - SHOWN} more" if labels[SHOWN:] else ""
    return ", ".join(labels[:SHOWN]) + more or "none"


def _photos(names: tuple[str, str], photos: Sequence[Disagreement]) -> Iterator[str]:
    kind = photos[0].right
    who = RIGHT[kind].format(names[kind == "second"])
    yield f"photos that {who} right about, the surest mistakes first: {len(photos):,}"
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
