"""Two runs side by side."""

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import streamlit as st

from tlearn.config import Stage
from tlearn.runs import charts
from tlearn.runs.measurement import LEVEL
from tlearn.runs.progress_log import read_progress
from tlearn.runs.run import Run
from tlearn.runs.run_comparison import RunComparison, compare_runs
from tlearn.text import shortened
from tlearn.web.components.config_options import APART
from tlearn.web.components.gallery import Picture, gallery
from tlearn.web.components.run_details import show_accuracy
from tlearn.web.components.run_views import photo_captions
from tlearn.web.words import chart_words, escape_markdown, isolate, message, preset_name, t, texts

CLASSES, LONG = 10, 40  # classes named, and characters of a name


def side_by_side(*paths: Path) -> None:
    """Show what two runs differ in, and whether the difference is more than chance."""
    runs = Run(paths[0]), Run(paths[1])
    names = [escape_markdown(run.path.name) for run in runs]
    comparison = compare_runs(*runs)
    if comparison.p_value is None:
        st.info(t("results.no_common"))
    else:
        key = "results.differ" if comparison.p_value < LEVEL else "results.noise"
        a, b = (f"{count:,}" for count in comparison.right)
        words = t(key, count=f"{comparison.common:,}", one=names[0], a=a, other=names[1], b=b)
        st.info(f"{words} {_gain(comparison, names)}")
    if comparison.relabelled:
        st.caption(t("results.relabelled", count=comparison.relabelled))
    for run, name, column in zip(runs, names, st.columns(2), strict=True):
        with column, st.container(border=True, height="stretch"):
            st.markdown(f"**{name}**")
            show_accuracy(run.measured_split, run.metrics[run.measured_split], st)
            epochs = read_progress(run.path).epochs
            if epochs:
                curve = charts.learning_curve(epochs, run.metrics["stages"][0], words=chart_words())
                st.vega_lite_chart(spec=curve, width="stretch", key=f"pair.{run.path.name}")
    _differences(comparison, names)
    for right, wrong, name, mistakes in zip(
        runs, runs[::-1], names, comparison.mistakes[::-1], strict=True
    ):
        if mistakes:
            st.markdown(f"**{t('results.only', name=name, count=len(mistakes))}**")
            root = wrong.photo_folder
            pictures = [Picture(root, one.file, *photo_captions(one)) for one in mistakes]
            gallery(pictures, f"only.{right.path.name}.{wrong.path.name}")
    _both_wrong(runs[0], comparison, names)


def _gain(comparison: RunComparison, names: Sequence[str]) -> str:
    gain = comparison.gain
    if gain is None:
        return ""
    points, low, high = (f"{100 * x:+.1f}" for x in (gain.share, *gain.ci95))
    p_value = f"{gain.p_value:.2g}"
    one, other = names
    return t("results.gains", one=one, other=other, gain=points, low=low, high=high, p=p_value)


def _differences(comparison: RunComparison, names: Sequence[str]) -> None:
    """Show what settings, data and classes differ in, in words."""
    rows = {
        _name(key): tuple(_words(key, value) for value in values)
        for key, values in comparison.settings.items()
    }
    if comparison.data[0] != comparison.data[1]:
        rows[t("results.data")] = comparison.data
    if any(comparison.only_classes):
        rows[t("results.classes_apart")] = tuple(map(_some, comparison.only_classes))
    same = comparison.trained_on_both
    if comparison.trained_on != (same, same):
        rows[t("results.trained_on")] = tuple(
            t("results.only_there", count=f"{n:,}", other=f"{n - same:,}")
            for n in comparison.trained_on
        )
    if not rows:
        st.caption(t("results.nothing_differs"))
        return
    st.markdown(f"**{t('results.different')}**")
    with st.container(key="differences"):
        st.table(  # it wraps long values
            [
                {
                    t("results.setting"): setting,
                    **{
                        name: escape_markdown(text) for name, text in zip(names, texts, strict=True)
                    },
                }
                for setting, texts in rows.items()
            ],
            hide_index=True,
        )


def _some(labels: Sequence[str]) -> str:
    shown = [isolate(shortened(label, LONG)) for label in labels[:CLASSES]]
    return ", ".join(shown) + (f" + {len(labels) - CLASSES}" if labels[CLASSES:] else "") or "—"


def _both_wrong(run: Run, comparison: RunComparison, names: Sequence[str]) -> None:
    photos = [d.predictions for d in comparison.disagreements if d.right == "neither"]
    if not photos:
        return
    st.markdown(f"**{t('results.neither', count=len(photos))}**")
    pictures = [
        Picture(
            run.photo_folder,
            first.file,
            t(
                "results.say",
                label=isolate(first.label),
                predicted=isolate(first.predicted),
                other=isolate(second.predicted),
            ),
        )
        for first, second in photos
    ]
    gallery(pictures, f"neither.{'.'.join(names)}")


def _name(key: str) -> str:
    return t(f"results.{key}") if key in APART else texts().option(key, "")[0] or key


def _words(key: str, value: Any) -> str:
    """Return the value of a setting as people say it."""
    if key == "stages":
        stages = [Stage(**values) for values in value or ()]
        titles = [
            t(
                "results.stage_words",
                stage=message(s.title),
                epochs=s.epochs,
                rate=f"{s.learning_rate:g}",
            )
            for s in stages
        ]
        counted = [(len([*same]), title) for title, same in groupby(titles)]
        words = [
            t("results.repeated", count=count, stage=title) if count > 1 else title
            for count, title in counted
        ]
        return "; ".join(words) or t("results.no_stages")
    if key == "preset":
        return preset_name(value)
    if isinstance(value, bool):
        return "✓" if value else "—"
    if isinstance(value, list | tuple):
        value = ", ".join(map(str, value))
    return "—" if value in (None, "") else str(value)
