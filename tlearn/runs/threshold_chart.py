"""The chart of a threshold: precision and recall over the least probability that is answered."""

from collections.abc import Mapping, Sequence

from tlearn.runs.charts import BORDER, TRAINING, VALIDATION, Chart, Row

ENGLISH = {"precision": "precision", "recall": "recall", "at_least": "least probability"}


def threshold_chart(
    curve: Sequence[Row], threshold: float, words: Mapping[str, str] = ENGLISH
) -> Chart:
    """Return precision and recall over thresholds, with a line at one of them.

    Args:
        curve: As :meth:`tlearn.runs.thresholds.Answers.curve` gives it.
        threshold: Where the line is.
        words: Texts for all of :data:`ENGLISH`.
    """
    rows = [{**row, "quantity": words[row["quantity"]]} for row in curve]
    scale = {"domain": [0, 1], "nice": False}
    axis = {"format": ".0%"}
    x = {
        "field": "threshold",
        "type": "quantitative",
        "scale": scale,
        "axis": axis | {"grid": False},
    }
    value = {"field": "value", "type": "quantitative", "title": None, "scale": scale, "axis": axis}
    names = [words["precision"], words["recall"]]
    return {
        "height": 300,
        "layer": [
            {
                "data": {"values": rows},
                "mark": {"type": "line", "strokeWidth": 2.5},
                "encoding": {
                    "x": x | {"title": words["at_least"]},
                    "y": value,
                    "color": {
                        "field": "quantity",
                        "type": "nominal",
                        "title": None,
                        "legend": {"orient": "bottom"},
                        "scale": {"domain": names, "range": [TRAINING, VALIDATION]},
                    },
                    "tooltip": [
                        {"field": "quantity", "type": "nominal", "title": " "},
                        x | {"title": words["at_least"], "format": ".0%"},
                        {"field": "value", "type": "quantitative", "format": ".1%", "title": "%"},
                    ],
                },
            },
            {
                "data": {"values": [{"threshold": threshold}]},
                "mark": {"type": "rule", "color": BORDER, "strokeDash": [4, 4], "size": 2},
                "encoding": {"x": x},
            },
        ],
    }
