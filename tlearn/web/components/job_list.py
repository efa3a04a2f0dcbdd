"""The queue of trainings, live."""

import time
from collections.abc import Sequence

import streamlit as st

from tlearn.jobs import Job, Live
from tlearn.progress import format_bytes
from tlearn.runs import charts
from tlearn.web.components.session import chart_words, go, plain, problems, workspace
from tlearn.web.i18n import Texts

SHOWN, LATEST = 20, 2  # of those that are over, and of these at first sight
EVERY = 1.0  # seconds


def queue(t: Texts) -> None:
    """Show the trainings that run, wait, or ended lately; look again every second."""
    if not workspace().queue.jobs():
        return

    @st.fragment(run_every=EVERY)
    def live() -> None:
        jobs = workspace().queue
        jobs.wake()
        found = jobs.jobs()
        states = [job.state for job in found]
        before = st.session_state.get("queue.states")
        st.session_state["queue.states"] = states
        if before is not None and before != states and not set(states) & {"queued", "running"}:
            st.rerun()  # the last has ended: the page around looks again too
        # Each kind has a place of its own, or what one shows would remain where the other begins.
        going, over = st.container(), st.container()
        with going:
            for job in found:
                if not job.over:
                    _going(t, job)
        with over:
            ended = [job for job in reversed(found) if job.over][:SHOWN]
            _over(t, ended[:LATEST])
            if ended[LATEST:]:
                with st.expander(t("job.earlier", count=len(ended) - LATEST)):
                    _over(t, ended[LATEST:])

    live()


def _going(t: Texts, job: Job) -> None:
    with st.container(border=True):
        with st.container(horizontal=True, vertical_alignment="center"):
            st.markdown(f"**{plain(job.run.name)}** · {t(f'job.{job.state}')}")
            if st.button(
                t("job.stop"), key=f"stop.{job.id}", icon=":material/stop:", help=t("job.stop_hint")
            ):
                workspace().queue.stop(job.id)
        if job.problem:
            st.warning(plain(job.problem))
        if job.state != "running":
            return
        live = workspace().queue.live(job.id)
        _progress(t, job, live)
        if live.epochs:
            curve = charts.learning_curve(live.epochs, None, words=chart_words(t))
            st.altair_chart(curve, width="stretch", key=f"curves.{job.id}")
        with st.expander(t("job.log")):
            st.code("\n".join(live.lines[-40:]) or "…", language=None, wrap_lines=True)


def _progress(t: Texts, job: Job, live: Live) -> None:
    passed = time.time() - job.started
    facts = [t("job.passed", time=clock(passed))]
    if live.planned > passed:
        facts.append(t("job.left", time=clock(live.planned - passed)))
    if live.epoch_count:
        facts.append(t("job.epoch", now=len(live.epochs), all=live.epoch_count))
    if live.rate:
        facts.append(f"{live.rate:.3g} {live.unit}/s")
    if live.memory:
        facts.append(format_bytes(live.memory))
    at = live.task or t("job.starting")
    counted = f"{live.done:,}/{live.total:,} {live.note}" if live.total else ""
    st.progress(live.fraction, f"{plain(at)} {counted}".strip())
    st.caption(" · ".join(facts))


def _over(t: Texts, jobs: Sequence[Job]) -> None:
    for job in jobs:
        with st.container(horizontal=True, vertical_alignment="center"):
            st.markdown(
                f"{plain(job.run.name)} · {t(f'job.{job.state}')}"
                + (f": {plain(job.problem)}" if job.problem else "")
            )
            if job.state in ("finished", "stopped") and st.button(
                t("job.results"), key=f"see.{job.id}"
            ):
                st.session_state["chosen.run"] = job.run.name
                go("results")
            if job.resumable and st.button(
                t("job.resume"), key=f"resume.{job.id}", icon=":material/resume:"
            ):
                with problems():
                    workspace().queue.resume(job.run, job.data)
                    workspace().queue.forget(job.id)
                    st.rerun()
            if st.button(
                "",
                key=f"forget.{job.id}",
                help=t("job.forget_hint"),
                type="tertiary",
                icon=":material/close:",
            ):
                with problems():
                    workspace().queue.forget(job.id)
                    st.rerun()


def clock(seconds: float) -> str:
    """Return a time as ``1:05`` or ``1:02:05``."""
    minutes, rest = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
