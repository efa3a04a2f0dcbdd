"""Results: all runs by data set, one of them, or two side by side."""

import time
from collections.abc import Sequence
from typing import Literal

import streamlit as st

from tlearn.runs.measurement import FEW, interval
from tlearn.runs.run_store import Order, RunSummary, by_data
from tlearn.text import percent, shortened
from tlearn.web.components.job_list import state_words
from tlearn.web.components.run_details import one_run
from tlearn.web.components.run_pair import side_by_side
from tlearn.web.components.session import (
    attempt,
    page_button,
    pages_of,
    recall,
    remember,
    showing_errors,
    workspace,
)
from tlearn.web.words import duration, escape_markdown, preset_name, t

ORDERS: tuple[Order, ...] = ("newest", "accuracy", "name", "seconds")
PER_PAGE = 10
LONG, NOTE = 28, 60  # characters of a name and of a note that are shown
BESIDE = 480  # pixels beside the name of a run; less where there is no room
MANY = 12  # lines of the list from which it scrolls
HEIGHT = 460  # pixels of it then
COMPARED = "compare"  # in the address: the run that the open one is compared with


def show() -> None:
    """Show the runs; below them the one that is open, alone or beside another."""
    st.title(t("results.title"), anchor=False)
    store = workspace().run_store
    names = [run.name for run in store.runs()]
    if not names:
        st.info(t("results.empty"))
        page_button("train", t("results.go_train"), primary=True)
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
    chosen = _current_run(runs)
    _table(runs, chosen)
    st.divider()
    other = _header(chosen, store.runs())
    with showing_errors():
        if other is None:
            one_run(chosen)
        else:
            side_by_side(chosen.path, store.path_of(other))


def _current_run(runs: Sequence[RunSummary]) -> RunSummary:
    """Return the run in the address, that of another page, or else the first that has a model."""
    by_name = {run.name: run for run in runs}
    asked = st.query_params.get("run", "")
    name = asked if asked in by_name else recall("run", list(by_name))
    return by_name[name] if name else next((run for run in runs if run.usable), runs[0])


def _choose(name: str) -> None:
    st.query_params.pop(COMPARED, None)
    remember("run", name)


def _table(runs: Sequence[RunSummary], chosen: RunSummary) -> None:
    """Show the runs by data set, a line each: its name opens it."""
    groups = by_data(runs)
    titles = workspace().titles_of(groups)
    ordered = [run for group in groups.values() for run in group]
    shown = [ordered[k] for k in pages_of("results.page", len(ordered), PER_PAGE)]
    lines = len(shown) + len({run.data for run in shown})
    scrolls = lines > MANY
    height: Literal["content"] | int = HEIGHT if scrolls else "content"
    place = st.container(key="runs", height=height, border=scrolls, gap="small")
    for data, group in groups.items():
        here = [run for run in group if run in shown]
        if not here:
            continue
        count = t("results.runs", count=len(group))
        place.markdown(f"**{escape_markdown(titles[data])}** :gray[:small[· {count}]]")
        for run in here:
            with place.container(horizontal=True, vertical_alignment="center", gap="small"):
                st.button(
                    escape_markdown(shortened(run.name, LONG)),
                    f"run.{run.name}",
                    on_click=_choose,
                    args=(run.name,),
                    type="primary" if run == chosen else "secondary",
                    width=220,
                    help=escape_markdown(run.name) if len(run.name) > LONG else None,
                )
                st.markdown(_facts(run), width=BESIDE)


def _header(chosen: RunSummary, runs: Sequence[RunSummary]) -> str | None:
    """Show the name of the open run; return which other it is to be compared with, if any."""
    usable = [run for run in runs if run.usable and run.name != chosen.name]
    same = [run.name for run in usable if run.data == chosen.data]
    others = same + [run.name for run in usable if run.name not in same]
    with st.container(horizontal=True, vertical_alignment="bottom"):
        st.subheader(escape_markdown(chosen.name), anchor=False, width="stretch")
        if not (chosen.usable and others):
            return None
        asked, key = st.query_params.get(COMPARED), f"compare.{chosen.name}"
        if asked in others:
            st.session_state[key] = asked
        return st.selectbox(
            t("results.compare"),
            others,
            index=None,
            key=key,
            placeholder=t("results.no_other"),
            on_change=lambda: _compare(st.session_state[key]),
            width=280,
        )


def _compare(name: str | None) -> None:
    if name is None:
        st.query_params.pop(COMPARED, None)
    else:
        st.query_params[COMPARED] = name


def _facts(run: RunSummary) -> str:
    """Return what stands beside the name of a run."""
    result = f"**{state_words(run)}**"
    if run.accuracy is not None:
        low, high = map(percent, interval(run.accuracy, run.images))
        result = f"**{percent(run.accuracy)}** :gray[{t('common.between', low=low, high=high)}]"
        if run.images < FEW:
            right = t("results.right", right=round(run.accuracy * run.images), all=run.images)
            result = f"**{right}**"
    facts = [
        run.backbone,
        preset_name(run.preset),
        *([duration(run.seconds)] if run.seconds else []),
        time.strftime("%Y-%m-%d %H:%M", time.localtime(run.created)),
    ]
    note = f" · {escape_markdown(shortened(run.note, NOTE))}" if run.note else ""
    return f"{result} :gray[:small[· {escape_markdown(' · '.join(facts))}{note}]]"


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
