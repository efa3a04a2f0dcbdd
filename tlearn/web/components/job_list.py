"""The trainings that run, wait, or ended lately, live."""

import time

import streamlit as st

from tlearn.runs import charts
from tlearn.runs.progress_log import STEPS, read_progress
from tlearn.runs.run_store import RunSummary
from tlearn.text import percent
from tlearn.web.components.session import attempt, page_button, showing_errors, workspace
from tlearn.web.words import accuracy_words, chart_words, duration, escape_markdown, message, t

LATEST, LATELY = 3, 24 * 3600.0  # how many that are over are shown, and for how many seconds
EVERY = 1.0  # seconds


def queue() -> None:
    """Show the trainings; look again every second."""
    if not (workspace().queue.jobs() or _recent_runs()):
        return

    @st.fragment(run_every=EVERY)
    def live() -> None:
        jobs = workspace().queue
        with showing_errors():
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
                st.warning(escape_markdown(message(full)))
            for run in under_way:
                _under_way(run)
        with over:
            for number, run in enumerate(_recent_runs()):
                _over(run, latest=not number)

    live()


def state_words(run: RunSummary) -> str:
    """Return the state of a run in words."""
    if run.stopping:
        return t("state.stopping")
    if run.state == "stopped" and not run.usable:
        return t("state.stopped_empty")
    return t(f"state.{run.state}")


def _recent_runs() -> list[RunSummary]:
    """Return the trainings that ended lately, the last first."""
    since = time.time() - LATELY
    over = [run for run in workspace().run_store.runs() if run.over and run.changed > since]
    return sorted(over, key=lambda run: -run.changed)[:LATEST]


def _under_way(run: RunSummary) -> None:
    with st.container(border=True):
        with st.container(horizontal=True, vertical_alignment="center"):
            st.markdown(f"**{escape_markdown(run.name)}** · {state_words(run)}")
            st.button(
                t("job.stop"),
                f"stop.{run.name}",
                on_click=attempt,
                args=(workspace().queue.stop, run.name),
                icon=":material/stop:",
                help=t("job.stop_hint"),
                disabled=run.stopping,
            )
        if run.state == "running":
            _progress(run)


def _progress(run: RunSummary) -> None:
    at = read_progress(run.path)
    kind = "finetune" if at.step == "training" and at.epoch_count and at.probe else at.step
    facts = [t("job.step", now=at.step_number, all=len(STEPS), what=t(f"job.step_{kind}"))]
    if at.best is not None:
        facts.append(t("job.right_so_far", part=percent(at.best)))
    now = time.time()
    left = at.seconds_remaining(now)
    if left is not None:
        facts.append(t("job.remaining", time=duration(left)))
    bar = f"bar.{run.name}.{at.started}"  # which never goes back
    st.session_state[bar] = max(st.session_state.get(bar, 0.0), at.part_done(now))
    st.progress(st.session_state[bar], "".join(facts))
    with st.expander(t("job.details")):
        if at.epochs:
            st.markdown(t("job.epoch", now=len(at.epochs), all=at.epoch_count))
            curve = charts.learning_curve(at.epochs, at.probe, words=chart_words())
            st.vega_lite_chart(spec=curve, width="stretch", key=f"curves.{run.name}")
        st.code("\n".join(at.lines[-40:]) or "…", language=None, wrap_lines=True)


def _over(run: RunSummary, latest: bool) -> None:
    with st.container(border=latest, horizontal=True, vertical_alignment="center"):
        if run.accuracy is None:
            problem = f": {escape_markdown(message(run.problem))}" if run.problem else ""
            st.markdown(f"{escape_markdown(run.name)} · {state_words(run)}{problem}")
        else:
            right = accuracy_words(run.accuracy, run.images)
            key = "job.ready" if run.state == "finished" else "job.ended"
            state = state_words(run)
            st.markdown(t(key, name=escape_markdown(run.name), state=state, right=right))
        if run.usable:
            with st.container(horizontal=True, width="content"):  # side by side where they wrap
                page_button("predict", t("job.try"), primary=latest, run=run.name)
                page_button("results", t("job.results"), run=run.name)
        if run.resumable:
            st.button(
                t("job.resume"),
                f"resume.{run.name}",
                on_click=attempt,
                args=(workspace().queue.resume, run.name),
                icon=":material/resume:",
            )
