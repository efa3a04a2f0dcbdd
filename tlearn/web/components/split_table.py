"""The split of a data set: sliders for the parts that the next training uses, and their counts."""

from pathlib import Path

import streamlit as st

from tlearn.data.layouts import SPLITS, Split
from tlearn.data.scan import Manifest
from tlearn.web import data_process
from tlearn.web.background import BackgroundTask, Recent, start
from tlearn.web.components.class_column import class_column
from tlearn.web.components.config_options import option_value
from tlearn.web.components.scans import wait_for
from tlearn.web.data_work import MOST, split_counts
from tlearn.web.words import escape_markdown, message, t

# Splits of late by data, fractions and seed, with the manifest that was split.
_splits = Recent[tuple[Path, float, float, int], tuple[Manifest, BackgroundTask]](MOST)


def show_split(manifest: Manifest) -> None:
    """Show which part of each class would be trained on, would choose, and would be held back."""
    st.markdown(t("data.split_hint"))
    with st.container(horizontal=True):
        val = _fraction(manifest, "validation", least=1)
        test = _fraction(manifest, "test", least=0)
    task = split_task(manifest, val, test, option_value("seed"))
    if not wait_for(task, t("common.reading")):
        return
    if task.problem:
        st.warning(escape_markdown(message(task.problem)))
        return
    counts, left_out = task.result
    rows = [
        {t("data.class"): label} | {t(f"data.{split}"): n for split, n in of.items()}
        for label, of in counts.items()
    ]
    config = {t("data.class"): class_column(counts)}
    totals = {split: sum(of[split] for of in counts.values()) for split in SPLITS}
    st.markdown(" · ".join(f"{t(f'data.{split}')}: **{n:,}**" for split, n in totals.items()))
    st.dataframe(rows, hide_index=True, column_config=config)
    if left_out:
        st.caption(t("data.split_left_out", count=left_out))


def split_task(manifest: Manifest, val: float, test: float, seed: int) -> BackgroundTask:
    """Return the task of :func:`split_counts`, begun if this data set was not split so before."""
    arguments = manifest.data, val, test, seed
    before, task = _splits.get(arguments, (None, BackgroundTask()))
    if before is not manifest:
        task = start(lambda progress: data_process.run(progress, split_counts, *arguments))
        _splits[arguments] = manifest, task
    return task


def _fraction(manifest: Manifest, split: Split, least: int) -> float:
    """Show a slider for the fraction of a split, unless the data gives it; return the fraction."""
    key = {"validation": "val"}.get(split, split)  # of the option
    if split in manifest.given:
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
