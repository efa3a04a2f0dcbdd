"""Two runs side by side: their settings, and whether their accuracies differ significantly."""

from dataclasses import dataclass
from typing import Any

from tlearn.runs.measurement import mcnemar
from tlearn.runs.predictions import HeldOutPrediction
from tlearn.runs.run import Run


@dataclass(frozen=True)
class RunComparison:
    """The differences of two runs.

    Attributes:
        settings: By dotted key, the values of both, where both have it and they differ.
        common: How many images both were measured on without having been trained on them.
        right: How many of those images each is right about.
        p_value: How likely so large a difference is by chance (McNemar's exact test), or ``None``
            where there are no common images.
        mistakes: For each run, its mistakes on those images that the other is right about.
    """

    settings: dict[str, tuple[Any, Any]]
    common: int
    right: tuple[int, int]
    p_value: float | None
    mistakes: tuple[list[HeldOutPrediction], list[HeldOutPrediction]]


def compare_runs(one: Run, other: Run) -> RunComparison:
    """Compare two runs.

    Images are recognised by their content, whatever their path.

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
    common = sorted(of_one.keys() & of_other.keys())
    pairs = [(of_one[content], of_other[content]) for content in common]
    mistakes = (
        [p for p, q in pairs if q.correct and not p.correct],
        [q for p, q in pairs if p.correct and not q.correct],
    )
    right = sum(p.correct for p, _ in pairs), sum(q.correct for _, q in pairs)
    p_value = mcnemar(*map(len, mistakes)) if pairs else None
    return RunComparison(settings, len(pairs), right, p_value, mistakes)


def _by_content(run: Run) -> dict[str, HeldOutPrediction]:
    """Return what a run says of the images that were held back, by their content hashes."""
    contents = run.contents()
    return {contents[p.file]: p for p in run.held_out_predictions() if p.file in contents}


def _flat(value: Any, key: str = "") -> dict[str, Any]:
    """Return nested settings by dotted keys."""
    if isinstance(value, dict) and value:
        return {k: v for name, one in value.items() for k, v in _flat(one, f"{key}.{name}").items()}
    return {key.lstrip("."): value}
