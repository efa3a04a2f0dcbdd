"""The chart of confused classes on a page."""

from collections.abc import Mapping
from typing import Any

import streamlit as st

from tlearn.runs.confusion_chart import confusion
from tlearn.web.words import chart_words

WIDTH = 640  # pixels of bars; less where there is no room


def show_confusion(figures: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    """Show which class is taken for which; return the cell that was clicked, if any was."""
    chart = confusion(figures, chart_words())
    dark = st.context.theme.type == "dark"
    chart["config"] = {"text": {"color": "#fafafa" if dark else "#31333f"}}
    if isinstance(chart["width"], int):  # bars, which fit into any width
        with st.container(width=WIDTH):
            event = st.vega_lite_chart(spec=chart, on_select="rerun", key=key, width="stretch")
    else:
        event = st.vega_lite_chart(spec=chart, on_select="rerun", key=key, width="content")
    cells: list[dict[str, Any]] = event.selection.get("cell", [])
    return cells
