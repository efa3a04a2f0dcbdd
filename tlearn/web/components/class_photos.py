"""Photos for a class: dropped, chosen, or taken with the camera."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import streamlit as st

from tlearn.data.problems import Problem
from tlearn.data.uploads import Upload
from tlearn.progress import Progress
from tlearn.web import background, data_process
from tlearn.web.components.scans import look_again, offer_again, wait_for
from tlearn.web.components.session import showing_errors, workspace
from tlearn.web.components.upload import show_left_out
from tlearn.web.components.uploader import camera, uploader
from tlearn.web.data_work import add_photos
from tlearn.web.words import escape_markdown, message, t

OPEN = "adding.class"  # where a session keeps the data set and class that photos are added to
TASKS = "adding.tasks"  # and what is being added, each with its data set and class
SENDING = "adding.sending"  # and those for which a dialog was opened: photos may still come
NOTHING: tuple[str, int, str, list[Problem]] = ("", 0, "", [])  # what was added to which class


def add_button(data: str, label: str, primary: bool = False) -> None:
    """Show the button that opens the dialog for photos of a class."""
    state = st.session_state
    st.button(
        t("data.add_photos"),
        key=f"add.{label}",
        icon=":material/add_a_photo:",
        type="primary" if primary else "secondary",
        on_click=lambda: state.update({OPEN: (data, label), "adding.added": NOTHING}),
    )


def add_dialog(data: str) -> None:
    """Show the dialog for photos of a class, if it was opened; it stays open for more."""
    state = st.session_state
    of, label = state.get(OPEN, ("", ""))
    sending: set[tuple[str, str]] = state.get(SENDING, set())
    with st.container(gap=None):
        for one, its in sorted(sending - {(of, label)}):  # the dialogs that were closed
            _receive(one, its, quiet=True)
    if of == data:
        title = t("data.photos_of", label=escape_markdown(label))
        st.dialog(title, width="medium", on_dismiss=lambda: state.pop(OPEN, None))(_fields)(
            data, label
        )
    else:
        _adding(in_dialog=False)


def _fields(data: str, label: str) -> None:
    """Show the camera and the field for files; add what comes from either."""
    state = st.session_state
    state.setdefault(SENDING, set()).add((data, label))
    _receive(data, label)
    if _adding():
        return
    to, count, problem, left_out = state.get("adding.added", NOTHING)
    if problem:
        st.error(escape_markdown(message(problem)))
    elif count:
        st.success(t("data.added", label=escape_markdown(to), count=count))
    show_left_out(left_out)


def _receive(data: str, label: str, quiet: bool = False) -> None:
    """Show the fields for photos of a class, or how far they are alone; add what has come."""
    root, key = workspace().data, f"class.{data}.{label}"
    taken = camera(root, f"{key}.camera", quiet=quiet)
    title = t("data.photos_of", label=label) if quiet else ""
    sent = uploader(root, key, kind="flat", quiet=title)
    if uploads := [upload for upload in (taken, sent) if upload is not None]:
        st.session_state.setdefault(TASKS, []).append(_begin(data, label, uploads))


def _adding(in_dialog: bool = True) -> bool:
    """Show how far photos are that are being added, to whichever class; tell whether any are."""
    state = st.session_state
    tasks: list[_Adding] = state.get(TASKS, [])
    if not tasks:
        return False
    data, label, uploads, task = tasks[0]
    if not wait_for(task, t("data.placing")):
        return True
    if task.problem == data_process.ENDED:
        choice = offer_again(task.problem)
        if choice is None:
            return True
        if choice == "again":
            tasks[0] = _begin(data, label, uploads)
            st.rerun()
        for upload in uploads:
            upload.cancel()
    del tasks[0]
    if task.problem:
        state["adding.added"] = (label, 0, task.problem, [])
        said = ("error", message(task.problem))
    else:
        count, left_out = task.result
        last, before, *_ = state.get("adding.added", NOTHING)
        state["adding.added"] = (label, count + before * (last == label), "", left_out)
        said = ("success", t("data.added", label=escape_markdown(label), count=count))
    if not in_dialog:
        state["data.message"] = said
    with showing_errors():  # it may have been deleted meanwhile
        look_again(data)
    st.rerun()


class _Adding(NamedTuple):
    """Uploads that are added to a class."""

    data: str
    label: str
    uploads: Sequence[Upload]
    task: background.BackgroundTask


def _begin(data: str, label: str, uploads: Sequence[Upload]) -> _Adding:
    here = workspace()

    def add(progress: Progress) -> tuple[int, list[Problem]]:
        count, problems = 0, list[Problem]()
        for upload in filter(lambda upload: upload.is_open, uploads):
            try:
                upload.unpack(progress)
                photos: list[tuple[str, Path | bytes]] = [(p.name, p) for p in upload.images()]
                report = upload.report
                more = data_process.run(
                    progress, add_photos, here.data_set(data), label, photos, report
                )
                count, problems = count + more[0], problems + more[1]
            except BaseException as error:
                if str(error) != data_process.ENDED:  # else it can be done again
                    upload.cancel()
                raise
            upload.cancel()
        return count, problems

    return _Adding(data, label, uploads, background.start(add))
