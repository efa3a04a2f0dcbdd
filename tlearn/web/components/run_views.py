"""What to look at in a run: mistakes, classes, thresholds, curves, settings."""

import html
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import streamlit as st

from tlearn.data.edits import Edits
from tlearn.runs import charts
from tlearn.runs.class_figures import Share, class_figures
from tlearn.runs.confusion_chart import MATRIX
from tlearn.runs.measurement import LEVEL, confused_pairs
from tlearn.runs.predictions import HeldOutPrediction
from tlearn.runs.progress_log import read_progress
from tlearn.runs.run import Run
from tlearn.runs.threshold_chart import threshold_chart
from tlearn.runs.thresholds import Answers
from tlearn.text import natural_key, percent, shortened
from tlearn.web.components.class_column import class_column
from tlearn.web.components.confusion_view import show_confusion
from tlearn.web.components.gallery import Picture, gallery
from tlearn.web.components.heat_gallery import heat_gallery
from tlearn.web.components.photo_editor import photo_editor
from tlearn.web.components.run_exports import run_exports
from tlearn.web.components.session import page_button, workspace
from tlearn.web.words import chart_words, escape_markdown, isolate, message, t

MOST = 200  # photos in a gallery of mistakes
MOST_CONFUSED = 5  # pairs of classes named
LONG = 20  # characters of the name of a class in a caption


def _mistakes(run: Run) -> None:
    wrong = [p for p in run.held_out_predictions() if not p.correct]
    st.markdown(t("results.mistakes_hint") if wrong else t("results.no_mistakes"))
    photos_of(run, sorted(wrong, key=lambda p: -p.probability), "mistakes")


def _unsure(run: Run) -> None:
    right = [p for p in run.held_out_predictions() if p.correct]
    st.markdown(t("results.unsure_hint"))
    photos_of(run, sorted(right, key=lambda p: p.probability), "unsure")


def photos_of(run: Run, predictions: Sequence[HeldOutPrediction], key: str) -> None:
    """Show photos; those that are in the data root can be moved to other classes and excluded.

    Where the model looked at is shown instead where that is asked for.
    """
    if not predictions:
        return
    root = Path(run.record["data"]["path"])
    data = workspace().name_of(root) if root.exists() else None
    shown, key = predictions[:MOST], f"{key}.{run.path.name}"
    if st.toggle(t("results.heat"), key=f"{key}.heat", help=t("results.heat_hint")):
        heat_gallery(run, shown, key)
        return
    labels = Edits.of(root).photo_labels() if data else {}
    pictures = []
    for one in shown:
        captions, label = photo_captions(one), labels.get(one.file, one.label)
        if label != one.label:
            changed = t("results.moved", label=label) if label else t("results.excluded")
            captions = tuple(f"{caption} · {changed}" for caption in captions)
        pictures.append(Picture(run.photo_folder, one.file, *captions))
    if data is None:
        st.caption(t("results.elsewhere", root=escape_markdown(str(root))))
        gallery(pictures, key)
    else:
        st.caption(t("results.changes_go", data=escape_markdown(data)))
        if any(labels.get(one.file, one.label) != one.label for one in shown):
            page_button("train", t("data.go_train"), primary=True, data=data)
        classes = sorted({p.label for p in run.held_out_predictions()}, key=natural_key)
        photo_editor(data, pictures, classes, key)


def photo_captions(prediction: HeldOutPrediction) -> tuple[str, ...]:
    """Return the class of a photo, and for which it was taken: in full, and for a small place."""
    probability = percent(prediction.probability)
    captions = []
    for most in (None, LONG):
        names = (prediction.label, prediction.predicted)
        label, predicted = (isolate(shortened(n, most) if most else n) for n in names)
        captions.append(
            f"{label} {probability}"
            if prediction.correct
            else t("results.taken_for", label=label, predicted=predicted, probability=probability)
        )
    return tuple(captions)


def _confusion(run: Run) -> None:
    """Show which classes are confused; a click on a cell or a bar shows its photos."""
    split = run.measured_split
    figures = run.metrics[split]
    pairs = confused_pairs(figures)
    bars = len(figures["per_class"]) > MATRIX
    if bars and not pairs:
        st.markdown(t("results.no_mistakes"))
        return
    if pairs:
        st.markdown(f"**{t('results.most_confused')}**")
    lines = [
        t(
            "results.cell",
            true=escape_markdown(true),
            predicted=escape_markdown(predicted),
            count=count,
        )
        for true, predicted, count in pairs[:MOST_CONFUSED]
    ]
    if lines and not bars:
        st.markdown("\n".join(f"- {line}" for line in lines))
    st.caption(t("results.pairs_hint" if bars else "results.confusion_hint"))
    cells = show_confusion(figures, f"confusion.{run.path.name}")
    if not cells:
        return
    true, predicted = str(cells[0]["true"]), str(cells[0]["predicted"])
    cell = (split, true, predicted)
    predictions = [p for p in run.held_out_predictions() if (p.split, p.label, p.predicted) == cell]
    names = {"true": escape_markdown(true), "predicted": escape_markdown(predicted)}
    st.markdown(t("results.cell", **names, count=len(predictions)))
    photos_of(run, predictions, f"cell.{true}.{predicted}")


