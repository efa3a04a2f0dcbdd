"""Data: bring photos in, look at them, correct what is wrong."""

import streamlit as st

from tlearn.checks.class_checks import FEW, check_classes
from tlearn.data import editing
from tlearn.data.archive_folder import dismiss_report, open_report
from tlearn.data.edits import Edits, undo_edits
from tlearn.data.problems import FOLDER_KINDS
from tlearn.data.scan import Manifest
from tlearn.text import shortened
from tlearn.web.components.check_view import check_view
from tlearn.web.components.class_editor import UNSORTED, classes
from tlearn.web.components.class_photos import add_dialog
from tlearn.web.components.data_menu import data_menu, show_deleted
from tlearn.web.components.new_data_set import new_data_set
from tlearn.web.components.photo_editor import description, edit, history, show_edited
from tlearn.web.components.scans import look_again, manifest_of, show_counts
from tlearn.web.components.session import (
    attempt,
    choose_data,
    choose_view,
    page_button,
    pages_of,
    showing_errors,
    steps,
    workspace,
)
from tlearn.web.components.split_table import show_split
from tlearn.web.components.upload import PLACING, show_groups, show_message, show_report
from tlearn.web.components.uploader import is_uploading
from tlearn.web.components.welcome import welcome
from tlearn.web.words import escape_markdown, message, t

PER_PAGE = 500  # problems


def show() -> None:
    """Show a data set, its photos and what can be corrected, and where to add others."""
    if not workspace().data_sets():
        welcome()
        new_data_set()
        show_message()
        show_deleted()
        return
    st.title(t("data.title"), anchor=False)
    if not _shows_one_class():
        steps("data")
        _new()
    show_message()
    show_deleted()
    with st.container(horizontal=True, vertical_alignment="bottom"):
        data = choose_data()
        if data is not None:
            data_menu(data)
    if data is None:
        return
    add_dialog(data)
    with showing_errors():
        manifest = manifest_of(data, without_photos=True)
        _header(data, manifest)
        show_report(data)
        if manifest is not None:
            _tabs(data, manifest)


def _view() -> str:
    return st.query_params.get("view", "tab_classes")


def _shows_one_class() -> bool:
    """Tell whether the page is about the photos of one class, for which it makes room."""
    return "class" in st.query_params and _view() == "tab_classes"


def _new() -> None:
    """Show what a new data set can come from, in a fold that closes when one was made."""
    placed = st.session_state.get("adding.placed", 0)  # an expander of its own for each: closed
    with st.expander(
        t("data.new"),
        expanded=PLACING in st.session_state or is_uploading("new"),
        icon=":material/add_box:",
        key=f"new.{placed}",
    ):
        new_data_set()


def _header(data: str, manifest: Manifest | None) -> None:
    """Show the counts, the undo, what is too little to learn from, and the way on."""
    root = workspace().data_set(data)
    actions = list(Edits.of(root).actions())
    warnings = _too_little(manifest) if manifest is not None else []
    with st.container(horizontal=True, vertical_alignment="center"):
        if manifest is not None:
            show_counts(manifest)
        if actions and st.button(
            t("data.undo", what=escape_markdown(shortened(description(actions[-1])))),
            key=f"undo.{actions[-1][0].time}",  # else one pressed late would undo another change
            icon=":material/undo:",
            help=t("data.undo_hint"),
        ):
            with showing_errors():
                undo_edits(root, time=actions[-1][0].time)
                show_edited(data)
        if st.button("", key="look", icon=":material/refresh:", help=t("data.look_again")):
            look_again(data)
            st.rerun()
        if manifest is not None:
            page_button("train", t("data.go_train"), primary=not warnings, data=data)
    if manifest is not None and _view() == "tab_classes" and not _shows_one_class():
        for warning in warnings:
            st.warning(warning)
        _show_unsorted(manifest)


def _too_little(manifest: Manifest) -> list[str]:
    """Say why nothing, or nothing reliable, can be learned from a data set."""
    if len({*manifest.labels, *manifest.empty}) < 2:
        return [t("data.one_class")]
    findings = [f for f in check_classes(manifest.files) if f.check == "small class"]
    small = [*manifest.empty, *(finding.names[0].removesuffix("/") for finding in findings)]
    if not small:
        return []
    names = ", ".join(escape_markdown(shortened(label)) for label in small[:5])
    names += " …" if len(small) > 5 else ""
    return [t("data.small_classes", count=len(small), few=FEW, names=names)]


def _show_unsorted(manifest: Manifest) -> None:
    """Say how many photos are outside any class folder, and offer to sort them."""
    count = sum(problem.kind == "no class" for problem in manifest.problems)
    if count:
        with st.container(horizontal=True, vertical_alignment="center"):
            st.markdown(
                f":material/warning: {t('data.outside_classes', count=f'{count:,}')}",
                width="content",
            )
            st.button(
                t("data.sort_them"),
                on_click=st.query_params.update,
                kwargs={"class": UNSORTED, "view": "tab_classes"},
            )


def _tabs(data: str, manifest: Manifest) -> None:
    views = {
        "tab_classes": lambda: classes(data, manifest),
        "tab_check": lambda: check_view(data, manifest),
        "tab_problems": lambda: _problems(data, manifest),
        "tab_split": lambda: show_split(manifest),
        "tab_history": lambda: history(data, manifest.labels),
    }
    views[choose_view("data", list(views))]()


def _problems(data: str, manifest: Manifest) -> None:
    """Show what is wrong with which file, and exclude what is chosen."""
    root = workspace().data_set(data)
    left_out = open_report(root)
    if left_out:
        st.markdown(f"**{t('data.left_out', count=len(left_out))}**")
        show_groups(left_out)
        st.button(t("data.dismiss_all"), on_click=attempt, args=(dismiss_report, root))
    said = set(left_out)
    problems = [problem for problem in manifest.problems if problem not in said]
    if not problems:
        if not left_out:
            st.success(t("data.no_problems"))
        return
    st.markdown(t("data.problems_hint"))
    shown = [problems[i] for i in pages_of(f"bad.{data}.page", len(problems), PER_PAGE)]
    rows = [
        {
            t("data.file"): p.name,
            t("data.kind"): t(f"problem.{p.kind.replace(' ', '_')}"),
            t("data.reason"): message(p.reason),
        }
        for p in shown
    ]
    key = f"bad.{data}.{hash(tuple(shown))}"  # rows are selected by their number
    event = st.dataframe(
        rows, hide_index=True, on_select="rerun", selection_mode="multi-row", key=key
    )
    chosen = [shown[i] for i in event.selection.rows]
    names = [p.name for p in chosen if p.kind not in (*FOLDER_KINDS, "edit")]
    unreadable = [p.name for p in problems if p.kind in ("unreadable", "not an image")]
    with st.container(horizontal=True):
        if st.button(
            t("data.exclude", count=len(names)) if names else t("data.exclude_none"),
            disabled=not names,
            icon=":material/block:",
            help=t("data.exclude_hint"),
        ):
            edit(data, editing.exclude, names)
        if unreadable and st.button(
            t("data.exclude_all", count=len(unreadable)), help=t("data.exclude_hint")
        ):
            edit(data, editing.exclude, unreadable)
