"""The chart of which class is taken for which: a matrix, or bars."""

from collections.abc import Mapping, Sequence
from typing import Any

from tlearn.runs.charts import (
    ENGLISH,
    SHARE,
    VALIDATION,
    Chart,
    name_field,
    number_field,
    text_layer,
)
from tlearn.runs.measurement import confused_pairs
from tlearn.text import shortened

MATRIX = 20  # classes up to which confusions are a matrix; beyond, the most confused pairs
FILE_MATRIX = 100  # the same in a file, where there is room
CELL, SMALL_CELL = 40, 22  # pixels
PAIRS = 15  # pairs drawn: the photos of one stand below them
FILE_PAIRS = 30  # the same in a file
ROW = 36  # pixels of each
LONG = 40  # characters of a name in a pair


def confusion(
    figures: Mapping[str, Any],
    words: Mapping[str, str] = ENGLISH,
    title: str = "",
    order: Sequence[str] | None = None,
) -> Chart:
    """Return which class is taken for which; a click selects a cell as ``cell``.

    Up to :data:`MATRIX` classes it is the whole matrix, true classes in rows, sized by their
    number; beyond that the most confused pairs, as bars.

    Args:
        figures: Of one split, as ``metrics.json`` has them.
        words: Texts for all of :data:`WORDS`.
        title: The title.
        order: The classes in the order of rows and columns, for a file: the matrix then is whole
            up to :data:`FILE_MATRIX` classes.
    """
    labels, counts = list(order or figures["per_class"]), figures["confusion"]
    whole = len(labels) <= (FILE_MATRIX if order else MATRIX)
    if whole:
        cells = [(true, other, counts[true].get(other, 0)) for true in labels for other in labels]
        if len(labels) > MATRIX:
            cells = [cell for cell in cells if cell[2]]
    else:
        cells = confused_pairs(figures)[: FILE_PAIRS if order else PAIRS]
    rows = [
        {
            "rank": rank,
            "pair": words["pair"].format(
                true=shortened(true, LONG), predicted=shortened(predicted, LONG)
            ),
            "true": true,
            "predicted": predicted,
            "count": count,
            "share": count / max(1, figures["per_class"][true]["n"]),
        }
        for rank, (true, predicted, count) in enumerate(cells)
    ]
    tooltip = [
        name_field("true", title=words["true"]),
        name_field("predicted", title=words["predicted"]),
        number_field("count", title=words["photos"]),
        number_field("share", title=words["share"], format=".0%"),
    ]
    select = {"type": "point", "fields": ["true", "predicted"]}
    return {
        **({"title": title} if title else {}),
        "data": {"values": rows},
        "params": [{"name": "cell", "select": select, "views": ["cells"]}],
        **(_matrix(labels, words, tooltip) if whole else _pairs(rows, tooltip)),
    }


def _if_selected(value: float, otherwise: float) -> dict[str, Any]:
    """Return a value for the cell that is selected, and another for the others."""
    condition = {"param": "cell", "empty": False, "value": value}
    return {"condition": condition, "value": otherwise}


def _matrix(labels: list[str], words: Mapping[str, str], tooltip: list[Any]) -> Chart:
    # All labels, each at its cell.
    axis = {"labelLimit": 180, "labelOverlap": False, "labelFlush": False}
    across = axis | {"labelAngle": -40}
    strength = {"domain": [0, 1], "range": [0.08, 1.0]}  # of one colour: for light and dark
    cells = {
        "name": "cells",
        "mark": {"type": "rect", "cursor": "pointer", "color": SHARE, "stroke": "#8884"},
        "encoding": {
            "opacity": number_field("share", legend=None, scale=strength),
            "strokeWidth": _if_selected(3, 1),
            "tooltip": tooltip,
        },
    }
    step, size = (CELL, 13) if len(labels) <= MATRIX else (SMALL_CELL, 10)
    numbers = [
        text_layer("count", "datum.count > 0 && datum.share > 0.5", fontSize=size, color="white"),
        text_layer("count", "datum.count > 0 && datum.share <= 0.5", fontSize=size),
    ]
    place = {"sort": labels, "scale": {"domain": labels}}  # also those without a cell
    return {
        "encoding": {
            "x": name_field("predicted", title=words["predicted"], axis=across, **place),
            "y": name_field("true", title=words["true"], axis=axis, **place),
        },
        "layer": [cells, *numbers],
        # Unlike a width, it leaves room for the labels on the page, too.
        "width": {"step": step},
        "height": {"step": step},
    }


def _pairs(rows: list[dict[str, Any]], tooltip: list[Any]) -> Chart:
    """Return bars below their names, which fit into any width."""
    most = 1.1 * max((row["count"] for row in rows), default=1)  # room for the number
    across = number_field("count", axis=None, scale={"domain": [0, most]})
    bars = {
        "name": "cells",
        "mark": {
            "type": "bar",
            "cursor": "pointer",
            "color": VALIDATION,
            "height": 8,
            "yOffset": 8,
        },
        "encoding": {
            "x": across,
            "opacity": _if_selected(1, 0.8),
            "tooltip": tooltip,
        },
    }
    beside = {"align": "left", "baseline": "middle"}
    names = {
        "mark": {"type": "text", **beside, "dy": -6, "limit": {"expr": "width"}, "fontSize": 12},
        "encoding": {"x": {"value": 0}, "text": name_field("pair"), "tooltip": tooltip},
    }
    counts = {
        "mark": {"type": "text", **beside, "dx": 5, "dy": 9},
        "encoding": {"x": across, "text": name_field("count")},
    }
    return {
        "encoding": {"y": name_field("rank", axis=None)},
        "layer": [bars, names, counts],
        "width": 400,
        "height": {"step": ROW},
        "view": {"stroke": None},
    }
