"""How photos come in: uploads, a sample, the camera."""

import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath

import streamlit as st

from tlearn.atomic import atomic_directory
from tlearn.data.archives import archive_stem
from tlearn.data.editing import add_photos
from tlearn.data.filenames import repair_part
from tlearn.data.problems import Problem
from tlearn.data.sample import draw_sample
from tlearn.data.uploads import Upload
from tlearn.errors import DataError
from tlearn.progress import Progress
from tlearn.web import background
from tlearn.web.components.scans import look_again, wait_for
from tlearn.web.components.session import plain, problems, remember, workspace
from tlearn.web.components.uploader import uploader
from tlearn.web.i18n import Texts
from tlearn.web.linked_folders import link_folder, linked_folders, may_link, unlink_folder

PLACING = "adding.placing"  # where a session keeps the task that it waits for


def new_data_set(t: Texts) -> None:
    """Show the ways to a new data set."""
    if PLACING in st.session_state:
        _wait(t)
        return
    here = workspace()
    name = st.text_input(t("data.name"), placeholder=t("data.name_hint"), max_chars=80)
    upload = uploader(t, here.data, "new")
    if upload is not None:
        _place(t, upload, name)
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(t("data.or_sample"))
        if st.button(t("data.sample"), icon=":material/draw:"):
            target = here.new_data_set("sample")
            _begin(str(target), lambda progress: (_sample(target), "", []))
    if may_link():
        _link(t)


def _link(t: Texts) -> None:
    """Show the field for a folder of this machine, and those that are linked."""
    here = workspace()
    with st.form("link", border=False), st.container(horizontal=True, vertical_alignment="bottom"):
        text = st.text_input(
            t("data.folder"), placeholder=t("data.folder_hint"), help=t("data.folder_help")
        )
        pressed = st.form_submit_button(t("data.link"), icon=":material/link:")
    if pressed and text.strip():
        with problems():
            name = link_folder(here.data, text, set(here.data_sets()))
            remember("data", name)
            st.session_state["data.message"] = ("success", t("data.placed", name=name), [])
            st.rerun()
    for name, folder in linked_folders(here.data).items():
        with st.container(horizontal=True, vertical_alignment="center"):
            st.caption(f"{plain(name)}: {plain(str(folder))}")
            if st.button(t("data.unlink"), key=f"unlink.{name}", help=t("data.unlink_hint")):
                with problems():
                    unlink_folder(here.data, name)
                    st.rerun()


def _sample(target: Path) -> Path:
    """Draw the sample set; it is seen when it is there whole."""
    with atomic_directory(target) as folder:
        draw_sample(folder)
    return target


def _place(t: Texts, upload: Upload, name: str) -> None:
    """Begin to unpack what came, and to put it into the data root."""
    names: list[str] = st.session_state.get("new.field", {}).get("done", {}).get("names", [])
    sent = _name_of(names[0]) if names else ""
    given = name.strip() or (repair_part(sent) if sent else t("data.default_name"))
    try:
        target = workspace().new_data_set(given)
    except DataError as error:
        upload.cancel()
        st.error(plain(t.message(str(error))))
        return

    def place(progress: Progress) -> tuple[Path, str, list[Problem]]:
        try:
            upload.unpack(progress)
            classes = len({photo.parent for photo in upload.images()})
            path = upload.place(target)
        finally:
            upload.cancel()
        if not any(entry.is_dir() for entry in path.iterdir()):
            shutil.rmtree(path)
            raise DataError(t("data.loose"))
        text = t("data.received", photos=upload.files, classes=classes)
        if path.name != given:
            text = f"{text} {t('data.name_taken', name=given)}"
        return path, text, upload.report

    _begin(str(target), place)


def _name_of(first: str) -> str:
    """Return what a data set is called after the first file that came: its folder or archive."""
    path = PurePosixPath(first)
    stem = archive_stem(path.name)
    return path.parts[0] if len(path.parts) > 1 else stem if stem != path.name else ""


def _begin(key: str, do: Callable[[Progress], tuple[Path, str, list[Problem]]]) -> None:
    st.session_state[PLACING] = background.start(f"place {key}", do)
    st.rerun()


def _wait(t: Texts) -> None:
    done = st.session_state[PLACING]
    if not wait_for(t, done, t("data.placing")):
        return
    del st.session_state[PLACING]
    if done.problem:
        st.session_state["data.message"] = ("error", t.message(done.problem), [])
    else:
        path, text, left_out = done.result
        remember("data", workspace().name_of(path))
        st.session_state["adding.placed"] = st.session_state.get("adding.placed", 0) + 1
        text = f"{t('data.placed', name=path.name)} {text}"
        st.session_state["data.message"] = ("success", text, left_out)
    st.rerun()


def show_message(t: Texts) -> None:
    """Show what came of the last thing that was done: what went well in passing, the rest stays."""
    state = st.session_state
    kind, text, left_out = state.get("data.message", ("", "", []))
    if kind == "success":
        st.toast(text, icon=":material/check:")
        state["data.message"] = ("left out", "", left_out)
    elif kind == "error":
        st.error(plain(text))
    show_left_out(t, left_out)


def show_left_out(t: Texts, left_out: Sequence[Problem]) -> None:
    """Show which files were left out, if any; open where they were refused and not just odd."""
    if not left_out:
        return
    refused = any(p.kind != "not an image" for p in left_out)
    with st.expander(
        t("data.left_out", count=len(left_out)), expanded=refused, icon=":material/warning:"
    ):
        st.dataframe(
            [{t("data.reason"): t.message(p.reason), t("data.file"): p.name} for p in left_out],
            hide_index=True,
            height=min(300, 38 + 35 * len(left_out)),
        )


def add_to_class(t: Texts, data: str, label: str) -> None:
    """Show the ways to more photos of a class: files and the camera."""
    upload = uploader(t, workspace().data, f"class.{data}.{label}", kind="flat")
    if upload is not None:
        try:
            upload.unpack()
            add(t, data, label, [(path.name, path) for path in upload.images()], upload.report)
        except DataError as error:
            st.session_state["data.message"] = ("error", t.message(str(error)), upload.report)
        finally:
            upload.cancel()
        st.rerun()
    if st.toggle(t("data.camera")):
        taken = st.camera_input(t("data.camera_hint"), key=f"camera.{label}")
        if taken is not None and st.button(t("data.camera_keep"), type="primary"):
            name = time.strftime("camera-%Y%m%d-%H%M%S.jpg")  # the client's may be any path
            with problems():
                add(t, data, label, [(name, taken.getvalue())])
                st.rerun()


def add(
    t: Texts,
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
    st.session_state["data.message"] = ("success", text, [*left_out, *added.left_out])
    look_again(data)
