"""Data: bring photos in, look at them, mend what is wrong."""

import time

import streamlit as st

from tlearn.data.doctor import Doctor
from tlearn.data.scan import Manifest
from tlearn.data.splits import draw_splits
from tlearn.errors import DataError
from tlearn.web.components.class_editor import act, classes
from tlearn.web.components.scans import look_again, manifest_of
from tlearn.web.components.session import choose_data, go, problems, texts, workspace
from tlearn.web.components.upload import new_data_set, said
from tlearn.web.i18n import Texts

SHOWN = 20  # steps of the history


def show() -> None:
    """Show the page."""
    t = texts()
    st.title(t("data.title"), anchor=False)
    names = workspace().data_sets()
    if not names:
        st.markdown(t("data.empty"))
    placed = st.session_state.get("adding.placed", 0)  # an expander of its own for each: closed
    with st.expander(
        t("data.new"),
        expanded=not names or "adding.placing" in st.session_state,
        icon=":material/upload:",
        key=f"new.{placed}",
    ):
        new_data_set(t)
    said(t)
    data = choose_data(t) if names else None
    if data is None:
        if names:
            st.info(t("data.choose"))
        return
    with problems():
        manifest = manifest_of(t, data)
        _header(t, data, manifest)
        if manifest is not None:
            _tabs(t, data, manifest)


def _header(t: Texts, data: str, manifest: Manifest | None) -> None:
    """Show the counts, the undo, and the way on."""
    doctor = Doctor(workspace().data_set(data))
    last = next((action for action in doctor.history() if not action.undone), None)
    with st.container(horizontal=True, vertical_alignment="center"):
        if manifest is not None:
            st.markdown(
                t(
                    "data.counts",
                    photos=f"{len(manifest.files):,}",
                    classes=len(manifest.labels),
                    problems=f"{len(manifest.problems):,}",
                )
            )
        if last is not None and st.button(
            t(f"data.undo_{last.kind}"), icon=":material/undo:", help=t("data.undo_hint")
        ):
            act(t, data, doctor.undo)
        if st.button(t("data.look_again"), icon=":material/refresh:"):
            look_again(data)
            st.rerun()
        if manifest is not None and st.button(
            t("data.go_train"), type="primary", icon=":material/model_training:"
        ):
            go("train")


def _tabs(t: Texts, data: str, manifest: Manifest) -> None:
    names = ("tab_classes", "tab_problems", "tab_split", "tab_history")
    chosen = st.segmented_control(
        t("data.view"),
        names,
        default=names[0],
        key="data.tab",
        label_visibility="collapsed",
        format_func=lambda name: t(f"data.{name}"),
    )
    if chosen == "tab_problems":
        _problems(t, data, manifest)
    elif chosen == "tab_split":
        _split(t, manifest)
    elif chosen == "tab_history":
        _history(t, data)
    else:
        classes(t, data, manifest)


def _problems(t: Texts, data: str, manifest: Manifest) -> None:
    """Show what the scan found wrong, and put away what is chosen."""
    if not manifest.problems:
        st.success(t("data.no_problems"))
        return
    files = [p for p in manifest.problems if p.kind != "empty class"]
    rows = [
        {
            t("data.file"): p.name,
            t("data.kind"): t(f"problem.{p.kind.replace(' ', '_')}"),
            t("data.reason"): p.reason,
        }
        for p in manifest.problems
    ]
    st.markdown(t("data.problems_hint"))
    event = st.dataframe(
        rows, hide_index=True, on_select="rerun", selection_mode="multi-row", key=f"bad.{data}"
    )
    picked = {manifest.problems[i].name for i in event.selection.rows}
    chosen = [p.name for p in files if p.name in picked]
    unreadable = [p.name for p in files if p.kind in ("unreadable", "not an image")]
    doctor = Doctor(workspace().data_set(data))
    with st.container(horizontal=True):
        if st.button(
            t("data.quarantine", count=len(chosen)),
            disabled=not chosen,
            icon=":material/block:",
            help=t("data.quarantine_hint"),
        ):
            act(t, data, lambda: doctor.quarantine(chosen))
        if st.button(
            t("data.quarantine_all", count=len(unreadable)),
            disabled=not unreadable,
            help=t("data.quarantine_hint"),
        ):
            act(t, data, lambda: doctor.quarantine(unreadable))


def _split(t: Texts, manifest: Manifest) -> None:
    """Show which part of each class would be trained on, would choose, and would be held back."""
    st.markdown(t("data.split_hint"))
    with st.container(horizontal=True):
        val = st.slider(t("data.validation"), 5, 50, 20, 5, format="%d %%", width=280)
        test = st.slider(t("data.test"), 0, 40, 0, 5, format="%d %%", width=280)
    try:
        splits, left_out = draw_splits(manifest, val / 100, test / 100, seed=0)
    except DataError as error:
        st.warning(str(error))
        return
    rows = {label: {t("data.class"): label} for label in splits.labels}
    for side, files in splits.items():
        for label in rows:
            rows[label][t(f"data.{side}")] = 0  # type: ignore[assignment]
        for file in files:
            rows[file.label][t(f"data.{side}")] += 1  # type: ignore[operator]
    st.dataframe(list(rows.values()), hide_index=True)
    if left_out:
        st.caption(t("data.split_left_out", count=len(left_out)))


def _history(t: Texts, data: str) -> None:
    """Show what was done with the data, the last first."""
    actions = Doctor(workspace().data_set(data)).history()
    if not actions:
        st.info(t("data.no_history"))
    for action in actions[:SHOWN]:
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(action.time))
        detail = " → ".join(str(value) for value in action.detail.values())
        words = f"{when} · {t(f'data.did_{action.kind}', count=len(action.moves))} {detail}"
        st.text(f"{words} · {t('data.undone')}" if action.undone else words)
