"""The field that files and folders are dropped on, and the camera that takes photos."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import streamlit as st

from tlearn.data.archives import Limits
from tlearn.data.uploads import Upload
from tlearn.web.transfers import UPLOAD, find_upload, new_upload
from tlearn.web.words import t

LIMITS = Limits()
FOLDER = Path(__file__).parent
WORDS = (
    "hint folder files cancel cancelled reading sending remaining stay received failed too_many "
    "too_large no_server"
).split()
CAMERA_WORDS = "open hold turn close hint taken none denied busy insecure failed".split()


def uploader(
    root: Path, key: str, kind: Literal["set", "any", "flat"] = "set", quiet: str = ""
) -> Upload | None:
    """Show the field; return an upload once all of its files have come.

    Args:
        root: The folder that files go below.
        key: Which of several fields.
        kind: What is meant to come: a data set of class folders, photos in any way, or photos
            without folders.
        quiet: What is shown of the field where nothing but the end of an upload is waited for:
            its progress with these words, as long as it lasts.
    """
    words = {name: t(f"upload.{name}") for name in WORDS}
    if kind != "set":
        words["hint"] = t(f"upload.hint_{kind}")
    limits = {"limit_files": LIMITS.files, "limit_bytes": LIMITS.bytes}
    words["stay"] = quiet or words["stay"]
    about = {"flat": kind == "flat", "quiet": bool(quiet), **limits}
    return _receive("uploader", root, key, words, kind == "set", **about)


def camera(root: Path, key: str, quiet: bool = False) -> Upload | None:
    """Show a camera that takes photos while a button is held; return those of the last time.

    Args:
        root: The folder that photos go below.
        key: Which of several cameras.
        quiet: Whether nothing is shown, and photos that were taken before are waited for alone.
    """
    words = {name: t(f"camera.{name}") for name in CAMERA_WORDS}
    return _receive("camera", root, key, words, quiet=quiet)


def _receive(
    name: str,
    root: Path,
    key: str,
    words: dict[str, str],
    tables: bool = False,
    **data: object,
) -> Upload | None:
    """Show a component that sends files to an upload; return the upload when all have come."""
    state = st.session_state
    upload = find_upload(state.get(f"{key}.token", ""))
    if upload is None:
        upload = new_upload(root, tables=tables)
        state[f"{key}.token"] = upload.token
    url = UPLOAD.format(token=upload.token)
    result = component(name)(
        key=f"{key}.field",
        data={"url": url, "key": key, "words": words, **data},
        on_done_change=lambda: None,
        on_ended_change=lambda: None,
    )
    # What is said of an upload may come twice.
    if result.ended and result.ended["url"] == url:
        state.pop(f"{key}.token", None)
        st.rerun()
    # What the camera says is lost where its dialog is closed in that moment.
    is_done = result.done and result.done["url"] == url
    if not (is_done or upload.complete):
        return None
    state.pop(f"{key}.token", None)
    return upload


def is_uploading(key: str) -> bool:
    """Tell whether files are on their way through a field, or wait for it to be shown again."""
    upload = find_upload(st.session_state.get(f"{key}.token", ""))
    return upload is not None and upload.bytes > 0


def component(name: str) -> Callable[..., Any]:
    """Register a component with this session's server; a registration again changes nothing."""
    files = ("buttons.css", *(f"{name}.{kind}" for kind in ("css", "html", "js")))
    buttons, css, html, js = ((FOLDER / file).read_text("utf-8") for file in files)
    css = f"{buttons}\n{css}"
    return st.components.v2.component(f"tlearn.{name}", html=html, css=css, js=js)
