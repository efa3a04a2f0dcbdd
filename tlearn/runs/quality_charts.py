"""Charts of how a classifier ranks images, how honest it is, and how it sees them."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tlearn.runs.charts import BORDER, INK, TRAINING, VALIDATION, Chart
from tlearn.runs.quality_curves import Bin, Curve

SQUARE = 340  # pixels
POINTS = 60  # of a curve drawn
MOST = 200  # curves drawn; of more classes every second, third, ...
LONG = 24  # characters of a name in a legend, at most
# Colours of classes, told apart on white and on the dark background; of more classes a wheel.
PALETTE = "#3b82c4 #d9730d #12805c #c2479b #8a63d2 #a67c00 #d64545 #2a93a6 #6f8f2a #7a7f87".split()
NAMED = 5  # of many classes, those with the least area are named
EVERY, AVERAGE = "every other class", "mean of all classes"


def class_colours(number: int) -> list[str]:
    """Return a colour for each of so many classes."""
    if number <= len(PALETTE):
        return PALETTE[:number]
    return [f"hsl({360 * k / number:.0f}, 62%, {(46, 58)[k % 2]}%)" for k in range(number)]


def ranking(curves: Mapping[str, Curve], mean: Curve, x: str, y: str, steps: bool) -> Chart:
    """Return curves of all classes, and their mean in bold; of many classes the worst are named.

    Args:
        curves: By the name of the class.
        mean: Of all of them.
        x: The title of the horizontal axis.
        y: That of the vertical one.
        steps: Whether a value holds back to the previous point; else points are joined, and the
            line of pure chance is drawn.
    """
    worst = sorted(curves, key=lambda name: curves[name].area)
    few = len(curves) <= len(PALETTE)
    named = list(curves) if few else worst[:NAMED]
    labels = {name: f"{_cut(name)} ({curves[name].area:.3f})" for name in curves}
    mean_label = f"{AVERAGE} ({mean.area:.3f})"
    domain = [mean_label, *(labels[name] for name in named)]
    colours = [INK, *PALETTE[: len(named)]]
    if len(named) < len(curves):
        domain, colours = [*domain, EVERY], [*colours, BORDER]
    others = [name for name in worst if name not in named]
    rows = [
        row
        for name in [*others[:: math.ceil(len(curves) / MOST)], *named]
        for row in _rows(curves[name], labels[name], labels[name] if name in named else EVERY)
    ]
    color = {
        "field": "colour",
        "type": "nominal",
        "title": None,
        "scale": {"domain": domain, "range": colours},
        "legend": {"orient": "bottom", "columns": 2, "labelLimit": 165, "symbolType": "stroke"},
    }
    line = {
        "encoding": {
            "x": _share("x", x),
            "y": _share("y", y),
            "detail": {"field": "line", "type": "nominal"},
            "order": {"field": "order", "type": "quantitative"},
            "description": {"field": "line", "type": "nominal"},
            "color": color,
        }
    }
    chance = [] if steps else [{"x": 0, "y": 0}, {"x": 1, "y": 1}]
    mark = {"type": "line", "interpolate": "step-before" if steps else "linear"}
    bold = _rows(mean, mean_label, mean_label)
    return {
        "width": SQUARE,
        "height": SQUARE,
        "layer": [
            _diagonal(chance),
            line | {"data": {"values": rows}, "mark": mark | {"strokeWidth": 1.3}},
            line | {"data": {"values": bold}, "mark": mark | {"strokeWidth": 3}},
        ],
    }


def _cut(name: str) -> str:
    return name if len(name) <= LONG else f"{name[: LONG - 1]}…"


def _rows(curve: Curve, line: str, colour: str) -> list[dict[str, Any]]:
    """Return the points of a curve that are drawn: those in which it turns, not too many."""
    x, y = curve.x, curve.y
    moves = [np.diff(values) != 0 for values in (x, y)]
    turns = np.logical_and(*(move[:-1] | move[1:] for move in moves)).tolist()
    at = np.flatnonzero([True, *turns, True])
    if len(at) > POINTS:
        at = at[np.linspace(0, len(at) - 1, POINTS).astype(int)]
    return [
        {"x": round(float(x[k]), 4), "y": round(float(y[k]), 4), "order": n}
        | {"line": line, "colour": colour}
        for n, k in enumerate(at.tolist())
    ]


def _share(field: str, title: str) -> dict[str, Any]:
    axis = {"format": ".0%", "tickCount": 5}
    scale = {"domain": [0, 1], "nice": False}
    return {"field": field, "type": "quantitative", "title": title, "axis": axis, "scale": scale}


def _diagonal(points: Sequence[Mapping[str, float]]) -> Chart:
    encoding = {name: {"field": name, "type": "quantitative"} for name in ("x", "y")}
    mark = {"type": "line", "strokeDash": [4, 4], "color": BORDER, "strokeWidth": 1}
    return {"data": {"values": list(points)}, "mark": mark, "encoding": encoding}


def reliability_diagram(bins: Mapping[str, Sequence[Bin]]) -> Chart:
    """Return how often the model is right against how sure it is; honest is the diagonal.

    Args:
        bins: By what they are of, at most two.
    """
    rows = [
        {"of": of, "x": one.probability, "y": one.right, "images": one.images}
        for of, some in bins.items()
        for one in some
    ]
    color = {
        "field": "of",
        "type": "nominal",
        "title": None,
        "sort": None,
        "scale": {"domain": list(bins), "range": [TRAINING, VALIDATION][: len(bins)]},
        "legend": {"orient": "bottom", "labelLimit": 165},
    }
    sizes = {"field": "images", "type": "quantitative", "legend": None}
    tooltip = {"field": "images", "type": "quantitative", "title": "photos"}
    place = {"x": _share("x", "probability of the answer"), "y": _share("y", "share that is right")}
    values = {"data": {"values": rows}}
    return {
        "width": SQUARE,
        "height": SQUARE,
        "layer": [
            _diagonal([{"x": 0, "y": 0}, {"x": 1, "y": 1}]),
            values | {"mark": {"type": "line"}, "encoding": place | {"color": color}},
            values
            | {
                "mark": {"type": "point", "filled": True, "opacity": 1},
                "encoding": place
                | {"color": color, "tooltip": tooltip}
                | {"size": sizes | {"scale": {"range": [30, 260]}}},
            },
        ],
    }


def photo_map(places: np.ndarray, rows: Sequence[Mapping[str, Any]], labels: list[str]) -> Chart:
    """Return photos as points, coloured by class; a ring marks those predicted wrongly.

    Args:
        places: ``(n, 2)``.
        rows: ``label``, ``right`` and ``name`` of each.
        labels: The classes, in the order of the colours.
    """
    values = [
        {"x": round(float(x), 3), "y": round(float(y), 3), **row}
        for (x, y), row in zip(places, rows, strict=True)
    ]
    bare = {"axis": None, "scale": {"zero": False, "nice": False, "padding": 8}}
    few = len(labels) <= len(PALETTE)
    legend = {
        **{"orient": "bottom", "columns": 3, "labelLimit": 150, "labelFontSize": 12},
        **{"symbolOpacity": 1, "symbolStrokeWidth": 0},
    }
    ring = {"condition": {"test": "datum.right", "value": None}, "value": INK}
    return {
        "width": 560,
        "height": 420,
        "data": {"values": values},
        "mark": {"type": "point", "filled": True, "size": 42, "opacity": 0.85, "strokeWidth": 1.6},
        "encoding": {
            "x": {"field": "x", "type": "quantitative", **bare},
            "y": {"field": "y", "type": "quantitative", **bare},
            "fill": {
                "field": "label",
                "type": "nominal",
                "title": None,
                "scale": {"domain": labels, "range": class_colours(len(labels))},
                "legend": legend if few else None,
            },
            "stroke": ring,
            "description": {"field": "name", "type": "nominal"},
        },
    }
