"""The chart of a search of configurations: its trials in their order, and over each value."""

from collections.abc import Sequence
from typing import Any

from tlearn.metrics import Metric
from tlearn.runs.charts import BORDER, TRAINING, VALIDATION, Chart, Row

FEW = 6  # values up to which each has a place of its own
WIDE = 10  # times the least value from which an axis is logarithmic
DOT = {"type": "point", "filled": True, "size": 50, "color": TRAINING}


def trials_of_search(trials: Sequence[Row], metric: Metric) -> Chart:
    """Return the scores of trials in their order, and below over each value that varies.

    A step line is the best so far, a dashed one the configuration that was given.

    Args:
        trials: Each with ``trial``, ``score``, ``share`` (of the epochs) and ``values``, numbers or
            texts by key; the first is the configuration that was given.
        metric: What the scores are.
    """
    title = f"{metric.name} on validation"
    axis = {"title": title, "axis": {"format": ".0%" if metric.share else ".3~g"}}
    score = _number("score", scale={"zero": False}, **axis)
    opacity = _number("share", title="share of the epochs", legend={"orient": "bottom"})
    shown = {"y": score, "opacity": opacity | {"scale": {"domain": [0, 1], "range": [0.3, 1]}}}
    best = {"op": "max" if metric.higher_is_better else "min", "field": "score", "as": "best"}
    step = {"type": "line", "interpolate": "step-after", "color": VALIDATION}
    rule = {"type": "rule", "strokeDash": [4, 4], "color": BORDER}
    order = _number("trial", axis={"tickMinStep": 1, "format": "d", "grid": False})
    overview = {
        "width": 760,
        "height": 240,
        "layer": [
            {"mark": DOT, "encoding": {"x": order} | shown},
            {
                "transform": [{"window": [best], "sort": [{"field": "trial"}]}],
                "mark": step,
                "encoding": {"x": order, "y": _number("best", scale={"zero": False}, **axis)},
            },
            {
                "transform": [{"filter": "datum.trial == 0"}],
                "mark": rule,
                "encoding": {"y": score},
            },
        ],
    }
    keys = list(dict.fromkeys(key for trial in trials for key in trial["values"]))
    rows = [
        {"trial": trial["trial"], "score": trial["score"], "share": trial["share"]}
        | {f"value {i}": trial["values"].get(key) for i, key in enumerate(keys)}
        for trial in trials
    ]
    panels = [_over_value(f"value {i}", key, rows, shown) for i, key in enumerate(keys)]
    below = [{"columns": 3, "concat": panels}] if panels else []
    return {"data": {"values": rows}, "vconcat": [overview, *below]}


def _number(field: str, **more: Any) -> dict[str, Any]:
    return {"field": field, "type": "quantitative", **more}


def _over_value(field: str, key: str, rows: Sequence[Row], shown: Row) -> Chart:
    """Return the scores of the trials over one of their values."""
    values = [row[field] for row in rows if row[field] is not None]
    over: dict[str, Any] = {"field": field, "type": "ordinal", "axis": {"labelAngle": -30}}
    if len(set(values)) > FEW and not any(isinstance(value, str) for value in values):
        wide = min(values) > 0 and max(values) > WIDE * min(values)
        scale = {"type": "log" if wide else "linear", "zero": False}
        over = _number(field, scale=scale, axis={"format": ".2~g", "grid": False})
    return {
        "width": 220,
        "height": 140,
        "transform": [{"filter": "datum.trial > 0"}],
        "mark": DOT,
        "encoding": {"x": over | {"title": key}, **shown},
    }
