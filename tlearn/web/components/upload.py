"""How photos come in: uploads, a sample, the camera."""

import os
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath

import streamlit as st

from tlearn.atomic import atomic_directory
from tlearn.data.archives import archive_stem
from tlearn.data.editing import add_photos
from tlearn.data.filenames import repair_part
from tlearn.data.problems import Problem, with_ignored_table
from tlearn.data.read_data import read_source
from tlearn.data.sample import draw_sample
from tlearn.data.uploads import Upload
from tlearn.errors import DataError
from tlearn.progress import Progress
from tlearn.web import background
from tlearn.web.components.scans import look_again, wait_for
from tlearn.web.components.session import attempt, remember, showing_errors, workspace
from tlearn.web.components.uploader import uploader
from tlearn.web.linked_folders import link_folder, linked_folders, may_link, unlink_folder
from tlearn.web.words import escape_markdown, message, t, texts

PLACING = "adding.placing"  # where a session keeps the task that it waits for


def new_data_set() -> None:
    """Show the ways to a new data set."""
    if PLACING in st.session_state:
        _wait()
        return
    here = workspace()
    name = st.text_input(t("data.name"), placeholder=t("data.name_hint"), max_chars=80)
    upload = uploader(here.data, "new")
    if upload is not None:
        _place(upload, name)
    st.caption(t("data.table_hint"))
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(t("data.or_sample"))
        if st.button(t("data.sample"), icon=":material/draw:"):
            target = here.new_data_set("sample")
            _begin(lambda progress: (_sample(target), "", []))
    if may_link():
        _link()


def _link() -> None:
    """Show the field for a data set of this machine, and those that are linked."""
    here = workspace()
    with st.form("link", border=False), st.container(horizontal=True, vertical_alignment="bottom"):
        text = st.text_input(
            t("data.folder"), placeholder=t("data.folder_hint"), help=t("data.folder_help")
        )
        pressed = st.form_submit_button(t("data.link"), icon=":material/link:")
    if pressed and text.strip():
        with showing_errors():
            name = link_folder(here.data, text, set(here.data_sets()))
            _show(name, t("data.placed", name=name), [])
    for name, folder in linked_folders(here.data).items():
        with st.container(horizontal=True, vertical_alignment="center"):
            st.caption(f"{escape_markdown(name)}: {escape_markdown(str(folder))}")
            if st.button(t("data.unlink"), key=f"unlink.{name}", help=t("data.unlink_hint")):
                with showing_errors():
                    unlink_folder(here.data, name)
                    st.rerun()


def _sample(target: Path) -> Path:
    """Draw the sample set; it is seen when it is there whole."""
    with atomic_directory(target) as folder:
        draw_sample(folder)
    return target


def _place(upload: Upload, name: str) -> None:
    """Begin to unpack what came, and to put it into the data root."""
    names: list[str] = st.session_state.get("new.field", {}).get("done", {}).get("names", [])
    sent = _name_of(names[0]) if names else ""
    given = name.strip() or (repair_part(sent) if sent else t("data.default_name"))
    try:
        target = workspace().new_data_set(given)
    except DataError as error:
        upload.cancel()
        st.error(escape_markdown(message(str(error))))
        return

    words = texts()  # the task has no browser whose language could be asked for

    def place(progress: Progress) -> tuple[Path, str, list[Problem]]:
        try:
            upload.unpack(progress)
            path = upload.place(target)
        finally:
            upload.cancel()
        try:
            source = read_source(path)
            if not (source.class_folders or source.tables):
                raise DataError(with_ignored_table(words("data.loose"), source.problems))
        except DataError as error:  # nobody could mend it here
            shutil.rmtree(path)
            text = str(error).replace(f"{path}{os.sep}", "").replace(str(path), path.name)
            raise DataError(text) from None  # with names as they were sent
        labels = [file.label for file in source.files if file.label]
        text = words("data.received", photos=len(labels), classes=len({*labels}))
        if path.name != given:
            text = f"{text} {words('data.name_taken', name=given)}"
        return path, text, upload.report

    _begin(place)


def _name_of(first: str) -> str:
    """Return what a data set is called after the first file that came: its folder or archive."""
    path = PurePosixPath(first)
    stem = archive_stem(path.name)
    return path.parts[0] if len(path.parts) > 1 else stem if stem != path.name else ""


def _begin(do: Callable[[Progress], tuple[Path, str, list[Problem]]]) -> None:
    st.session_state.pop("data.message", None)  # of the upload before
    st.session_state[PLACING] = background.start(do)
    st.rerun()


