"""What can be done with a data set as a whole: another name, the trash, and back."""

import streamlit as st

from tlearn.text import shortened
from tlearn.web.components.scans import look_again
from tlearn.web.components.session import attempt, remember, workspace
from tlearn.web.data_trash import (
    delete_data_set,
    deleted_data_sets,
    rename_data_set,
    restore_data_set,
)
from tlearn.web.linked_folders import linked_folders
from tlearn.web.words import escape_markdown, t

DELETED = "data.deleted"  # where a session keeps the name of what it deleted last


def data_menu(data: str) -> None:
    """Show the menu of a data set."""
    here, state = workspace(), st.session_state

    name = data.rpartition("/")[2]

    def rename() -> None:
        new = state[f"rename_set.{data}"].strip()
        if new in ("", name):
            return
        renamed = rename_data_set(here, data, new)
        look_again(renamed)  # another may have been at its place
        remember("data", renamed)

    def delete() -> None:
        linked = data in linked_folders(here.data)
        delete_data_set(here, data)
        remember("data", None)
        st.query_params.pop("class", None)
        state[DELETED] = "" if linked else data

    with st.popover("", icon=":material/more_vert:", key=f"data.menu.{data}", help=t("data.menu")):
        with st.form(f"rename_set.form.{data}", border=False):
            st.text_input(t("data.set_name"), name, key=f"rename_set.{data}", max_chars=80)
            st.form_submit_button(
                t("data.rename_set"), icon=":material/edit:", on_click=attempt, args=(rename,)
            )
        linked = data in linked_folders(here.data)
        st.button(
            t("data.unlink") if linked else t("data.delete_set"),
            icon=":material/delete:",
            help=t("data.unlink_hint") if linked else t("data.delete_hint"),
            on_click=attempt,
            args=(delete,),
        )
        for deleted in deleted_data_sets(here)[:5]:
            restore_button(deleted, f"menu.{deleted}")


def show_deleted() -> None:
    """Offer to take back the deletion of this session, or the last one where nothing is left."""
    here = workspace()
    deleted = deleted_data_sets(here)
    last = st.session_state.get(DELETED) or (deleted[0] if not here.data_sets() and deleted else "")
    if last in deleted:
        restore_button(last, "deleted")


def restore_button(name: str, key: str) -> None:
    """Show the button that restores a data set."""

    def restore() -> None:
        restored = restore_data_set(workspace(), name)
        look_again(restored)
        remember("data", restored)
        st.session_state.pop(DELETED, None)

    st.button(
        t("data.restore", name=escape_markdown(shortened(name))),
        key=f"restore.{key}",
        icon=":material/undo:",
        on_click=attempt,
        args=(restore,),
    )
