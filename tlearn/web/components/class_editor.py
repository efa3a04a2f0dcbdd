"""The classes of a data set: all of them, and one of them."""

from collections import defaultdict
from collections.abc import Callable
from typing import Any

import streamlit as st

from tlearn.data.doctor import Doctor
from tlearn.data.scan import ImageFile, Manifest
from tlearn.text import natural_key
from tlearn.web.components.gallery import Picture, gallery, strip
from tlearn.web.components.scans import look_again
from tlearn.web.components.session import pages_of, plain, problems, workspace
from tlearn.web.components.upload import to_class
from tlearn.web.i18n import Texts

PER_PAGE = 12
STRIP = 6
LONGEST = 48  # characters of a class's name in the list


def classes(t: Texts, data: str, manifest: Manifest) -> None:
    """Show the classes with a few photos each, or the one that was opened."""
    by_label: dict[str, list[ImageFile]] = defaultdict(list)
    for file in manifest.files:
        by_label[file.label].append(file)
    opened = st.query_params.get("class")
    if opened in by_label:
        _one(t, data, opened, by_label)
        return
    labels = list(manifest.labels)
    words = st.text_input(t("data.find_class")) if len(labels) > PER_PAGE else ""
    labels = [label for label in labels if words.casefold() in label.casefold()]
    for i in pages_of(t, "classes.page", len(labels), PER_PAGE):
        label = labels[i]
        files = by_label[label]
        with st.container(border=True, horizontal=True, vertical_alignment="center"):
            with st.container(width=200, gap=None):
                st.markdown(f"**{plain(shortened(label))}**")
                st.caption(t("data.photos", count=len(files)))
            strip([file.path for file in files[:STRIP]])
            if st.button(t("data.open"), key=f"open.{label}", help=label):
                st.query_params["class"] = label
                st.rerun()


def _one(t: Texts, data: str, label: str, by_label: dict[str, list[ImageFile]]) -> None:
    """Show one class: its photos, and what can be done with them."""
    others = [other for other in sorted(by_label, key=natural_key) if other != label]
    doctor = Doctor(workspace().data_set(data))
    with st.container(horizontal=True, vertical_alignment="bottom"):
        if st.button(t("data.all_classes"), icon=":material/arrow_back:"):
            del st.query_params["class"]
            st.rerun()
        st.subheader(plain(label), anchor=False)
    with st.container(horizontal=True):
        with st.popover(t("data.add_photos"), icon=":material/add_a_photo:"):
            to_class(t, data, label)
        with st.popover(t("data.rename"), icon=":material/edit:"):
            new = st.text_input(t("data.new_name"), label, key=f"rename.{label}", max_chars=100)
            if st.button(t("data.rename"), type="primary", disabled=new.strip() == label):
                act(t, data, lambda: doctor.rename(label, new.strip()), opened=new.strip())
        with st.popover(t("data.merge"), icon=":material/merge:", disabled=not others):
            into = st.selectbox(t("data.merge_into"), others, key=f"merge.{label}")
            if st.button(t("data.merge"), type="primary") and into:
                act(t, data, lambda: doctor.merge([label], into), opened=into)
    pictures = [Picture(f.path, f.name) for f in by_label[label]]
    bar = st.container(horizontal=True, vertical_alignment="bottom")
    chosen = gallery(t, pictures, f"gallery.{data}.{label}", choosing=True)
    with bar:
        target = st.selectbox(
            t("data.move_to"),
            others,
            index=None,
            accept_new_options=True,
            width=240,
            placeholder=t("data.move_hint"),
        )
        if (
            st.button(
                _counted(t, "move", len(chosen)),
                disabled=not (chosen and target),
                icon=":material/drive_file_move:",
            )
            and target
        ):
            act(t, data, lambda: doctor.move(chosen, target))
        if st.button(
            _counted(t, "quarantine", len(chosen)),
            disabled=not chosen,
            icon=":material/block:",
            help=t("data.quarantine_hint"),
        ):
            act(t, data, lambda: doctor.quarantine(chosen))


def _counted(t: Texts, what: str, count: int) -> str:
    return t(f"data.{what}", count=count) if count else t(f"data.{what}_none")


def shortened(name: str) -> str:
    """Return a long name with an ellipsis in place of its end."""
    return name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}…"


def act(t: Texts, data: str, do: Callable[[], Any], opened: str | None = None) -> None:
    """Do something with the data, then look at it again."""
    with problems():
        do()
        st.session_state["data.said"] = ("success", t("data.done"), [])
        if opened is not None:
            st.query_params["class"] = opened
        look_again(data)
        st.rerun()
