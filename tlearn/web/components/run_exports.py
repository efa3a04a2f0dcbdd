"""The model of a run in other formats, and its report: made in the background, then downloaded."""

from collections.abc import Callable
from pathlib import Path

import streamlit as st

from tlearn.progress import format_bytes
from tlearn.runs.run import Run
from tlearn.web import run_work
from tlearn.web.background import BackgroundTask
from tlearn.web.components.scans import wait_for
from tlearn.web.components.session import attempt
from tlearn.web.downloads import export_url, report_url
from tlearn.web.words import escape_markdown, message, t


def run_exports(run: Run) -> None:
    """Offer the report and every format; those that lack a package say how to install it."""
    report = run.path / "report.html"
    _offer(
        f"**{t('results.report')}** · {t('results.report_hint')}",
        run_work.report_task(run.path),
        lambda: run_work.start_report(run.path),
        report if report.is_file() else None,
        report_url(run.path.name),
        t("results.open_report"),
        ":material/article:",
    )
    st.markdown(t("results.export_hint"))
    for form in run_work.formats():
        _format(run, form)


def _format(run: Run, form: run_work.Format) -> None:
    name, summary = form.exporter.name, message(form.exporter.summary)
    title = f"**{escape_markdown(name)}** · {escape_markdown(summary)}"
    if form.install:
        with st.container(border=True):
            needs = t("results.needs", command=f"`pip install '{form.install}'`")
            st.markdown(f"{title}  \n{needs}")
        return
    folder = run_work.exported(run.path, name)
    _offer(
        title,
        run_work.export_task(run.path, name),
        lambda: run_work.start_export(run.path, name),
        folder if folder.is_dir() else None,
        export_url(run.path.name, name),
        t("results.download", form=escape_markdown(name)),
    )


def _offer(
    title: str,
    task: BackgroundTask | None,
    start: Callable[[], None],
    made: Path | None,
    url: str,
    words: str,
    icon: str = ":material/download:",
) -> None:
    """Show how far something is, or a link to it and a button that makes it (again)."""
    with (
        st.container(border=True),
        st.container(horizontal=True, vertical_alignment="center"),
    ):
        st.markdown(title, width="stretch")
        if task is not None and not wait_for(task, t("results.making")):
            return
        if made is not None:
            files = [made] if made.is_file() else made.rglob("*")
            size = format_bytes(sum(f.stat().st_size for f in files if f.is_file()))
            st.link_button(f"{words} ({size})", url, icon=icon)
        again = t("results.make_again" if made else "results.make")
        st.button(again, f"make.{url}", on_click=attempt, args=(start,))
        if task is not None and task.problem:
            st.warning(escape_markdown(message(task.problem)))
