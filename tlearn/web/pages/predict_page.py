"""Predict: photos in, classes out; and what was wrong goes back to the data."""

import secrets
from pathlib import Path

import streamlit as st

from tlearn.data.folders import walk
from tlearn.data.problems import Problem
from tlearn.data.uploads import Upload
from tlearn.progress import Progress
from tlearn.runs.predictions import Prediction
from tlearn.runs.run_store import RunSummary
from tlearn.web import background
from tlearn.web.components.prediction_list import show_predictions
from tlearn.web.components.scans import wait_for
from tlearn.web.components.session import choose, plain, problems, texts, workspace
from tlearn.web.components.upload import show_left_out
from tlearn.web.components.uploader import uploader
from tlearn.web.i18n import Texts
from tlearn.web.prediction_process import predict

ASKED = "predict.asked"  # where a session keeps the photos and the run it asked, and the task


def show() -> None:
    """Show the page."""
    t = texts()
    st.title(t("predict.title"), anchor=False)
    library = workspace().library
    usable = {run.name: run for run in library.runs() if run.usable}
    if not usable:
        st.info(t("predict.empty"))
        return
    names = list(usable)
    name = choose(t("results.run"), "run", names, t("results.choose"), first=names[0])
    if name is None:
        return
    with problems():
        _photos(t, library.path_of(name))
        _predictions(t, usable[name])


def _photos(t: Texts, run: Path) -> None:
    """Show the ways that photos come in."""
    scratch = workspace().scratch
    way = st.segmented_control(
        t("predict.source"),
        ("files", "camera"),
        default="files",
        label_visibility="collapsed",
        format_func=lambda name: t(f"predict.{name}"),
    )
    if way == "camera":
        taken = st.camera_input(t("predict.camera_hint"))
        if taken is not None and st.session_state.get("predict.taken") != taken.file_id:
            st.session_state["predict.taken"] = taken.file_id
            folder = scratch / secrets.token_hex(8)
            folder.mkdir(parents=True)
            (folder / "camera.jpg").write_bytes(taken.getvalue())
            _begin(run, folder, None)
        return
    upload = uploader(t, scratch, "predict", "any")
    if upload is not None:
        _begin(run, scratch / upload.token, upload)


def _begin(run: Path, folder: Path, upload: Upload | None) -> None:
    """Begin to predict what came."""

    def do(progress: Progress) -> tuple[list[Prediction], list[Problem]]:
        left_out: list[Problem] = []
        if upload is not None:
            try:
                upload.unpack(progress)
                upload.place(folder)
                left_out = upload.report
            finally:
                upload.cancel()
        return predict(run, folder, sum(1 for _ in walk(folder)), progress), left_out

    before, *_ = st.session_state.get(ASKED, (folder,))
    if before != folder:
        workspace().remove_scratch(before)
    task = background.start(f"predict {folder.name} {run.name}", do)
    st.session_state[ASKED] = (folder, run, task)
    st.rerun()


def _predictions(t: Texts, run: RunSummary) -> None:
    """Show what the model says; ask again where another run was chosen."""
    if ASKED not in st.session_state:
        return
    folder, asked, done = st.session_state[ASKED]
    if asked != run.path and folder.is_dir():
        _begin(run.path, folder, None)
    if not wait_for(t, done, t("predict.predicting")):
        return
    if done.problem:
        st.error(plain(t.message(done.problem)))
        return
    predictions, left_out = done.result
    show_left_out(t, left_out)
    show_predictions(t, run, folder, predictions)
