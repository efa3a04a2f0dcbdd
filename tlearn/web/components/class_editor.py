"""The classes of a data set: all of them, and one of them."""

from collections import defaultdict

import streamlit as st

from tlearn.data import editing
from tlearn.data.data_source import ImageFile
from tlearn.data.scan import Manifest
from tlearn.data.thumbnails import thumbnail_row
from tlearn.text import natural_key
from tlearn.web.components.gallery import Picture
from tlearn.web.components.photo_editor import edit, photo_editor
from tlearn.web.components.session import pages_of, workspace
from tlearn.web.components.upload import add_to_class, camera
from tlearn.web.words import escape_markdown, t

PER_PAGE = 12
STRIP = 6
LONGEST = 48  # characters of a class's name in the list


def classes(data: str, manifest: Manifest) -> None:
    """Show the classes with a few photos each, or the one that was opened."""
    by_label: dict[str, list[ImageFile]] = defaultdict(list)
    for file in manifest.files:
        by_label[file.label].append(file)
    opened = st.query_params.get("class")
    if opened in by_label:
        _one(data, opened, by_label)
        return
    labels = list(manifest.labels)
    words = st.text_input(t("data.find_class")) if len(labels) > PER_PAGE else ""
    labels = [label for label in labels if words.casefold() in label.casefold()]
    for i in pages_of("classes.page", len(labels), PER_PAGE):
        label = labels[i]
        files = by_label[label]
        with st.container(border=True, horizontal=True, vertical_alignment="center"):
            with st.container(width=160, gap=None):
                st.markdown(f"**{escape_markdown(shorten(label))}**")
                st.caption(t("data.photos", count=len(files)))
            # As one picture, which shrinks where there is no room.
            st.image(thumbnail_row([file.path for file in files[:STRIP]]), width="content")
            if st.button(t("data.open"), key=f"open.{label}", help=label):
                st.query_params["class"] = label
                st.rerun()


def _one(data: str, label: str, by_label: dict[str, list[ImageFile]]) -> None:
    """Show one class: its photos, and what can be done with them."""
    others = [other for other in sorted(by_label, key=natural_key) if other != label]
    root = workspace().data_set(data)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        if st.button(t("data.all_classes"), icon=":material/arrow_back:"):
            del st.query_params["class"]
            st.rerun()
        st.subheader(escape_markdown(label), anchor=False)
    with st.container(horizontal=True):
        with st.popover(t("data.add_photos"), icon=":material/add_a_photo:"):
            add_to_class(data, label)
        camera(data, label)
        with st.popover(t("data.rename"), icon=":material/edit:"):
            new = st.text_input(t("data.new_name"), label, key=f"rename.{label}", max_chars=100)
            new = new.strip()
            if st.button(t("data.rename"), type="primary", disabled=new == label):
                edit(data, lambda: editing.rename(root, label, new), opened=new)
        # By its class: it would stay open for the class merged into, whose turn is next.
        with st.popover(
            t("data.merge"), icon=":material/merge:", disabled=not others, key=f"merging.{label}"
        ):
            into = st.selectbox(t("data.merge_into"), others, key=f"merge.{label}")
            if st.button(t("data.merge"), type="primary") and into:
                edit(data, lambda: editing.merge(root, [label], into), opened=into)
    pictures = [Picture(file.path, file.name) for file in by_label[label]]
    photo_editor(data, pictures, others, f"gallery.{data}.{label}")


def shorten(name: str) -> str:
    """Return a long name with an ellipsis in place of its end."""
    return name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}…"
