"""Results: all runs, one of them, two side by side."""

import time
from collections.abc import Sequence

import streamlit as st

from tlearn.runs.run_store import Order, RunSummary
from tlearn.web.components.job_list import state_words
from tlearn.web.components.run_details import one_run
from tlearn.web.components.run_pair import side_by_side
from tlearn.web.components.session import (
    act,
    between,
    choose,
    plain,
    problems,
    remember,
    texts,
    workspace,
)
from tlearn.web.i18n import Texts

ORDERS: tuple[Order, ...] = ("newest", "accuracy", "name", "seconds")


def show() -> None:
    """Show the page."""
    t = texts()
    st.title(t("results.title"), anchor=False)
    library = workspace().library
    if not library.runs():
        st.info(t("results.empty"))
        _undo(t)
        return
    with st.container(horizontal=True, vertical_alignment="bottom"):
        words = st.text_input(t("results.filter"), placeholder=t("results.filter_hint"), width=320)
        order = st.selectbox(
            t("results.order"), ORDERS, format_func=lambda name: t(f"results.by_{name}"), width=220
        )
        _undo(t)
    runs = library.runs(words, order)
    if not runs:
        st.info(t("results.no_match"))
        return
    _table(t, runs)
    usable = [run.name for run in runs if run.usable]
    with st.container(horizontal=True, vertical_alignment="bottom"):
        name = choose(
            t("results.run"),
            "run",
            [run.name for run in runs],
            t("results.choose"),
            first=next(iter(usable), None),
        )
        others = [other for other in usable if other != name]
        beside = st.selectbox(
            t("results.beside"),
            others,
            index=None,
            placeholder=t("results.nothing"),
            disabled=not others,
        )
    if name is None:
        return
    with problems():
        listed = next(run for run in runs if run.name == name)
        if beside and name in usable:
            side_by_side(t, library.path_of(name), library.path_of(beside))
        else:
            one_run(t, listed)


def _table(t: Texts, runs: Sequence[RunSummary]) -> None:
    """Show the runs; a click chooses one."""
    rows = [
        {
            t("results.run"): run.name,
            t("results.accuracy"): None if run.accuracy is None else 100 * run.accuracy,
            t("results.interval"): "" if run.accuracy is None else between(t, *run.interval),
            t("results.images"): run.images or None,
            t("results.backbone"): run.backbone,
            t("results.preset"): run.preset,
            t("results.seconds"): round(run.seconds) or None,
            t("results.state"): state_words(t, run),
            t("results.when"): time.strftime("%Y-%m-%d %H:%M", time.localtime(run.created)),
            t("results.note"): run.note,
        }
        for run in runs
    ]
    config = {t("results.accuracy"): st.column_config.NumberColumn(format="%.1f%%")}
    event = st.dataframe(
        rows,
        hide_index=True,
        column_config=config,
        placeholder="",
        on_select="rerun",
        selection_mode="single-row",
        key=f"runs.{hash(tuple(run.name for run in runs))}",
        height=min(420, 38 + 35 * len(rows)),
    )
    picked = event.selection.rows
    if picked and st.session_state.get("runs.picked") != (runs[picked[0]].name,):
        st.session_state["runs.picked"] = (runs[picked[0]].name,)
        remember("run", runs[picked[0]].name)


def _undo(t: Texts) -> None:
    deleted = workspace().library.trash()
    if deleted:
        label = t("results.undo", name=plain(deleted[0]))
        act(label, _restore, deleted[0], key=f"restore.{deleted[0]}", icon=":material/undo:")


def _restore(name: str) -> None:
    remember("run", workspace().library.restore(name).name)
