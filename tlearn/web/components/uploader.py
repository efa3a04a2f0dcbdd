"""The field that files and folders are dropped on."""

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


def uploader(root: Path, key: str, kind: Literal["set", "any", "flat"] = "set") -> Upload | None:
    """Show the field; return an upload once all of its files have come.

    Args:
        root: The folder that files go below.
        key: Which of several fields.
        kind: What is meant to come: a data set of class folders, photos in any way, or photos
            without folders.
    """
    state = st.session_state
    upload = find_upload(state.get(f"{key}.token", ""))
    if upload is None:
        upload = new_upload(root, tables=kind == "set")
        state[f"{key}.token"] = upload.token
    words = {name: t(f"upload.{name}") for name in WORDS}
    if kind != "set":
        words["hint"] = t(f"upload.hint_{kind}")
    result = _component()(
        key=f"{key}.field",
        data={
            "url": UPLOAD.format(token=upload.token),
            "limit_files": LIMITS.files,
            "limit_bytes": LIMITS.bytes,
            "words": words,
            "flat": kind == "flat",
        },
        on_done_change=lambda: None,
        on_ended_change=lambda: None,
    )
    if result.ended:
        state.pop(f"{key}.token", None)
        st.rerun()
    if not result.done:
        return None
    state.pop(f"{key}.token", None)
    return upload


def is_uploading(key: str) -> bool:
    """Tell whether files are on their way through a field, or wait for it to be shown again."""
    upload = find_upload(st.session_state.get(f"{key}.token", ""))
    return upload is not None and upload.bytes > 0


def _component() -> Callable[..., Any]:
    """Register the component with this session's server; a registration again changes nothing."""
    html, css, js = (
        (FOLDER / f"uploader.{kind}").read_text("utf-8") for kind in ("html", "css", "js")
    )
    return st.components.v2.component("tlearn.uploader", html=html, css=css, js=js)
