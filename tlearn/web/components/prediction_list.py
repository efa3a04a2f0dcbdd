"""What a model says of photos: bars for a few, a table for many, and a way to say it is wrong."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import streamlit as st

from tlearn.data.editing import AddedPhotos
from tlearn.data.thumbnails import thumbnail_url
from tlearn.runs.predictions import Prediction
from tlearn.runs.run_store import RunSummary
from tlearn.runs.unknown import REJECT
from tlearn.text import percent
from tlearn.web import data_process
from tlearn.web.background import start
from tlearn.web.components.class_column import class_column
from tlearn.web.components.explanations import (
    await_explanations,
    explain_button,
    show_heat,
    show_neighbours,
)
from tlearn.web.components.folder_accuracy import show_folder_accuracy
from tlearn.web.components.gallery import show as show_photo
from tlearn.web.components.ready_photos import ready_photos
from tlearn.web.components.scans import wait_for
from tlearn.web.components.session import pages_of, workspace
from tlearn.web.components.upload import show_left_out
from tlearn.web.data_work import correct
from tlearn.web.explanation_process import ShownExplanation
from tlearn.web.prediction_process import PredictionTask, label_of, predictions_csv
from tlearn.web.words import escape_markdown, isolate, message, t

FEW = 6  # photos that are shown large, with bars
PER_PAGE = 100
WIDTH, PIXELS = 340, 64  # of a card, and of a photo in the table
Order = Callable[[Prediction], object]
ORDERS: dict[str, Order] = {
    "unsure": lambda answer: answer.probability,
    "sure": lambda answer: -answer.probability,
    "name": lambda answer: str(answer.path).casefold(),
    "label": lambda answer: (answer.label, -answer.probability),
}


def show_predictions(run: RunSummary, current: PredictionTask) -> None:
    """Show predictions, a CSV of them, and corrections; how right they are, if folders tell."""
    folder, (predictions, _) = current.folder, current.task.result
    true = {a.path: label_of(a.path, run.labels) for a in predictions if not a.problem}
    if any(true.values()):
        show_folder_accuracy(current)
    labels, root = run.labels, Path(run.data)
    editable = workspace().name_of(root) is not None and root.is_dir()
    if len(predictions) <= FEW:
        alone = len(predictions) == 1
        with st.container(horizontal=True):
            for answer in predictions:
                with st.container(border=True, width="stretch" if alone else WIDTH):
                    _card(answer, current.explained.get(answer.path), wide=alone)
                    if editable and not answer.problem:
                        with st.popover(t("predict.wrong")):
                            _correct(root, labels, [answer], str(answer.path))
        asked = list(predictions)
    else:
        shown, chosen = _table(current, predictions, true)
        asked = chosen or shown
        if editable:
            _correct(root, labels, chosen, str(folder))
        with st.container(horizontal=True):
            for answer in asked:
                if explanation := current.explained.get(answer.path):
                    with st.container(border=True, width=WIDTH):
                        _card(answer, explanation)
    unknown = sum(answer.unknown for answer in predictions)
    if unknown:
        numbers = {"count": unknown, "all": f"{len(predictions):,}", "part": percent(REJECT)}
        st.caption(t("predict.unknown_count", **numbers))
    with st.container(horizontal=True):
        explain_button(current, asked)
        st.download_button(
            t("predict.csv"),
            lambda: predictions_csv(predictions, folder),
            f"{run.name}.csv",
            "text/csv",
            on_click="ignore",
            icon=":material/download:",
        )
    await_explanations(current)
    if not editable:
        st.caption(t("predict.no_data", root=root))


def _card(answer: Prediction, explanation: ShownExplanation | None, wide: bool = False) -> None:
    """Show one photo with a bar for each of the likeliest classes, and why, if that is known.

    Where the card is ``wide``, the bars stand beside the photo.
    """
    photo, bars = st.columns(2, gap="large") if wide else (st.container(), st.container())
    with photo:
        if answer.unknown:
            st.markdown(f":orange[**{t('live.unknown')}**]")
        elif not answer.problem:
            st.markdown(f"**{escape_markdown(answer.label)}** {percent(answer.probability)}")
        if explanation:
            show_heat(explanation, answer.label)
        else:
            show_photo(answer.path, 2 * WIDTH if wide else WIDTH)
        st.caption(escape_markdown(answer.path.name))
    with bars:
        if answer.problem:
            st.warning(escape_markdown(message(answer.problem)))
        for label, probability in answer.top:
            st.progress(probability, f"{escape_markdown(label)} **{percent(probability)}**")
        if explanation:
            show_neighbours(explanation)


def _table(
    current: PredictionTask, predictions: Sequence[Prediction], true: Mapping[Path, str]
) -> tuple[list[Prediction], list[Prediction]]:
    """Show many photos a page at a time; return those that are shown, and those chosen of them.

    ``true`` has the class of each by its folder, or an empty text.
    """
    orders = _orders(predictions, true)
    order = st.selectbox(
        t("results.order"),
        list(orders),
        format_func=lambda name: t(f"predict.by_{name}"),
        width=240,
    )
    ranked = sorted(predictions, key=orders[order])  # type: ignore[arg-type]
    shown = [ranked[i] for i in pages_of("predictions.page", len(ranked), PER_PAGE)]
    ready = ready_photos([answer.path for answer in shown], PIXELS)
    rows = [
        {
            t("predict.photo"): thumbnail_url(answer.path, PIXELS) if answer.path in ready else "",
            t("data.class"): t("predict.unknown", label=isolate(answer.label))
            if answer.unknown
            else answer.label,
            t("predict.probability"): 100 * answer.probability,
            t("predict.is_right"): {True: "✗", False: "✓"}[_wrong(answer, true)]
            if true.get(answer.path)
            else "",
            t("chart.true"): true.get(answer.path, ""),
            t("predict.second"): "  ".join(
                f"{isolate(label)} {percent(p)}" for label, p in answer.top[1:3]
            ),
            t("data.file"): answer.path.relative_to(current.folder).as_posix(),
            t("data.reason"): message(answer.problem),
        }
        for answer in shown
    ]
    hidden = [] if any(answer.problem for answer in shown) else [t("data.reason")]
    hidden += [] if any(true.values()) else [t("chart.true"), t("predict.is_right")]
    named = [label for answer in shown for label in (answer.label, true.get(answer.path, ""))]
    config = {
        t("data.class"): class_column(named),
        t("chart.true"): class_column(named),
        t("predict.photo"): st.column_config.ImageColumn(width="small"),
        t("predict.probability"): st.column_config.ProgressColumn(
            format="%.1f%%", min_value=0, max_value=100
        ),
    }
    # Rows are selected by their number, and another run ranks the photos otherwise.
    place = (
        current.folder.name,
        current.run.name,
        order,
        st.session_state.get("predictions.page", 1),
    )
    event = st.dataframe(
        rows,
        hide_index=True,
        column_config=config,
        column_order=[column for column in rows[0] if column not in hidden],
        row_height=56,
        on_select="rerun",
        selection_mode="multi-row",
        height=min(620, 40 + 56 * len(rows)),
        key=f"predictions.{'.'.join(map(str, place))}",
    )
    return shown, [shown[i] for i in event.selection.rows]


def _wrong(answer: Prediction, true: Mapping[Path, str]) -> bool:
    label = true.get(answer.path)
    return bool(label) and label != answer.label


def _orders(predictions: Sequence[Prediction], true: Mapping[Path, str]) -> dict[str, Order]:
    """Return the orders that make sense for these photos; the first is the default."""
    orders = dict(ORDERS)
    if any(answer.unknown for answer in predictions):
        orders = {"unknown": lambda answer: (not answer.unknown, answer.probability)} | orders
    if any(true.values()):
        orders = {"wrong": lambda answer: (not _wrong(answer, true), -answer.probability)} | orders
    return orders


def _correct(root: Path, labels: Sequence[str], chosen: Sequence[Prediction], key: str) -> None:
    """Let the user say what photos are; they are added to the data for the next training."""
    usable = [answer for answer in chosen if not answer.problem]
    add = t("predict.add", count=len(usable)) if usable else t("predict.choose_rows")
    with st.container(horizontal=True, vertical_alignment="bottom"):
        right = st.selectbox(
            t("predict.wrong"),
            labels,
            index=None,
            accept_new_options=True,
            key=f"right.{key}",
            placeholder=t("predict.wrong_hint"),
            width=280,
        )
        pressed = st.button(add, disabled=not (right and usable), key=f"add.{key}")
    state, adding = st.session_state, f"adding.{key}"
    if pressed and right:
        photos = [(answer.path.name, answer.path) for answer in usable]
        state[adding] = right, start(lambda p: data_process.run(p, correct, root, right, photos))
    to, task = state.get(adding, ("", None))
    if task is None or not wait_for(task, t("data.placing")):
        return
    del state[adding]
    if task.problem:
        st.error(escape_markdown(message(task.problem)))
        return
    added: AddedPhotos = task.result
    count = len(added.new) + len(added.moved)
    if count:
        st.success(t("predict.added", count=count, label=escape_markdown(to)))
    if to not in labels:
        st.warning(t("predict.new_class", label=escape_markdown(to)))
    show_left_out(added.left_out)
