"""The trainings that run, wait, or ended lately, live."""

import time

import streamlit as st

from tlearn.runs import charts
from tlearn.runs.progress_log import read_progress
from tlearn.runs.run_store import RunSummary
from tlearn.web.components.session import act, chart_words, open_page, plain, problems, workspace
from tlearn.web.i18n import Texts

LATEST, LATELY = 3, 24 * 3600.0  # how many that are over are shown, and for how many seconds
EVERY = 1.0  # seconds


def queue(t: Texts) -> None:
    """Show the trainings; look again every second."""
    if not (workspace().queue.jobs() or _ended()):
        return

    @st.fragment(run_every=EVERY)
    def live() -> None:
        jobs = workspace().queue
        with problems():
            jobs.wake()
        under_way = jobs.jobs()
        names = [run.name for run in under_way]
        before = st.session_state.get("queue.names")
        st.session_state["queue.names"] = names
        if before and not names:
            st.rerun()  # the last has ended: the page around looks again too
        # Each kind has a place of its own, or what one shows would remain where the other begins.
        going, over = st.container(), st.container()
        with going:
            full = jobs.disk_full() if under_way else ""
            if full:
                st.warning(plain(full))
            for run in under_way:
                _under_way(t, run)
        with over:
            for run in _ended():
                _over(t, run)

    live()


def state_words(t: Texts, run: RunSummary) -> str:
    """Return the state of a run in words."""
    if run.stopping:
        return t("state.stopping")
    if run.state == "stopped" and not run.usable:
        return t("state.stopped_empty")
    return t(f"state.{run.state}")


def _ended() -> list[RunSummary]:
    """Return the trainings that ended lately, the last first."""
    since = time.time() - LATELY
    over = [run for run in workspace().library.runs() if run.over and run.changed > since]
    return sorted(over, key=lambda run: -run.changed)[:LATEST]


def _under_way(t: Texts, run: RunSummary) -> None:
    with st.container(border=True):
        with st.container(horizontal=True, vertical_alignment="center"):
            st.markdown(f"**{plain(run.name)}** · {state_words(t, run)}")
            act(
                t("job.stop"),
                workspace().queue.stop,
                run.name,
                key=f"stop.{run.name}",
                icon=":material/stop:",
                help=t("job.stop_hint"),
                disabled=run.stopping,
            )
        if run.state == "running":
            _progress(t, run)


def _progress(t: Texts, run: RunSummary) -> None:
    at = read_progress(run.path)
    passed = time.time() - run.changed
    facts = [t("job.passed", time=clock(passed))]
    if at.planned > passed:
        facts.append(t("job.remaining", time=clock(at.planned - passed)))
    if at.epoch_count:
        facts.append(t("job.epoch", now=len(at.epochs), all=at.epoch_count))
    if at.rate:
        facts.append(f"{at.rate:.3g} {at.unit}/s")
    counted = f"{at.done:,}/{at.total:,} {at.note}" if at.total else ""
    st.progress(at.fraction, f"{plain(at.task or t('job.starting'))} {counted}".strip())
    st.caption(" · ".join(facts))
    if at.epochs:
        curve = charts.learning_curve(at.epochs, at.probe, words=chart_words(t))
        st.altair_chart(curve, width="stretch", key=f"curves.{run.name}")
    with st.expander(t("job.log")):
        st.code("\n".join(at.lines[-40:]) or "…", language=None, wrap_lines=True)


def _over(t: Texts, run: RunSummary) -> None:
    with st.container(horizontal=True, vertical_alignment="center"):
        problem = f": {plain(run.problem)}" if run.problem else ""
        st.markdown(f"{plain(run.name)} · {state_words(t, run)}{problem}")
        if run.usable and st.button(t("job.results"), key=f"see.{run.name}"):
            st.session_state["chosen.run"] = run.name
            open_page("results")
        if run.resumable:
            act(
                t("job.resume"),
                workspace().queue.resume,
                run.name,
                key=f"resume.{run.name}",
                icon=":material/resume:",
            )


def clock(seconds: float) -> str:
    """Return a time as ``1:05`` or ``1:02:05``."""
    minutes, rest = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
