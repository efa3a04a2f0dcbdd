"""One run: how good it is, where it errs, and what can be done with it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import streamlit as st

from tlearn.data.edits import Edits
from tlearn.runs import charts
from tlearn.runs.measurement import (
    FEW,
    LEVEL,
    confused_pairs,
    metric_text,
    metrics_in,
    photos_missing,
)
from tlearn.runs.predictions import HeldOutPrediction
from tlearn.runs.progress_log import read_progress
from tlearn.runs.run import Run
from tlearn.runs.run_store import LONGEST_NOTE, RunSummary
from tlearn.text import decode_name, natural_key
from tlearn.web.components.gallery import Picture, gallery
from tlearn.web.components.job_list import state_words
from tlearn.web.components.photo_editor import photo_editor
from tlearn.web.components.session import attempt, choose_view, remember, workspace
from tlearn.web.components.upload import show_message
from tlearn.web.downloads import run_url
from tlearn.web.words import chart_words, escape_markdown, message, t, texts

MOST = 200  # photos in a gallery of mistakes
MOST_CONFUSED = 5  # pairs of classes named


def one_run(listed: RunSummary) -> None:
    """Show a run."""
    st.subheader(escape_markdown(listed.name), anchor=False)
    if listed.problem:
        st.warning(escape_markdown(message(listed.problem)))
    if not listed.usable:
        st.info(t("results.no_model", state=state_words(listed)))
        _actions(listed)
        return
    run = Run(listed.path)
    show_message()
    _figures(run)
    _actions(listed)
    VIEWS[choose_view("results", list(VIEWS))](run)


def _mistakes(run: Run) -> None:
    wrong = [p for p in run.held_out_predictions() if not p.correct]
    st.markdown(t("results.mistakes_hint") if wrong else t("results.no_mistakes"))
    _photos(run, sorted(wrong, key=lambda p: -p.probability), "mistakes")


def _unsure(run: Run) -> None:
    right = [p for p in run.held_out_predictions() if p.correct]
    st.markdown(t("results.unsure_hint"))
    _photos(run, sorted(right, key=lambda p: p.probability), "unsure")


def _figures(run: Run) -> None:
    """Show the figures of each split, with their intervals."""
    for split in ("test", "validation"):
        if split not in run.metrics:
            continue
        figures: Mapping[str, Any] = run.metrics[split]
        row, below = st.container(horizontal=True), st.container()
        with row:
            show_accuracy(split, figures, below)
            for metric in metrics_in(figures):
                if metric.key == "accuracy" or not metric.brief:
                    continue
                name = texts().words.get(f"results.{metric.key}", metric.name)
                st.metric(name, metric_text(metric, figures), border=True, height="stretch")
    if "test" not in run.metrics:
        st.caption(t("results.flatters"))


def show_accuracy(split: str, figures: Mapping[str, Any], below: Any) -> None:
    """Show the accuracy on a split with its interval; what few photos mean goes ``below``."""
    n, (low, high) = figures["n"], figures["accuracy_ci95"]
    right = t("results.right", right=round(figures["accuracy"] * n), all=f"{n:,}")
    few = n < FEW  # then the interval says more than the accuracy
    st.metric(
        f"{t('results.accuracy')} ({t(f'data.{split}')})",
        right if few else f"{figures['accuracy']:.1%}",
        None if few else f"{right} · {t('common.between', low=f'{low:.1%}', high=f'{high:.1%}')}",
        "off",
        delta_arrow="off",
        border=True,
        height="stretch",
        help=t("results.interval"),
    )
    if few:
        text = t("results.few", low=f"{low:.0%}", high=f"{high:.0%}")
        more = photos_missing(figures["accuracy"], n)
        below.markdown(f"{text} {t('results.few_more', count=more)}" if more else text)


def _actions(run: RunSummary) -> None:
    """Offer notes, downloads, resuming and deleting."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        if run.usable:
            model, whole = run_url(f"{run.name}.keras"), run_url(f"{run.name}.zip")
            st.link_button(t("results.model"), model, icon=":material/download:")
            st.link_button(t("results.whole"), whole, icon=":material/folder_zip:")
        with st.popover(t("results.note"), icon=":material/edit_note:"):
            st.text_area(
                t("results.note"), run.note, max_chars=LONGEST_NOTE, key=f"note.{run.name}"
            )
            st.button(
                t("results.keep_note"),
                f"keep_note.{run.name}",
                on_click=attempt,
                args=(_keep_note, run.name),
                type="primary",
            )
        if run.resumable:
            st.button(
                t("job.resume"),
                f"resume.{run.name}",
                on_click=attempt,
                args=(_resume, run.name),
                icon=":material/resume:",
            )
        st.button(
            t("results.delete"),
            f"delete.{run.name}",
            on_click=attempt,
            args=(_delete, run.name),
            icon=":material/delete:",
            help=t("results.delete_hint"),
            disabled=run.state == "running",
        )
    if run.note:
        st.markdown(escape_markdown(run.note))


def _keep_note(name: str) -> None:
    workspace().run_store.write_note(name, st.session_state[f"note.{name}"])


