"""The classes of a data set: all of them, and one of them."""

from pathlib import Path

import streamlit as st

from tlearn.data import editing
from tlearn.data.file_table import FileTable
from tlearn.data.scan import Manifest
from tlearn.data.thumbnails import thumbnail_row
from tlearn.text import natural_key, shortened
from tlearn.web.components.balance_chart import show_balance
from tlearn.web.components.class_photos import add_button
from tlearn.web.components.gallery import Picture
from tlearn.web.components.photo_editor import edit, photo_editor
from tlearn.web.components.ready_photos import ready_photos
from tlearn.web.components.session import pages_of
from tlearn.web.words import escape_markdown, t

PER_PAGE = 12
STRIP, PIXELS = 6, 76
LONG = 28  # characters of a name that is shown
ENOUGH = 3  # photos of a class with fewer of which the button to add some stands out
UNSORTED = "/"  # in place of a class in the address: photos outside any; no class is called so


def classes(data: str, manifest: Manifest) -> None:
    """Show the classes with a few photos each, or the one that was opened."""
    by_label = dict.fromkeys(manifest.empty, manifest.files[:0]) | manifest.files.by_label()
    opened = st.query_params.get("class")
    if opened in by_label:
        _one(data, opened, by_label, manifest.folder)
    elif opened == UNSORTED:
        _unsorted(data, manifest)
    else:
        _all(data, by_label)


def _all(data: str, by_label: dict[str, FileTable]) -> None:
    """List the classes, a page at a time."""
    labels = sorted(by_label, key=natural_key)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        if len(labels) > PER_PAGE:
            words = st.text_input(t("data.find_class"), width=280)
            labels = [label for label in labels if words.casefold() in label.casefold()]
        _new_class(data)
    if len(by_label) > 1 and any(by_label.values()):
        with st.expander(t("data.balance"), icon=":material/bar_chart:"):
            show_balance({label: len(by_label[label]) for label in labels})
    strips = {
        label: [file.path for file in by_label[label][:STRIP]]
        for label in (labels[i] for i in pages_of("classes.page", len(labels), PER_PAGE))
    }
    ready = ready_photos([path for strip in strips.values() for path in strip], PIXELS)
    for label, strip in strips.items():
        files = by_label[label]
        with st.container(border=True, horizontal=True, vertical_alignment="center"):
            with st.container(width=160, gap=None):
                st.markdown(f"**{escape_markdown(shortened(label, LONG))}**")
                st.caption(t("data.photos", count=f"{len(files):,}"))
            if files:  # as one picture, which shrinks where there is no room
                row = [path if path in ready else None for path in strip]
                st.image(thumbnail_row(row, PIXELS), width="content")
                if st.button(t("data.open"), key=f"open.{label}", help=label):
                    st.query_params["class"] = label
                    st.rerun()
            add_button(data, label, primary=len(files) < ENOUGH)
            if not files and st.button(
                "",
                key=f"remove.{label}",
                icon=":material/close:",
                help=t("data.remove_class"),
                type="tertiary",
            ):
                edit(data, editing.remove_class, label, listed=False)


def _new_class(data: str) -> None:
    """Show the button and the field for another class."""
    made = st.session_state.get("new_class.made", 0)  # another one for each: closed and empty

    def close() -> None:
        st.session_state["new_class.made"] = made + 1

    with (
        st.popover(t("data.add_class"), icon=":material/add:", key=f"new_class.{made}"),
        st.form(f"new_class.form.{made}", border=False),
    ):
        name = st.text_input(t("data.class"), key=f"new_class.name.{made}", max_chars=100).strip()
        pressed = st.form_submit_button(t("data.add_class"), type="primary", key="new_class.add")
        if pressed and name:
            edit(data, editing.add_class, name, listed=False, then=close)


def _unsorted(data: str, manifest: Manifest) -> None:
    """Show the photos outside any class folder, to be moved to classes."""
    _heading(t("data.unsorted"))
    names = [p.name for p in manifest.problems if p.kind == "no class"]
    pictures = [Picture(manifest.folder, name) for name in names]
    labels = sorted({*manifest.labels, *manifest.empty}, key=natural_key)
    photo_editor(data, pictures, labels, f"unsorted.{data}")


def _heading(words: str) -> None:
    """Show what was opened, and the way back to all classes."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        if st.button(t("data.all_classes"), icon=":material/arrow_back:"):
            del st.query_params["class"]
            st.rerun()
        st.subheader(escape_markdown(words), anchor=False)


def _one(data: str, label: str, by_label: dict[str, FileTable], folder: Path) -> None:
    """Show one class: its photos, and what can be done with them."""
    others = [other for other in sorted(by_label, key=natural_key) if other != label]
    _heading(label)
    with st.container(horizontal=True):
        add_button(data, label)
        # By their class: they would stay open for the class that is shown next.
        with (
            st.popover(t("data.rename"), icon=":material/edit:", key=f"renaming.{label}"),
            st.form(f"rename.form.{label}", border=False),
        ):
            new = st.text_input(t("data.new_name"), label, key=f"rename.{label}", max_chars=100)
            new = new.strip()
            if st.form_submit_button(t("data.rename"), type="primary") and new != label:
                edit(data, editing.rename, label, new, opened=new)
        with st.popover(
            t("data.merge"), icon=":material/merge:", disabled=not others, key=f"merging.{label}"
        ):
            into = st.selectbox(t("data.merge_into"), others, key=f"merge.{label}")
            if st.button(t("data.merge"), type="primary") and into:
                edit(data, editing.merge, [label], into, opened=into)
    if not by_label[label]:
        st.info(t("data.no_photos"))
        return
    files = sorted(by_label[label], key=lambda file: natural_key(file.name))
    pictures = [Picture(folder, file.name) for file in files]
    photo_editor(data, pictures, others, f"gallery.{data}.{label}")
