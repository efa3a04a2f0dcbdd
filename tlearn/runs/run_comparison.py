"""Two runs side by side: their settings, and whether their accuracies differ significantly."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from tlearn.runs.metrics import mcnemar
from tlearn.runs.predictions import HeldOutPrediction
from tlearn.runs.run import Run


@dataclass(frozen=True)
class RunComparison:
    """The differences of two runs.

    Attributes:
        settings: By dotted key, the values of both, where they differ.
        common: How many images both were measured on without having been trained on them.
        accuracies: Of both, on those images.
        p_value: How likely so large a difference is by chance (McNemar's exact test), or ``None``
            where there are no common images.
        mistakes: For each run, its mistakes on those images that the other is right about.
    """

    settings: dict[str, tuple[Any, Any]]
    common: int
    accuracies: tuple[float, float]
    p_value: float | None
    mistakes: tuple[list[HeldOutPrediction], list[HeldOutPrediction]]


def compare_runs(one: Run, other: Run) -> RunComparison:
    """Compare two runs.

    Images are recognised by their content, whatever their path.

    Raises:
        RunError: If a file of one of them is missing or damaged.
    """
    flat = [_flat(run.record["config"]) for run in (one, other)]
    keys = sorted({*flat[0], *flat[1]})
    settings = {
        key: (flat[0].get(key), flat[1].get(key))
        for key in keys
        if flat[0].get(key) != flat[1].get(key)
    }
    of_one, of_other = (_by_content(run) for run in (one, other))
    common = sorted(of_one.keys() & of_other.keys())
    if not common:
        return RunComparison(settings, 0, (0.0, 0.0), None, ([], []))
    pairs = [(of_one[content], of_other[content]) for content in common]
    a, b = (np.array([p.correct for p in side]) for side in zip(*pairs, strict=True))
    mistakes = (
        [p for p, q in pairs if q.correct and not p.correct],
        [q for p, q in pairs if p.correct and not q.correct],
    )
    accuracies = float(a.mean()), float(b.mean())
    return RunComparison(settings, len(common), accuracies, mcnemar(a, b), mistakes)


def _by_content(run: Run) -> dict[str, HeldOutPrediction]:
    """Return what a run says of the images that were held back, by their content hashes."""
    contents = run.contents()
    return {contents[p.file]: p for p in run.held_out_predictions() if p.file in contents}


def _flat(value: Any, key: str = "") -> dict[str, Any]:
    """Return nested settings by dotted keys."""
    if isinstance(value, dict) and value:
        return {k: v for name, one in value.items() for k, v in _flat(one, f"{key}.{name}").items()}
    return {key.lstrip("."): value}