def _resume(name: str) -> None:
    workspace().queue.resume(name)
    st.toast(t("results.resumed"))


def _delete(name: str) -> None:
    workspace().run_store.delete(name)
    remember("run", None)


def _photos(run: Run, predictions: Sequence[HeldOutPrediction], key: str) -> None:
    """Show photos; those that are in the data root can be moved to other classes and excluded."""
    if not predictions:
        return
    root = Path(run.record["data"]["path"])
    data = workspace().name_of(root) if root.exists() else None
    shown, key = predictions[:MOST], f"{key}.{run.path.name}"
    labels = Edits.of(root).photo_labels() if data else {}
    pictures = []
    for one in shown:
        caption, label = photo_caption(one), labels.get(one.file, one.label)
        if label != one.label:
            changed = t("results.moved", label=label) if label else t("results.excluded")
            caption = f"{caption} · {changed}"
        path = run.photo_folder / decode_name(one.file)
        pictures.append(Picture(path, one.file, caption))
    if data is None:
        gallery(pictures, key)
    else:
        classes = sorted({p.label for p in run.held_out_predictions()}, key=natural_key)
        photo_editor(data, pictures, classes, key)


def photo_caption(prediction: HeldOutPrediction) -> str:
    """Return the class of a photo, and for which it was taken."""
    if prediction.correct:
        return f"{prediction.label} {prediction.probability:.0%}"
    return t(
        "results.taken_for",
        label=prediction.label,
        predicted=prediction.predicted,
        probability=f"{prediction.probability:.0%}",
    )


def _confusion(run: Run) -> None:
    """Show the most confused classes and the matrix; a click shows the photos of a cell."""
    split = run.measured_split
    figures = run.metrics[split]
    pairs = confused_pairs(figures)
    if pairs:
        st.markdown(f"**{t('results.most_confused')}**")
    for true, predicted, count in pairs[:MOST_CONFUSED]:
        names = {"true": escape_markdown(true), "predicted": escape_markdown(predicted)}
        st.markdown(f"- {t('results.cell', **names, count=count)}")
    if not pairs and len(figures["per_class"]) > charts.MATRIX:
        st.markdown(t("results.no_mistakes"))
        return
    st.caption(t("results.confusion_hint"))
    chart = charts.confusion(figures, chart_words())
    dark = st.context.theme.type == "dark"
    chart["config"] = {"text": {"color": "#fafafa" if dark else "#31333f"}}
    event = st.vega_lite_chart(
        spec=chart, on_select="rerun", key=f"confusion.{run.path.name}", width="content"
    )
    cells = event.selection.get("cell", [])
    if not cells:
        return
    true, predicted = str(cells[0]["true"]), str(cells[0]["predicted"])
    cell = (split, true, predicted)
    predictions = [p for p in run.held_out_predictions() if (p.split, p.label, p.predicted) == cell]
    names = {"true": escape_markdown(true), "predicted": escape_markdown(predicted)}
    st.markdown(t("results.cell", **names, count=len(predictions)))
    _photos(run, predictions, f"cell.{true}.{predicted}")


def _curves(run: Run) -> None:
    progress = read_progress(run.path)
    epochs, error = progress.epochs, progress.expected_error
    gain = run.metrics.get("gain")
    if not epochs and gain is None:
        without = "results.no_curves" if error is None else "results.no_headroom"
        st.info(t(without, error=f"{error or 0:.1%}"))
        return
    if gain is None:
        probe = run.metrics["stages"][0]
        curve = charts.learning_curve(epochs, probe, words=chart_words())
        st.vega_lite_chart(spec=curve, width="stretch")
    else:
        _gain(gain)
    st.dataframe(
        [
            {
                t("results.run" if gain else "results.stage"): t("chart.probe")
                if s["name"] == "probe"
                else message(s["name"]),
                t("data.validation"): f"{s['accuracy']:.1%}",
                t("results.share"): share if s["share"] else "",
                t("results.epochs"): s["epochs"],
                t("results.seconds"): round(s["seconds"]),
            }
            for s, share in zip(run.metrics["stages"], run.stage_shares, strict=True)
        ],
        hide_index=True,
    )
    if any(0 < s["share"] < 1 for s in run.metrics["stages"]):
        st.caption(t("results.averaged_runs" if gain else "results.averaged"))


def _gain(gain: Mapping[str, Any]) -> None:
    """Show what an ensemble gains over the best of its runs alone."""
    low, high = (f"{100 * x:+.1f}" for x in gain["ci95"])
    text = t(
        "results.gain_noise" if gain["p_value"] >= LEVEL else "results.gain",
        count=f"{gain['images']:,}",
        all=gain["right"][0],
        one=gain["right"][1],
        points=f"{100 * gain['share']:+.1f}",
        low=low,
        high=high,
    )
    chosen = t("results.cross_fitted") if gain["split"] == "validation" else ""
    st.info(f"{text} {chosen}")


def _settings(run: Run) -> None:
    st.code((run.path / "run.yaml").read_text("utf-8"), language="yaml")


VIEWS = {
    "mistakes": _mistakes,
    "confusion": _confusion,
    "unsure": _unsure,
    "curves": _curves,
    "settings": _settings,
}
