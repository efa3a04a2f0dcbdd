"""Two runs side by side."""

from pathlib import Path

import streamlit as st

from tlearn.runs.metrics import LEVEL
from tlearn.runs.run import Run
from tlearn.runs.run_comparison import compare_runs
from tlearn.web.components.session import between, plain
from tlearn.web.i18n import Texts


def side_by_side(t: Texts, one: Path, other: Path) -> None:
    """Show what two runs differ in, and whether the difference is more than noise."""
    runs = Run(one), Run(other)
    found = compare_runs(*runs)
    for run, column in zip(runs, st.columns(2), strict=True):
        side = "test" if "test" in run.metrics else "validation"
        figures = run.metrics[side]
        low, high = figures["accuracy_ci95"]
        with column, st.container(border=True):
            st.markdown(f"**{plain(run.path.name)}**")
            st.metric(
                f"{t('results.accuracy')} ({t(f'data.{side}')})", f"{figures['accuracy']:.1%}"
            )
            st.caption(f"{between(t, low, high)} · {figures['n']:,}")
            st.caption(
                f"{run.metrics['seconds']['total']:.0f} s · {run.record['config']['backbone']}"
            )
    if found.p_value is None:
        st.info(t("results.no_common"))
    else:
        a, b = found.accuracies
        key = "results.differ" if found.p_value < LEVEL else "results.noise"
        st.info(
            t(
                key,
                count=f"{found.common:,}",
                one=f"{a:.1%}",
                other=f"{b:.1%}",
                p=f"{found.p_value:.2g}",
            )
        )
    if not found.settings:
        return
    st.dataframe(
        [
            {t("results.setting"): key, one.name: str(a), other.name: str(b)}
            for key, (a, b) in found.settings.items()
        ],
        hide_index=True,
    )
