"""The split of a data set: sliders for the parts that the next training uses, and their counts."""

import streamlit as st

from tlearn.data.layouts import Split
from tlearn.data.scan import Manifest
from tlearn.data.splits import draw_splits
from tlearn.errors import DataError
from tlearn.web.components.config_options import option_value
from tlearn.web.words import escape_markdown, message, t


def show_split(manifest: Manifest) -> None:
    """Show which part of each class would be trained on, would choose, and would be held back."""
    st.markdown(t("data.split_hint"))
    with st.container(horizontal=True):
        val = _fraction(manifest, "validation", least=1)
        test = _fraction(manifest, "test", least=0)
    try:
        splits, problems = draw_splits(manifest, val, test, option_value("seed"))
    except DataError as error:
        st.warning(escape_markdown(message(str(error))))
        return
    rows = {label: {t("data.class"): label} for label in splits.labels}
    for side, files in splits.items():
        for label in rows:
            rows[label][t(f"data.{side}")] = 0  # type: ignore[assignment]
        for file in files:
            rows[file.label][t(f"data.{side}")] += 1  # type: ignore[operator]
    st.dataframe(list(rows.values()), hide_index=True)
    left_out = [p for p in problems if p.kind != "empty class"]
    if left_out:
        st.caption(t("data.split_left_out", count=len(left_out)))


def _fraction(manifest: Manifest, split: Split, least: int) -> float:
    """Show a slider for the fraction of a split, unless the data gives it; return the fraction."""
    key = {"validation": "val"}.get(split, split)  # of the option
    if any(file.given == split for file in manifest.files):
        st.markdown(t("data.split_given", split=t(f"data.{split}")), width="content")
        return float(option_value(key))
    state, slider = st.session_state, f"split.{key}"
    state.setdefault(slider, min(90, max(least, round(100 * option_value(key)))))
    st.slider(
        t(f"data.{split}"),
        least,
        90,
        key=slider,
        format="%d%%",
        width=280,
        on_change=lambda: state.update({f"option.{key}": state[slider] / 100}),
    )
    return float(option_value(key))
