"""Why a model says what it says of photos, on demand: heat maps, and training photos like them."""

from collections.abc import Sequence

import streamlit as st

from tlearn.runs.predictions import Prediction
from tlearn.web.components.gallery import show
from tlearn.web.components.scans import wait_for
from tlearn.web.explanation_process import ShownExplanation
from tlearn.web.prediction_process import PredictionTask
from tlearn.web.words import escape_markdown, message, t

MOST = 6  # photos that are explained at a time
PIXELS = 88  # of a training photo


def explain_button(current: PredictionTask, predictions: Sequence[Prediction]) -> None:
    """Show the button that explains photos, at most :data:`MOST`."""
    photos = [one.path for one in predictions if not one.problem][:MOST]
    missing = [photo for photo in photos if photo not in current.explained]
    if st.button(
        t("predict.why"),
        icon=":material/visibility:",
        help=t("predict.why_hint", most=MOST),
        disabled=not missing or current.explaining is not None,
    ):
        current.explain(missing)
        st.rerun()


def await_explanations(current: PredictionTask) -> None:
    """Show how far explanations are that are being made, or why there are none."""
    task = current.explaining
    if task is None or not wait_for(task, t("predict.explaining")):
        return
    current.explaining = None
    if task.problem:
        st.error(escape_markdown(message(task.problem)))
        return
    current.explained |= task.result
    st.rerun()


def show_heat(explanation: ShownExplanation, label: str) -> None:
    """Show a photo with what speaks for a class."""
    st.image(explanation.picture, width="stretch")
    st.caption(t("predict.heat", label=escape_markdown(label)))


def show_neighbours(explanation: ShownExplanation) -> None:
    """Show the training photos that a photo is most like."""
    if not explanation.neighbours:
        return
    st.markdown(f"**{t('predict.nearest')}**")
    with st.container(horizontal=True, gap="small"):
        for path, true in explanation.neighbours:
            with st.container(width=PIXELS, gap=None):
                show(path, PIXELS)
                st.caption(escape_markdown(true))