def _wait() -> None:
    task = st.session_state[PLACING]
    if not wait_for(task, t("data.placing")):
        return
    del st.session_state[PLACING]
    if task.problem:
        text = t("data.not_added", problem=message(task.problem))
        st.session_state["data.message"] = ("error", text, [])
    else:
        path, text, left_out = task.result
        text = f"{t('data.placed', name=path.name)} {text}"
        _show(workspace().name_of(path), text, left_out)
    st.rerun()


def _show(data: str | None, text: str, left_out: list[Problem]) -> None:
    """Show a new data set and what came of it, with the fold closed that it came through."""
    remember("data", data)
    st.session_state["adding.placed"] = st.session_state.get("adding.placed", 0) + 1
    st.session_state["data.message"] = ("success", text, left_out)
    st.rerun()


def show_message() -> None:
    """Show what came of the last thing that was done: what went well in passing, the rest stays."""
    state = st.session_state
    kind, text, left_out = state.get("data.message", ("", "", []))
    if kind == "success":
        st.toast(text, icon=":material/check:")
        state["data.message"] = ("left out", "", left_out)
    elif kind == "error":
        st.error(escape_markdown(text))
    if not left_out:
        return
    with st.container(horizontal=True, vertical_alignment="center"):
        first = escape_markdown(f"{left_out[0].name}: {message(left_out[0].reason)}")
        st.markdown(
            f":material/warning: {t('data.left_out', count=len(left_out))} · {first}",
            width="content",
        )
        st.button(
            t("data.see_left_out"), on_click=st.query_params.update, kwargs={"view": "tab_problems"}
        )
        st.button(
            "",
            key="data.dismiss",
            icon=":material/close:",
            help=t("data.dismiss"),
            type="tertiary",
            on_click=state.pop,
            args=("data.message",),
        )


def left_out_of(data: str) -> list[Problem]:
    """Return what was left out in this session where photos were added to a data set."""
    found: list[Problem] = st.session_state.setdefault("left_out", {}).setdefault(data, [])
    return found


def show_left_out(left_out: Sequence[Problem]) -> None:
    """Show which files were left out, if any."""
    if not left_out:
        return
    with st.expander(t("data.left_out", count=len(left_out)), icon=":material/warning:"):
        st.dataframe(
            [{t("data.reason"): message(p.reason), t("data.file"): p.name} for p in left_out],
            hide_index=True,
            height=min(300, 38 + 35 * len(left_out)),
        )


def add_to_class(data: str, label: str) -> None:
    """Show the field for more photos of a class."""
    upload = uploader(workspace().data, f"class.{data}.{label}", kind="flat")
    if upload is not None:
        try:
            upload.unpack()
            add(data, label, [(path.name, path) for path in upload.images()], upload.report)
        except DataError as error:
            st.session_state["data.message"] = ("error", message(str(error)), upload.report)
        finally:
            upload.cancel()
        st.rerun()


def camera(data: str, label: str) -> None:
    """Show a button that opens the camera: every photo that is taken is added to the class."""
    state = st.session_state
    if st.button(t("data.camera"), icon=":material/photo_camera:"):
        state["camera"] = (label, 0)

    def take(key: str) -> None:
        if state[key] is None:  # cleared, after an error
            return
        name = time.strftime("camera-%Y%m%d-%H%M%S.jpg")  # the client's may be any path
        add(data, label, [(name, state[key].getvalue())])
        state["camera"] = (label, state["camera"][1] + 1)

    def show() -> None:
        taken = state["camera"][1]
        key = f"camera.{taken}"  # another field for each photo, ready to take the next
        st.camera_input(t("data.camera_hint"), key=key, on_change=attempt, args=(take, key))
        if taken:
            st.caption(t("data.camera_taken", count=taken))

    if state.get("camera", ("",))[0] == label:
        title = t("data.camera_title", label=escape_markdown(label))
        st.dialog(title, width="medium", on_dismiss=lambda: state.pop("camera"))(show)()


def add(
    data: str,
    label: str,
    photos: Sequence[tuple[str, Path | bytes]],
    left_out: Sequence[Problem] = (),
) -> None:
    """Add photos to a class, and have the page say what became of each.

    Raises:
        DataError: If no class can be called so.
    """
    added = add_photos(workspace().data_set(data), label, photos)
    text = t("data.added", label=label, count=len(added.new) + len(added.moved))
    problems = [*left_out, *added.left_out]
    st.session_state["data.message"] = ("success", text, problems)
    left_out_of(data).extend(problems)
    look_again(data)
