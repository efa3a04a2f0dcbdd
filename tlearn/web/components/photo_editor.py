"""Photos that can be selected, moved to another class and excluded; and what was changed."""

from collections.abc import Callable, Sequence

import streamlit as st

from tlearn.data import editing
from tlearn.data.edits import Edit, Edits
from tlearn.progress import Silent
from tlearn.web import data_process, data_work
from tlearn.web.components.gallery import Picture, gallery
from tlearn.web.components.scans import look_after_edit
from tlearn.web.components.session import showing_errors, workspace
from tlearn.web.words import t

SHOWN = 10  # photos of a change that are named


@st.fragment  # a tick shows this part of the page again, and no more
def photo_editor(
    data: str, pictures: Sequence[Picture], labels: Sequence[str], key: str, excluded: bool = False
) -> None:
    """Show photos of a data set to be selected, on many pages, and what can be done with them.

    Args:
        data: The data set.
        pictures: The photos, by their names in the manifest.
        labels: Classes to which they can be moved; others can be typed.
        key: What tells this from others on the page.
        excluded: Whether they are excluded already; moving one includes it again.
    """
    selected: set[str] = st.session_state.setdefault(f"{key}.selected", set())
    selected &= {picture.name for picture in pictures}

    def change(do: Callable[..., object], *values: str) -> None:
        chosen = sorted(selected)
        edit(data, do, chosen, *values, then=selected.clear)

    bar = st.container(horizontal=True, vertical_alignment="bottom")
    gallery(pictures, key, selected)
    count = len(selected)
    with bar:
        st.button(
            t("data.select_all", count=len(pictures)),
            key=f"{key}.all",
            on_click=selected.update,
            args=([picture.name for picture in pictures],),
        )
        st.button(
            t("data.select_none"), key=f"{key}.none", disabled=not count, on_click=selected.clear
        )
        label = st.selectbox(
            t("data.move_to"),
            labels,
            index=None,
            accept_new_options=True,
            width=240,
            placeholder=t("data.move_hint"),
            key=f"{key}.label",
        )
        if st.button(
            t("data.move", count=count) if count else t("data.move_none"),
            key=f"{key}.move",
            disabled=not (count and label),
            icon=":material/drive_file_move:",
        ):
            change(editing.move, str(label))
        if not excluded and st.button(
            t("data.exclude", count=count) if count else t("data.exclude_none"),
            key=f"{key}.exclude",
            disabled=not count,
            icon=":material/block:",
            help=t("data.exclude_hint"),
        ):
            change(editing.exclude)
        if not excluded and st.button(
            t("data.group", count=count) if count > 1 else t("data.group_none"),
            key=f"{key}.group",
            disabled=count < 2,
            icon=":material/link:",
            help=t("data.group_hint"),
        ):
            change(editing.set_group, f"shots like {min(selected)}")


def edit(
    data: str,
    do: Callable[..., object],
    *values: object,
    opened: str | None = None,
    listed: bool = True,
    then: Callable[[], object] = lambda: None,
) -> None:
    """Change a data set in the process for data, then look at it again.

    Args:
        data: The data set.
        do: A function of :mod:`tlearn.data.editing`.
        *values: What follows its first argument.
        opened: The class to show then.
        listed: Whether no file or folder comes or goes.
        then: Called once it is done.
    """
    with showing_errors():
        root = workspace().data_set(data)
        data_process.run(Silent(), data_work.change, root, do, *values)
        then()
        if opened is not None:
            st.query_params["class"] = opened
        show_edited(data, listed)


def show_edited(data: str, listed: bool = True) -> None:
    """Show a data set again that was just edited; see :func:`edit`."""
    st.session_state["data.message"] = ("success", t("data.done"))
    look_after_edit(data, listed)
    st.rerun()


def description(action: Sequence[Edit]) -> str:
    """Say what an action was; several kinds of edits at once by their number alone."""
    first, count = action[0], len(action)
    if len({(edit.action, bool(edit.of_class), edit.value) for edit in action}) > 1:
        return t("data.did_several", count=count)
    if first.of_class and first.action == "class":
        labels = ", ".join(edit.of_class for edit in action)
        return t("data.did_rename", label=labels, to=first.value)
    if first.action == "group":
        return t("data.did_group", count=count, to=first.value)
    if first.action == "class":
        return t("data.did_move", count=count, to=first.value)
    return t("data.did_exclude", count=count)


def history(data: str, labels: Sequence[str]) -> None:
    """List the actions that were not undone, the newest first, and the excluded photos."""
    root = workspace().data_set(data)
    edits = Edits.of(root)
    actions = list(edits.actions())
    if not actions:
        st.info(t("data.no_history"))
        return
    rows = [
        {
            t("data.when"): action[0].local_time,
            t("data.change"): description(action),
            t("data.file"): ", ".join(edit.path for edit in action[:SHOWN] if not edit.of_class),
        }
        for action in reversed(actions)
    ]
    st.dataframe(rows, hide_index=True)
    excluded = [Picture(root, name) for name, to in edits.photo_labels().items() if not to]
    pictures = [picture for picture in excluded if picture.path.is_file()]
    if pictures:
        st.markdown(t("data.excluded", count=len(pictures)))
        photo_editor(data, pictures, labels, f"excluded.{data}", excluded=True)
