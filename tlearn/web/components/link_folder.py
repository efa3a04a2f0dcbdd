"""Data sets that stay where they are on this machine: a path, or folders to look through."""

from pathlib import Path

import streamlit as st

from tlearn.data.folders import list_folder
from tlearn.errors import DataError
from tlearn.web.components.session import showing_errors, workspace
from tlearn.web.components.upload import show_new
from tlearn.web.linked_folders import link_folder, linked_folders, unlink_folder
from tlearn.web.words import escape_markdown, t

PLACE = "link.place"  # where a session keeps the folder that it looks into


def link_form() -> None:
    """Show the folders of this machine, a field for a path, and what is linked."""
    st.markdown(t("data.folder_help"))
    _folders()
    with st.form("link", border=False), st.container(horizontal=True, vertical_alignment="bottom"):
        text = st.text_input(t("data.folder"), placeholder=t("data.folder_hint"))
        pressed = st.form_submit_button(t("data.link"), icon=":material/link:")
    if pressed and text.strip():
        _link(text)
    for name, folder in linked_folders(workspace().data).items():
        with st.container(horizontal=True, vertical_alignment="center"):
            st.caption(f"{escape_markdown(name)}: {escape_markdown(str(folder))}")
            if st.button(t("data.unlink"), key=f"unlink.{name}", help=t("data.unlink_hint")):
                with showing_errors():
                    unlink_folder(workspace().data, name)
                    st.rerun()


def _folders() -> None:
    """Show the folder that is looked into: the one above it, those in it, and to use it."""
    state = st.session_state
    place = Path(state.setdefault(PLACE, str(Path.home())))
    try:
        inner = [path.name for path in list_folder(place) if path.is_dir()]
    except DataError:
        inner = []

    def enter() -> None:
        if name := state[f"link.inner.{place}"]:
            state[PLACE] = str(place / name)

    with st.container(horizontal=True, vertical_alignment="bottom"):
        st.button(
            "",
            icon=":material/arrow_upward:",
            key="link.above",
            help=t("data.folder_above"),
            disabled=place == place.parent,
            on_click=state.update,
            args=({PLACE: str(place.parent)},),
        )
        st.selectbox(
            escape_markdown(str(place)),
            inner,
            index=None,
            placeholder=t("data.folder_inner", count=len(inner)),
            key=f"link.inner.{place}",
            on_change=enter,
            disabled=not inner,
        )
        if st.button(t("data.link_this"), icon=":material/link:", key="link.this"):
            _link(str(place))


def _link(text: str) -> None:
    here = workspace()
    with showing_errors():
        name = link_folder(here.data, text, set(here.data_sets()))
        show_new(name, t("data.placed", name=name))
