"""How honest the probabilities of a model are, before and after its temperature."""

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from tlearn.metrics import log_loss
from tlearn.runs.quality_curves import Bin, calibration_error, reliability


def calibration_of(
    y: np.ndarray, before: np.ndarray, after: np.ndarray, temperature: float
) -> dict[str, Any]:
    """Return the part ``calibration`` of ``metrics.json``.

    Args:
        y: Class indices of validation images, ``(n,)``.
        before: Their probabilities without a temperature, ``(n, classes)``.
        after: Those with temperatures that were fitted without the image they are for.
        temperature: That of the model, fitted on all of the images.

    Returns:
        ``temperature``, ``images``, and ``before`` and ``after``, each with the expected
        calibration ``error``, ``log_loss``, and the ``reliability``: rows of images, mean
        probability, share that is right.
    """
    record: dict[str, Any] = {"temperature": round(temperature, 4), "images": len(y)}
    for name, p in (("before", before), ("after", after)):
        bins = reliability(p.max(axis=1), p.argmax(axis=1) == y)
        record[name] = {
            "error": calibration_error(bins),
            "log_loss": log_loss(y, p),
            "reliability": [[one.images, one.probability, one.right] for one in bins],
        }
    return record


def reliability_in(metrics: Mapping[str, Any], when: Literal["before", "after"]) -> list[Bin]:
    """Return the reliability before or after the temperature; nothing where it is not known."""
    record = metrics.get("calibration") or {when: {"reliability": []}}
    return [Bin(*row) for row in record[when]["reliability"]]


def calibration_lines(metrics: Mapping[str, Any]) -> list[str]:
    """Return a line on what the temperature does; none where that is not known."""
    record = metrics.get("calibration")
    if not record:
        return []
    error, error_before = (100 * record[when]["error"] for when in ("after", "before"))
    loss, loss_before = (record[when]["log_loss"] for when in ("after", "before"))
    return [
        f"calibration: temperature {record['temperature']:.2f}; probabilities are off by "
        f"{error:.1f} points on average ({error_before:.1f} without it), log loss {loss:.3f} "
        f"({loss_before:.3f}), cross-fitted on {record['images']:,} validation images"
    ]
