"""Predict: photos in, classes out; and what was wrong goes back to the data."""

from pathlib import Path

import streamlit as st

from tlearn.data.uploads import Upload
from tlearn.runs.run_store import RunSummary
from tlearn.web.components.live_camera import live_camera
from tlearn.web.components.prediction_list import show_predictions
from tlearn.web.components.scans import wait_for
from tlearn.web.components.session import (
    choose,
    choose_view,
    page_button,
    remember,
    showing_errors,
    steps,
    workspace,
)
from tlearn.web.components.upload import show_left_out
from tlearn.web.components.uploader import uploader
from tlearn.web.prediction_process import PredictionTask, find_prediction, start_prediction
from tlearn.web.words import escape_markdown, message, t


def show() -> None:
    """Show a run to predict with, where to bring photos, and what it says of them."""
    st.title(t("predict.title"), anchor=False)
    steps("predict")
    usable = {run.name: run for run in workspace().run_store.runs() if run.usable}
    if not usable:
        st.info(t("predict.empty"))
        page_button("train", t("results.go_train"), primary=True)
        return
    names = list(usable)
    with st.container(width=480):
        name = choose(t("results.run"), "run", names, t("results.choose"), first=names[0])
    if name is None:
        return
    with showing_errors():
        _photos(usable[name])
        _predictions(usable[name])


def _photos(run: RunSummary) -> None:
    """Show the ways that photos come in."""
    if choose_view("predict", ("files", "camera")) == "camera":
        kept = live_camera(run)
        if kept is not None:
            _begin(run.path, kept, None)
        return
    scratch = workspace().scratch
    upload = uploader(scratch, "predict", "any")
    if upload is not None:
        _begin(run.path, scratch / upload.token, upload)


def _begin(run: Path, folder: Path, upload: Upload | None) -> None:
    """Begin to predict what came, in place of what this session had predicted before."""
    start_prediction(run, folder, upload, _current(run))
    remember("photos", folder.name)
    st.rerun()


def _current(run: Path) -> PredictionTask | None:
    """Return the prediction begun last, also where the page was loaded again since."""
    name = st.session_state.get("chosen.photos") or st.query_params.get("photos", "")
    found = find_prediction(name, run)
    if found is not None:
        remember("photos", name)
    return found


def _predictions(run: RunSummary) -> None:
    """Show what the model says; predict again where another run was chosen."""
    current = _current(run.path)
    if current is None:
        return
    folder, task = current.folder, current.task
    if current.run != run.path and folder.is_dir():
        _begin(run.path, folder, None)
    if not wait_for(task, t("predict.predicting")):
        return
    if task.problem:
        st.error(escape_markdown(message(task.problem)))
        if folder.is_dir() and st.button(t("common.try_again"), icon=":material/refresh:"):
            _begin(run.path, folder, None)
        return
    show_left_out(task.result[1])
    show_predictions(run, current)
