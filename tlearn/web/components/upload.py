"""Uploads that become data sets, and what is said about photos that came."""

import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import streamlit as st

from tlearn.data.archive_folder import dismiss_report, open_report
from tlearn.data.archives import archive_stem
from tlearn.data.filenames import repair_part
from tlearn.data.problems import Problem, group_by_reason
from tlearn.data.uploads import Upload
from tlearn.errors import DataError
from tlearn.progress import Progress
from tlearn.text import shortened
from tlearn.web import background, data_process
from tlearn.web.components.scans import look_again, offer_again, wait_for
from tlearn.web.components.session import attempt, remember, workspace
from tlearn.web.data_work import describe_new
from tlearn.web.words import escape_markdown, message, t, texts

MOST = 1000  # files of a group that are listed
PLACING = "adding.placing"  # where a session keeps the task that it waits for


def place_upload(upload: Upload, name: str) -> None:
    """Begin to unpack what came, and to put it into the data root."""
    names: list[str] = st.session_state.get("new.field", {}).get("done", {}).get("names", [])
    sent = _name_of(names[0]) if names else ""
    given = name.strip() or (repair_part(sent) if sent else t("data.default_name"))
    try:
        target = workspace().new_data_set(given)
    except DataError as error:
        upload.cancel()
        st.error(escape_markdown(message(str(error))))
        return

    path, words = target.resolve(), texts()  # the task has no browser to ask for its language

    def place(progress: Progress) -> tuple[Path, str]:
        if upload.is_open:
            try:
                upload.unpack(progress)
                upload.place(target)
            finally:
                upload.cancel()
        try:
            unsorted = words("data.unsorted")
            photos, classes = data_process.run(progress, describe_new, path, unsorted)
        except DataError as error:
            if str(error) == data_process.ENDED:  # it can be done again
                raise
            shutil.rmtree(path)  # nobody could mend it here
            text = str(error).replace(f"{path}{os.sep}", "").replace(str(path), path.name)
            raise DataError(text) from None  # with names as they were sent
        text = words("data.received", photos=photos, classes=classes)
        if path.name != given:
            text = f"{text} {words('data.name_taken', name=given)}"
        return path, text

    make_data_set(place, lambda: shutil.rmtree(path, ignore_errors=True))


def _name_of(first: str) -> str:
    """Return what a data set is called after the first file that came: its folder or archive."""
    path = PurePosixPath(first)
    stem = archive_stem(path.name)
    return path.parts[0] if len(path.parts) > 1 else stem if stem != path.name else ""


@dataclass(frozen=True)
class _Placing:
    """A data set that is being made: what is done, and what removes it if that cannot end."""

    do: Callable[[Progress], tuple[Path, str]]
    discard: Callable[[], None]
    task: background.BackgroundTask


def make_data_set(
    do: Callable[[Progress], tuple[Path, str]], discard: Callable[[], None] = lambda: None
) -> None:
    """Begin to make a data set.

    Args:
        do: Gives its folder and what to say about it; called again if the process for data ends.
        discard: Removes what there is then, if it shall not be done again.
    """
    st.session_state.pop("data.message", None)  # of the upload before
    st.session_state[PLACING] = _Placing(do, discard, background.start(do))
    st.rerun()


def wait() -> None:
    """Wait for the data set that is being made, then show it."""
    placing: _Placing = st.session_state[PLACING]
    task = placing.task
    if not wait_for(task, t("data.placing")):
        return
    if task.problem == data_process.ENDED:
        choice = offer_again(task.problem)
        if choice == "again":
            make_data_set(placing.do, placing.discard)
        if choice != "discard":
            return
        placing.discard()
    del st.session_state[PLACING]
    if task.problem:
        text = t("data.not_added", problem=message(task.problem))
        st.session_state["data.message"] = ("error", text)
    else:
        path, text = task.result
        show_new(workspace().name_of(path), f"{t('data.placed', name=path.name)} {text}")
    st.rerun()


def show_new(data: str | None, text: str) -> None:
    """Show a new data set and what came of it, with the fold closed that it came through."""
    if data is not None:
        look_again(data)  # another may have been at its place
    remember("data", data)
    st.session_state["adding.placed"] = st.session_state.get("adding.placed", 0) + 1
    st.session_state["data.message"] = ("success", text)
    st.rerun()


def show_message() -> None:
    """Show what came of the last thing that was done: what went well in passing, the rest stays."""
    state = st.session_state
    kind, text = state.get("data.message", ("", ""))
    if kind == "success":
        st.toast(text, icon=":material/check:")
        del state["data.message"]
    elif kind == "error":
        st.error(escape_markdown(text))


def show_report(data: str) -> None:
    """Show in a line what was left out of what was uploaded to a data set, until dismissed."""
    root = workspace().data_set(data)
    problems = open_report(root)
    if not problems:
        return
    first, *more = group_by_reason(problems)
    same = len({problem.reason for problem in first}) == 1
    reason = message(first[0].reason) if same else t(f"problem.{first[0].kind.replace(' ', '_')}")
    words = f"{reason} ({len(first)})" if len(first) > 1 else f"{first[0].name}: {reason}"
    with st.container(horizontal=True, vertical_alignment="center"):
        words = escape_markdown(shortened(words, 120))
        text = f"{t('data.left_out', count=len(problems))} · {words}"
        st.markdown(f":material/warning: {text}{' …' if more else ''}", width="content")
        st.button(
            t("data.see_left_out"), on_click=st.query_params.update, kwargs={"view": "tab_problems"}
        )
        st.button(
            "",
            key="data.dismiss",
            icon=":material/close:",
            help=t("data.dismiss"),
            type="tertiary",
            on_click=attempt,
            args=(dismiss_report, root),
        )


def show_left_out(left_out: Sequence[Problem]) -> None:
    """Show which files were left out, if any, by reason."""
    if not left_out:
        return
    with st.expander(t("data.left_out", count=len(left_out)), icon=":material/warning:"):
        show_groups(left_out)


def show_groups(problems: Sequence[Problem]) -> None:
    """Show problems by kind and reason, each group with its files."""
    for group in group_by_reason(problems):
        kind = t(f"problem.{group[0].kind.replace(' ', '_')}")
        same = len({problem.reason for problem in group}) == 1
        reason = f": {escape_markdown(message(group[0].reason))}" if same else ""
        st.markdown(f"**{len(group):,}** · {kind}{reason}")
        rows = [{t("data.file"): p.name, t("data.reason"): message(p.reason)} for p in group[:MOST]]
        columns = {t("data.reason"): None} if same else {}
        height = min(200, 38 + 35 * len(group))
        st.dataframe(rows, hide_index=True, height=height, column_config=columns)
        if len(group) > MOST:
            st.caption(f"… +{len(group) - MOST:,}")
