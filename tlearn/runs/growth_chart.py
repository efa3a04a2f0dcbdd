"""The chart of a learning curve: accuracy by number of training photos, and the law fitted."""

from collections.abc import Sequence

from tlearn.runs.charts import TRAINING, VALIDATION, Chart, Row


def accuracy_by_photos(rows: Sequence[Row], band: Sequence[Row]) -> Chart:
    """Return the accuracies measured, with intervals, and the law fitted to them, with its band.

    Args:
        rows: Each with ``images``, ``accuracy`` and ``accuracy_ci95``.
        band: Each with ``images``, ``accuracy``, ``low`` and ``high``.
    """
    measured = [
        {key: row[key] for key in ("images", "accuracy")}
        | dict(zip(("low", "high"), row["accuracy_ci95"], strict=True))
        for row in rows
    ]
    ticks = [row["images"] for row in measured] + [round(band[-1]["images"])]
    domain = [ticks[0] / 1.1, ticks[-1] * 1.1]
    axis = {"values": ticks, "format": ",d", "grid": False, "labelOverlap": "greedy"}
    images = {
        "field": "images",
        "type": "quantitative",
        "title": "photos trained on (dashed: the power law fitted, and what is expected of more)",
        "scale": {"type": "log", "domain": domain, "nice": False},
        "axis": axis,
    }
    accuracy = {
        "field": "accuracy",
        "type": "quantitative",
        "title": "accuracy on photos held out, 95% interval",
        "scale": {"zero": False},
        "axis": {"format": ".0%"},
    }
    spread = {"y": accuracy | {"field": "low"}, "y2": {"field": "high"}}
    law = {"data": {"values": list(band)}, "encoding": {"x": images}}
    points = {"data": {"values": measured}, "encoding": {"x": images}}
    return {
        "width": 520,
        "height": 320,
        "layer": [
            law
            | {
                "layer": [
                    {
                        "mark": {"type": "area", "color": VALIDATION, "opacity": 0.2},
                        "encoding": spread,
                    },
                    {
                        "mark": {"type": "line", "color": VALIDATION, "strokeDash": [6, 4]},
                        "encoding": {"y": accuracy},
                    },
                ]
            },
            points
            | {
                "layer": [
                    {"mark": {"type": "rule", "color": TRAINING}, "encoding": spread},
                    {
                        "mark": {"type": "point", "filled": True, "size": 60, "color": TRAINING},
                        "encoding": {"y": accuracy},
                    },
                ]
            },
        ],
    }
