"""Two runs side by side: what was asked for differently, and whether the difference is noise."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from tlearn.runs.metrics import mcnemar
from tlearn.runs.run import Run


@dataclass(frozen=True)
class RunComparison:
    """What two runs differ in.

    Attributes:
        settings: By dotted key, the values of both, where they differ.
        common: How many images both were measured on without having been trained on them.
        accuracies: Of both, on those images.
        p_value: How likely so large a difference is by chance (McNemar's exact test), or ``None``
            where there are no common images.
    """

    settings: dict[str, tuple[Any, Any]]
    common: int
    accuracies: tuple[float, float]
    p_value: float | None


def compare_runs(one: Run, other: Run) -> RunComparison:
    """Put two runs side by side.

    Images are known again by their content, so that the same photos count wherever they lay.

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
    right = [_right(run) for run in (one, other)]
    common = sorted(right[0].keys() & right[1].keys())
    a, b = (np.array([of[content] for content in common], bool) for of in right)
    if not common:
        return RunComparison(settings, 0, (0.0, 0.0), None)
    return RunComparison(settings, len(common), (float(a.mean()), float(b.mean())), mcnemar(a, b))


def _right(run: Run) -> dict[str, bool]:
    """Return, by content hash, whether the run is right about each image that was held back."""
    contents = run.contents()
    return {contents[p.file]: p.correct for p in run.held_out_predictions() if p.file in contents}


def _flat(value: Any, key: str = "") -> dict[str, Any]:
    """Return nested settings by dotted keys."""
    if isinstance(value, dict) and value:
        return {k: v for name, one in value.items() for k, v in _flat(one, f"{key}.{name}").items()}
    return {key.lstrip("."): value}
