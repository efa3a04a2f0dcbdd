"""Two runs side by side."""

from itertools import groupby
from pathlib import Path
from typing import Any

import streamlit as st

from tlearn.config import Stage
from tlearn.runs import charts
from tlearn.runs.measurement import LEVEL
from tlearn.runs.progress_log import read_progress
from tlearn.runs.run import Run
from tlearn.runs.run_comparison import compare_runs
from tlearn.text import decode_name
from tlearn.web.components.config_options import APART
from tlearn.web.components.gallery import Picture, gallery
from tlearn.web.components.run_details import photo_caption, show_accuracy
from tlearn.web.words import chart_words, escape_markdown, message, preset_name, t, texts


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
        st.info(t(key, count=f"{comparison.common:,}", one=names[0], a=a, other=names[1], b=b))
    for run, name, column in zip(runs, names, st.columns(2), strict=True):
        with column, st.container(border=True):
            st.markdown(f"**{name}**")
            show_accuracy(run.measured_split, run.metrics[run.measured_split], st)
            epochs = read_progress(run.path).epochs
            if epochs:
                curve = charts.learning_curve(epochs, run.metrics["stages"][0], words=chart_words())
                st.vega_lite_chart(spec=curve, width="stretch", key=f"pair.{run.path.name}")
    if comparison.settings:
        st.markdown(f"**{t('results.different')}**")
        st.table(  # it wraps long values
            [
                {
                    t("results.setting"): _name(key),
                    **{
                        name: escape_markdown(_words(key, value))
                        for name, value in zip(names, values, strict=True)
                    },
                }
                for key, values in comparison.settings.items()
            ],
            hide_index=True,
        )
    for right, wrong, name, mistakes in zip(
        runs, runs[::-1], names, comparison.mistakes[::-1], strict=True
    ):
        if mistakes:
            st.markdown(f"**{t('results.only', name=name, count=len(mistakes))}**")
            root = wrong.photo_folder
            pictures = [
                Picture(root / decode_name(one.file), one.file, photo_caption(one))
                for one in mistakes
            ]
            gallery(pictures, f"only.{right.path.name}.{wrong.path.name}")


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
