"""What a new data set comes from: classes made here, an upload, a folder elsewhere, a sample."""

import streamlit as st

from tlearn.web import data_process
from tlearn.web.components.link_folder import link_form
from tlearn.web.components.session import showing_errors, workspace
from tlearn.web.components.upload import PLACING, make_data_set, place_upload, show_new, wait
from tlearn.web.components.uploader import is_uploading, uploader
from tlearn.web.data_work import make_sample
from tlearn.web.linked_folders import may_link
from tlearn.web.words import t

LEAST, MOST = 2, 40  # fields for classes
ICONS = {
    "from_classes": ":material/add_a_photo:",
    "from_upload": ":material/upload:",
    "from_folder": ":material/folder_open:",
    "from_sample": ":material/auto_awesome:",
}


def new_data_set() -> None:
    """Show what a data set can come from, and the one that was chosen."""
    if PLACING in st.session_state:
        wait()
        return
    sources = [name for name in ICONS if name != "from_folder" or may_link()]
    if is_uploading("new"):
        st.session_state["new.source"] = "from_upload"
    chosen = st.segmented_control(
        t("data.source"),
        sources,
        default=None if "new.source" in st.session_state else sources[0],
        key="new.source",
        required=True,
        label_visibility="collapsed",
        format_func=lambda name: f"{ICONS[name]} {t(f'data.{name}')}",
    )
    {
        "from_classes": _from_classes,
        "from_upload": _from_upload,
        "from_folder": link_form,
        "from_sample": _from_sample,
    }[chosen or sources[0]]()


def _from_classes() -> None:
    """Show fields for the names of a data set and of its classes, one more than are filled in."""
    state = st.session_state
    st.markdown(t("data.from_classes_hint"))
    filled = max((i for i in range(MOST) if state.get(f"new.class.{i}", "").strip()), default=-1)
    with st.container(horizontal=True):
        labels = [
            st.text_input(
                t("data.class_number", n=i + 1),
                placeholder=t(f"data.class_hint_{i}") if i < LEAST else "",
                key=f"new.class.{i}",
                max_chars=100,
                width=168,
            )
            for i in range(min(MOST, max(LEAST, filled + 2)))
        ]
    with st.container(horizontal=True, vertical_alignment="bottom"):
        name = st.text_input(
            t("data.set_name"),
            placeholder=t("data.default_name"),
            key="new.name",
            max_chars=80,
            width=352,
        )
        pressed = st.button(t("data.make_classes"), type="primary", icon=":material/add:")
    if pressed:
        with showing_errors():
            here = workspace()
            given = name.strip() or t("data.default_name")
            path = here.make_data_set(given, [label.strip() for label in labels if label.strip()])
            for i in range(len(labels)):
                del state[f"new.class.{i}"]
            show_new(here.name_of(path), t("data.made", name=path.name))


def _from_upload() -> None:
    """Show the field that a folder or an archive is dropped on."""
    upload = uploader(workspace().data, "new")
    name = st.text_input(t("data.name"), placeholder=t("data.name_hint"), max_chars=80)
    if upload is not None:
        place_upload(upload, name)
    st.caption(t("data.table_hint"))


def _from_sample() -> None:
    """Show what the sample set is, and the button that draws it."""
    st.markdown(t("data.sample_hint"))
    if st.button(t("data.sample"), type="primary", icon=":material/auto_awesome:"):
        target = workspace().new_data_set("sample")
        make_data_set(lambda progress: (data_process.run(progress, make_sample, target), ""))
