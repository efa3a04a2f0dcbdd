"""Data: bring photos in, look at them, correct what is wrong."""

import streamlit as st

from tlearn.data import editing
from tlearn.data.archive_folder import read_report
from tlearn.data.edits import Edits, undo_edits
from tlearn.data.problems import FOLDER_KINDS
from tlearn.data.scan import Manifest
from tlearn.web.components.class_editor import classes, shorten
from tlearn.web.components.photo_editor import description, edit, history
from tlearn.web.components.scans import look_again, manifest_of, show_counts
from tlearn.web.components.session import (
    choose_data,
    choose_view,
    open_page,
    showing_errors,
    steps,
    workspace,
)
from tlearn.web.components.split_table import show_split
from tlearn.web.components.upload import PLACING, left_out_of, new_data_set, show_message
from tlearn.web.components.uploader import is_uploading
from tlearn.web.words import escape_markdown, message, t

FEW = 10  # photos of a class, with fewer than which nothing reliable is learned


def show() -> None:
    """Show a data set, its photos and what can be corrected, and where to add others."""
    st.title(t("data.title"), anchor=False)
    steps("data")
    names = workspace().data_sets()
    if not names:
        st.markdown(t("data.empty"))
    placed = st.session_state.get("adding.placed", 0)  # an expander of its own for each: closed
    with st.expander(
        t("data.new"),
        expanded=not names or PLACING in st.session_state or is_uploading("new"),
        icon=":material/upload:",
        key=f"new.{placed}",
    ):
        new_data_set()
    show_message()
    data = choose_data() if names else None
    if data is None:
        return
    with showing_errors():
        manifest = manifest_of(data)
        _header(data, manifest)
        if manifest is not None:
            _tabs(data, manifest)


def _header(data: str, manifest: Manifest | None) -> None:
    """Show the counts, the undo, what is too little to learn from, and the way on."""
    root = workspace().data_set(data)
    actions = list(Edits.of(root).actions())
    warnings = _too_little(manifest) if manifest is not None else []
    with st.container(horizontal=True, vertical_alignment="center"):
        if manifest is not None:
            show_counts(manifest)
        if actions and st.button(
            t("data.undo", what=escape_markdown(shorten(description(actions[-1])))),
            icon=":material/undo:",
            help=t("data.undo_hint"),
        ):
            edit(data, lambda: undo_edits(root, time=actions[-1][0].time))
        if st.button(t("data.look_again"), icon=":material/refresh:"):
            look_again(data)
            st.rerun()
        if manifest is not None and st.button(
            t("data.go_train"),
            type="secondary" if warnings else "primary",
            icon=":material/model_training:",
        ):
            open_page("train")
    for warning in warnings:
        st.warning(warning)


def _too_little(manifest: Manifest) -> list[str]:
    """Say why nothing, or nothing reliable, can be learned from a data set."""
    if len(manifest.labels) < 2:
        return [t("data.one_class")]
    small = [label for label, count in manifest.counts.items() if count < FEW]
    if not small:
        return []
    names = ", ".join(escape_markdown(shorten(label)) for label in small[:5])
    names += " …" if len(small) > 5 else ""
    return [t("data.small_classes", count=len(small), few=FEW, names=names)]


def _tabs(data: str, manifest: Manifest) -> None:
    views = {
        "tab_classes": lambda: classes(data, manifest),
        "tab_problems": lambda: _problems(data, manifest),
        "tab_split": lambda: show_split(manifest),
        "tab_history": lambda: history(data, manifest.labels),
    }
    views[choose_view("data", list(views))]()


def _problems(data: str, manifest: Manifest) -> None:
    """Show what is wrong with which file, and exclude what is chosen."""
    root = workspace().data_set(data)
    problems = [*manifest.problems, *read_report(root), *left_out_of(data)]
    if not problems:
        st.success(t("data.no_problems"))
        return
    rows = [
        {
            t("data.file"): p.name,
            t("data.kind"): t(f"problem.{p.kind.replace(' ', '_')}"),
            t("data.reason"): message(p.reason),
        }
        for p in problems
    ]
    st.markdown(t("data.problems_hint"))
    event = st.dataframe(
        rows, hide_index=True, on_select="rerun", selection_mode="multi-row", key=f"bad.{data}"
    )
    chosen = [manifest.problems[i] for i in event.selection.rows if i < len(manifest.problems)]
    names = [p.name for p in chosen if p.kind not in (*FOLDER_KINDS, "edit")]
    unreadable = [p.name for p in manifest.problems if p.kind in ("unreadable", "not an image")]
    with st.container(horizontal=True):
        if st.button(
            t("data.exclude", count=len(names)) if names else t("data.exclude_none"),
            disabled=not names,
            icon=":material/block:",
            help=t("data.exclude_hint"),
        ):
            edit(data, lambda: editing.exclude(root, names))
        if unreadable and st.button(
            t("data.exclude_all", count=len(unreadable)), help=t("data.exclude_hint")
        ):
            edit(data, lambda: editing.exclude(root, unreadable))
