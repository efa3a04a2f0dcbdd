"""Predict: photos in, classes out; and what was wrong goes back to the data."""

import secrets
import shutil
import time
from dataclasses import dataclass, field
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
from tlearn.web.components.session import choose, open_page, problems, remember, steps, workspace
from tlearn.web.components.upload import show_left_out
from tlearn.web.components.uploader import uploader
from tlearn.web.prediction_process import predict
from tlearn.web.transfers import LIFETIME
from tlearn.web.words import message, plain, t


@dataclass(frozen=True)
class Question:
    """What a run was asked.

    Attributes:
        folder: The photos.
        run: The run directory.
        task: Gives the predictions, and what was left out.
        asked: When, by :func:`time.monotonic`; after a day it and its photos are removed.
    """

    folder: Path
    run: Path
    task: background.BackgroundTask
    asked: float = field(default_factory=time.monotonic)


QUESTIONS: dict[str, Question] = {}  # by the folder's name, which the address holds


def show() -> None:
    """Show the page."""
    st.title(t("predict.title"), anchor=False)
    steps("predict")
    store = workspace().run_store
    usable = {run.name: run for run in store.runs() if run.usable}
    if not usable:
        st.info(t("predict.empty"))
        if st.button(t("results.go_train"), type="primary", icon=":material/model_training:"):
            open_page("train")
        return
    names = list(usable)
    name = choose(t("results.run"), "run", names, t("results.choose"), first=names[0])
    if name is None:
        return
    with problems():
        _photos(store.path_of(name))
        _predictions(usable[name])


def _photos(run: Path) -> None:
    """Show the ways that photos come in."""
    scratch = workspace().scratch
    way = st.segmented_control(
        t("predict.source"),
        ("files", "camera"),
        default="files",
        key="from",
        bind="query-params",
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
    upload = uploader(scratch, "predict", "any")
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

    before, now = _asked(), time.monotonic()
    for old in list(QUESTIONS.values()):
        if old.folder != folder and (old is before or now - old.asked > LIFETIME):
            QUESTIONS.pop(old.folder.name, None)
            shutil.rmtree(old.folder, ignore_errors=True)
    task = background.start(f"predict {folder.name} {run.name}", do)
    QUESTIONS[folder.name] = Question(folder, run, task)
    remember("photos", folder.name)
    st.rerun()


def _asked() -> Question | None:
    """Return what was asked last, also where the page was loaded again since."""
    name = st.session_state.get("chosen.photos") or st.query_params.get("photos", "")
    if name not in QUESTIONS:
        return None
    remember("photos", name)
    return QUESTIONS[name]


def _predictions(run: RunSummary) -> None:
    """Show what the model says; ask again where another run was chosen."""
    asked = _asked()
    if asked is None:
        return
    folder, done = asked.folder, asked.task
    if asked.run != run.path and folder.is_dir():
        _begin(run.path, folder, None)
    if not wait_for(done, t("predict.predicting")):
        return
    if done.problem:
        st.error(plain(message(done.problem)))
        return
    predictions, left_out = done.result
    show_left_out(left_out)
    show_predictions(run, folder, predictions)
