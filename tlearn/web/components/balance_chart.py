"""How many photos each class has, as bars."""

import json
from collections.abc import Mapping
from typing import Any

import streamlit as st

from tlearn.text import shortened
from tlearn.web.words import t

COLOUR = "#2a9d7a"  # told from the background in both themes
BAR, TALLEST = 22, 420  # pixels of a bar, and of the part of the chart that is seen at once


def show_balance(counts: Mapping[str, int]) -> None:
    """Show a bar per class, in the order given, with its number; many classes are scrolled."""
    tall = len(counts) * BAR > TALLEST
    with st.container(height=TALLEST if tall else "content", border=False):
        st.vega_lite_chart(balance_chart(counts, t("data.class"), t("chart.photos")))


def balance_chart(counts: Mapping[str, int], label: str, photos: str) -> dict[str, Any]:
    """Return a Vega-Lite chart of the photos of each class, with words for its tooltips."""
    names = [shortened(name, 40) for name in counts]
    rows = [
        {"row": i, "label": name, "count": count} for i, (name, count) in enumerate(counts.items())
    ]
    # By number: shortened names of two classes may be the same.
    axis = {"labelExpr": f"{json.dumps(names)}[datum.value]", "labelLimit": 260}
    count = {"field": "count", "type": "quantitative", "title": None, "axis": None}
    tooltip = [
        {"field": "label", "type": "nominal", "title": label},
        {"field": "count", "type": "quantitative", "title": photos, "format": ","},
    ]
    return {
        "data": {"values": rows},
        "height": {"step": BAR},
        "encoding": {
            "y": {
                "field": "row",
                "type": "ordinal",
                "title": None,
                "axis": axis | {"ticks": False, "domain": False, "labelPadding": 8},
            },
            "x": count,
            "tooltip": tooltip,
        },
        "layer": [
            {"mark": {"type": "bar", "cornerRadiusEnd": 3, "color": COLOUR}},
            {
                "mark": {"type": "text", "align": "left", "dx": 5, "color": "gray"},
                "encoding": {"text": {"field": "count", "type": "quantitative", "format": ","}},
            },
        ],
    }