def _curves(run: Run) -> None:
    progress = read_progress(run.path)
    epochs, error = progress.epochs, progress.expected_error
    gain = run.metrics.get("gain")
    if not epochs and gain is None:
        without = "results.no_curves" if error is None else "results.no_headroom"
        st.info(t(without, error=percent(error or 0)))
        return
    if gain is None:
        probe = run.metrics["stages"][0]
        curve = charts.learning_curve(epochs, probe, words=chart_words())
        st.vega_lite_chart(spec=curve, width="stretch")
    else:
        _gain(gain)
    right = st.column_config.Column(alignment="right")
    st.dataframe(
        [
            {
                t("results.run" if gain else "results.stage"): t("chart.probe")
                if s["name"] == "probe"
                else message(s["name"]),
                t("data.validation"): percent(s["accuracy"]),
                t("results.share"): share if s["share"] else "",
                t("results.epochs"): s["epochs"],
                t("results.seconds"): round(s["seconds"]),
            }
            for s, share in zip(run.metrics["stages"], run.stage_shares, strict=True)
        ],
        hide_index=True,
        column_config=dict.fromkeys((t("data.validation"), t("results.share")), right),
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


def _classes(run: Run) -> None:
    """Show how well each class is recognised; a click on a heading sorts."""
    split = run.measured_split
    st.caption(t("results.classes_hint", split=t(f"chart.{split}")))
    shares = ("precision", "recall", "f1")
    rows = [
        {
            t("data.class"): one.label,
            t("chart.photos"): one.images,
            **{t(f"results.{name}"): _percents(getattr(one, name)) for name in shares},
            **{t(f"results.{name}_between"): _between(getattr(one, name)) for name in shares},
        }
        for one in class_figures(run.metrics[split])
    ]
    bar = st.column_config.ProgressColumn(format="%.1f%%", min_value=0, max_value=100)
    config = {t(f"results.{name}"): bar for name in shares}
    config[t("data.class")] = class_column(run.labels)
    st.dataframe(rows, hide_index=True, column_config=config, height="content")


def _percents(share: Share | None) -> float | None:
    return None if share is None else 100 * share.value


def _between(share: Share | None) -> str:
    if share is None:
        return ""
    low, high = map(percent, share.ci95)
    return t("common.between", low=low, high=high)


@st.fragment
def _threshold(run: Run) -> None:
    """Show what is answered from a probability upwards, and how right that is."""
    split = run.measured_split
    outputs = run.outputs().of_split(split)
    st.markdown(t("results.threshold_hint", split=t(f"chart.{split}")))
    with st.container(horizontal=True, vertical_alignment="bottom"):
        label = st.selectbox(
            t("data.class"),
            run.labels,
            index=None,
            placeholder=t("results.all_classes"),
            key=f"threshold.class.{run.path.name}",
            width=280,
        )
        percents = st.slider(
            t("results.at_least"),
            0,
            100,
            50,
            format="%d%%",
            key=f"threshold.{run.path.name}",
            width=420,
        )
    answers = Answers.of(outputs, run.labels, label)
    point = answers.at(percents / 100)
    figures = {
        "answered": (percent(point.answered / max(1, len(answers.scores))), point.answered),
        "precision": (point.precision, point.right),
        "recall": (point.recall, point.right),
    }
    wholes = {"answered": len(answers.scores), "precision": point.answered, "recall": point.images}
    with st.container(horizontal=True):
        for name, (share, count) in figures.items():
            part = t("results.of", part=f"{count:,}", all=f"{wholes[name]:,}")
            between = f" · {_between(share)}" if isinstance(share, Share) else ""
            st.metric(
                t(f"results.{name}"),
                percent(share.value) if isinstance(share, Share) else share or "—",
                f"{part}{between}",
                "off",
                delta_arrow="off",
                border=True,
                help=t(f"results.{name}_help"),
            )
    words = {name: t(f"results.{name}") for name in ("precision", "recall", "at_least")}
    chart = threshold_chart(answers.curve(), percents / 100, words)
    st.vega_lite_chart(spec=chart, width="stretch")


def _settings(run: Run) -> None:
    # Not as code: a browser takes longer to colour it than to show all the rest of the page.
    text = html.escape((run.path / "run.yaml").read_text("utf-8"))
    st.html(f'<pre style="overflow-x: auto">{text}</pre>')


VIEWS = {
    "mistakes": _mistakes,
    "confusion": _confusion,
    "classes": _classes,
    "threshold": _threshold,
    "unsure": _unsure,
    "curves": _curves,
    "export": run_exports,
    "settings": _settings,
}
