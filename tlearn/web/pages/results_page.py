"""Results: all runs, one of them, two side by side."""

import time
from collections.abc import Sequence
from pathlib import Path

import streamlit as st

from tlearn.runs.measurement import FEW
from tlearn.runs.run_store import Order, RunSummary
from tlearn.web.components.job_list import state_words
from tlearn.web.components.run_details import one_run
from tlearn.web.components.run_pair import side_by_side
from tlearn.web.components.session import (
    attempt,
    open_page,
    pages_of,
    recall,
    remember,
    showing_errors,
    workspace,
)
from tlearn.web.words import duration, escape_markdown, preset_name, t

ORDERS: tuple[Order, ...] = ("newest", "accuracy", "name", "seconds")
PER_PAGE = 10
COMPARED = "compare"  # in the address: the runs that are ticked, two at most


def show() -> None:
    """Show the list of runs; below it the run that is open, or two side by side."""
    st.title(t("results.title"), anchor=False)
    store = workspace().run_store
    names = [run.name for run in store.runs()]
    if not names:
        st.info(t("results.empty"))
        if st.button(t("results.go_train"), type="primary", icon=":material/model_training:"):
            open_page("train")
        _undo()
        return
    with st.container(horizontal=True, vertical_alignment="bottom"):
        words = st.text_input(t("results.filter"), placeholder=t("results.filter_hint"), width=320)
        order = st.selectbox(
            t("results.order"), ORDERS, format_func=lambda name: t(f"results.by_{name}"), width=220
        )
        _undo()
    runs = store.runs(words, order)
    if not runs:
        st.info(t("results.no_match"))
        return
    asked = st.query_params.get("run")
    if asked is not None and asked not in names:
        st.warning(t("common.not_there", name=escape_markdown(asked)))
    chosen, ticked = _current_run(runs), _current_ticks(runs)
    _table(runs, chosen, ticked)
    with showing_errors():
        if len(ticked) == 2:
            side_by_side(*map(store.path_of, ticked))
        else:
            one_run(chosen)


def _current_run(runs: Sequence[RunSummary]) -> RunSummary:
    """Return the run in the address, that of another page, or else the first that has a model."""
    by_name = {run.name: run for run in runs}
    asked = st.query_params.get("run", "")
    name = asked if asked in by_name else recall("run", list(by_name))
    return by_name[name] if name else next((run for run in runs if run.usable), runs[0])


def _current_ticks(runs: Sequence[RunSummary]) -> list[str]:
    usable = {run.name for run in runs if run.usable}
    return [name for name in st.query_params.get_all(COMPARED) if name in usable][-2:]


def _choose(name: str) -> None:
    st.query_params.pop(COMPARED, None)
    remember("run", name)


def _tick(name: str, ticked: Sequence[str], shown: Sequence[str]) -> None:
    """Tick a run, in place of the first of two, or take its tick away.

    Of the runs shown, one may have been ticked after the page was: its tick counts, too.
    """
    late = [other for other in shown if st.session_state[f"tick.{other}"] and other not in ticked]
    others = [other for other in (*ticked, *late) if other != name]
    st.query_params[COMPARED] = others if name in ticked else [*others[-1:], name]


def _table(runs: Sequence[RunSummary], chosen: RunSummary, ticked: Sequence[str]) -> None:
    """Show the runs, a line each: its name chooses it, a tick compares it."""
    if sum(run.usable for run in runs) > 1:
        st.caption(t("results.tick_hint"))
    shown = [runs[k] for k in pages_of("results.page", len(runs), PER_PAGE)]
    for run in shown:
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            tick = f"tick.{run.name}"
            st.session_state[tick] = run.name in ticked
            st.checkbox(
                t("results.compare", name=escape_markdown(run.name)),
                key=tick,
                label_visibility="collapsed",
                disabled=not run.usable,
                on_change=_tick,
                args=(run.name, ticked, [other.name for other in shown]),
                width=24,
            )
            st.button(
                escape_markdown(run.name),
                f"run.{run.name}",
                on_click=_choose,
                args=(run.name,),
                type="primary" if run == chosen and len(ticked) < 2 else "secondary",
                width=165,
            )
            for text, width in _cells(run):
                st.markdown(text, width=width)


def _cells(run: RunSummary) -> list[tuple[str, int]]:
    """Return what stands in the line of a run, and the widths in pixels."""
    accuracy = state_words(run)
    if run.accuracy is not None:
        right = t("results.right", right=round(run.accuracy * run.images), all=run.images)
        accuracy = right if run.images < FEW else f"{run.accuracy:.1%}"
    data = escape_markdown(Path(run.data).name)
    facts = [
        run.backbone,
        preset_name(run.preset),
        *([duration(run.seconds)] if run.seconds else []),
    ]
    facts.append(time.strftime("%Y-%m-%d %H:%M", time.localtime(run.created)))
    return [
        (f"**{accuracy}**", 130),
        (f"{data} :gray[:small[· {escape_markdown(' · '.join(facts))}]]", 415),
        *([(escape_markdown(run.note), 200)] if run.note else []),
    ]


def _undo() -> None:
    deleted = workspace().run_store.trash()
    if deleted:
        st.button(
            t("results.undo", name=escape_markdown(deleted[0])),
            f"restore.{deleted[0]}",
            on_click=attempt,
            args=(_restore, deleted[0]),
            icon=":material/undo:",
        )


def _restore(name: str) -> None:
    remember("run", workspace().run_store.restore(name).name)
