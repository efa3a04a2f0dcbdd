"""One run: how good it is, and what can be done with it."""

from collections.abc import Mapping
from typing import Any

import streamlit as st

from tlearn.runs.measurement import FEW, metric_text, metrics_in, photos_missing
from tlearn.runs.run import Run
from tlearn.runs.run_store import LONGEST_NOTE, RunSummary
from tlearn.text import percent
from tlearn.web.components.job_list import state_words
from tlearn.web.components.run_views import VIEWS
from tlearn.web.components.session import (
    attempt,
    choose_view,
    page_button,
    remember,
    workspace,
)
from tlearn.web.components.upload import show_message
from tlearn.web.downloads import report_url, run_url
from tlearn.web.words import escape_markdown, message, t, texts


def one_run(listed: RunSummary) -> None:
    """Show a run."""
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
                about = texts().words.get(f"results.{metric.key}_help")
                text = metric_text(metric, figures)
                st.metric(name, text, border=True, height="stretch", help=about)
    if "test" not in run.metrics and len(run.metrics["stages"]) > 1:
        st.caption(t("results.flatters"))


def show_accuracy(split: str, figures: Mapping[str, Any], below: Any) -> None:
    """Show the accuracy on a split with its interval; what few photos mean goes ``below``."""
    n, (low, high) = figures["n"], figures["accuracy_ci95"]
    right = t("results.right", right=round(figures["accuracy"] * n), all=f"{n:,}")
    few = n < FEW  # then the interval says more than the accuracy
    st.metric(
        f"{t('results.accuracy')} ({t(f'chart.{split}')})",
        right if few else percent(figures["accuracy"]),
        None if few else f"{right} · {t('common.between', low=percent(low), high=percent(high))}",
        "off",
        delta_arrow="off",
        border=True,
        height="stretch",
        help=t("results.interval"),
    )
    if few:
        text = t("results.few", low=percent(low), high=percent(high))
        more = photos_missing(figures["accuracy"], n)
        below.markdown(f"{text} {t('results.few_more', count=more)}" if more else text)


def _actions(run: RunSummary) -> None:
    """Offer notes, downloads, resuming and deleting."""
    with st.container(horizontal=True, vertical_alignment="center"):
        if run.usable:
            page_button("predict", t("job.try"), run=run.name)
            model, whole = run_url(f"{run.name}.keras"), run_url(f"{run.name}.zip")
            st.link_button(t("results.model"), model, icon=":material/download:")
            st.link_button(t("results.whole"), whole, icon=":material/folder_zip:")
            if (run.path / "report.html").is_file():
                address = report_url(run.name)
                st.link_button(t("results.open_report"), address, icon=":material/article:")
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
