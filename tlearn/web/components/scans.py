"""Waiting for work in the background without holding up the page."""

import re
from pathlib import Path
from typing import Literal, cast

import streamlit as st

from tlearn.data.scan import Manifest
from tlearn.progress import Progress, format_bytes
from tlearn.web import background, data_process
from tlearn.web.components.session import workspace
from tlearn.web.data_work import MOST, look
from tlearn.web.words import escape_markdown, message, t, texts

AT_ONCE = 0.4  # seconds that a page waits before it shows a bar
SOON = 0.1  # seconds that it waits for a scan where it can show what the one before found
# By data folder, the scan begun last, and what was found last, with its token.
_scans = background.Recent[Path, background.BackgroundTask](MOST)
_manifests = background.Recent[Path, tuple[str, Manifest]](MOST)


def wait_for(task: background.BackgroundTask, label: str) -> bool:
    """Tell whether a task is over; show a bar while it is not."""
    if task.over.wait(AT_ONCE):
        return True

    @st.fragment(run_every=0.5)
    def bar() -> None:
        if task.over.is_set():
            st.rerun()
        parts = label, texts().words.get(f"step.{re.sub(r'[^a-z]', '_', task.title)}", "")
        st.progress(task.fraction, f"{' · '.join(filter(None, parts))} {_counted(task)}".strip())

    bar()
    return False


def is_over(task: background.BackgroundTask, shown: object = None) -> bool:
    """Tell whether a task is over; show the page again when it is, and what there is meanwhile.

    Args:
        task: The task.
        shown: The result that is shown meanwhile; where it stays the same, so does the page.
    """
    if task.over.wait(SOON):
        return True
    _refresh(task, shown)
    return False


def offer_again(problem: str) -> Literal["again", "discard"] | None:
    """Say that the work on an upload was ended, offer to do it again; return what was chosen."""
    st.error(escape_markdown(message(problem)))
    with st.container(horizontal=True):
        if st.button(t("common.try_again"), type="primary", icon=":material/refresh:"):
            return "again"
        if st.button(t("data.discard"), icon=":material/delete:"):
            return "discard"
    return None


def _counted(task: background.BackgroundTask) -> str:
    if not task.total:
        return ""
    if task.unit == "kB":
        return f"{format_bytes(1000 * task.done)} / {format_bytes(1000 * task.total)}"
    return f"{task.done:,} / {task.total:,}"


def manifest_of(name: str, without_photos: bool = False) -> Manifest | None:
    """Return what a scan finds in a data set; show how far it is, or why it finds nothing.

    It scans again on every visit, but reads only files that have changed. Meanwhile the visitor
    sees what the scan before found.

    Args:
        name: The data set.
        without_photos: Whether classes that are all empty can be shown.
    """
    manifest = _scanned(name)
    if manifest is not None and not manifest.files and not without_photos:
        st.warning(t("data.no_photos_yet"))
        return None
    return manifest


def _scanned(name: str) -> Manifest | None:
    root = workspace().data_set(name)
    task, visit = _scans.get(root), st.session_state.get("visit")
    seen = st.session_state.setdefault("scanned", {})
    if task is None or task.replaced or (seen.get(name) != visit and task.over.is_set()):
        task = _begin(root)
    seen[name] = visit
    if root in _manifests and not is_over(task, _manifests[root]):
        return _manifests[root][1]
    if not wait_for(task, t("common.reading")):
        return None
    if task.replaced:  # another session has changed something meanwhile
        st.rerun()
    if task.problem:
        st.warning(escape_markdown(message(task.problem)))
        return None
    _manifests[root] = task.result
    return _manifests[root][1]


def show_counts(manifest: Manifest) -> None:
    """Show how many photos and classes there are, and how many files need a look, if any do.

    Classes without photos count as classes; nothing about them needs a look.
    """
    classes = {*manifest.labels, *manifest.empty}
    problems = sum(problem.kind != "empty class" for problem in manifest.problems)
    words = [t("data.counts", photos=f"{len(manifest.files):,}", classes=len(classes))]
    words += [t("data.need_look", count=f"{problems:,}")] if problems else []
    st.markdown(" · ".join(words))


@st.fragment(run_every=0.5)
def _refresh(going: background.BackgroundTask, shown: object) -> None:
    """Show the page again when a task has ended with something else."""
    if going.over.is_set() and (going.problem or going.result != shown):
        st.rerun()


def look_again(name: str) -> None:
    """Begin another scan of a data set, because another one may be at its place."""
    root = workspace().data_set(name)
    _manifests.pop(root, None)
    _begin(root)


def look_after_edit(name: str, listed: bool) -> None:
    """Begin another scan of a data set, which shows as it was until that is over.

    Args:
        name: The data set.
        listed: Whether its files are still the same, so that only its edits are read again.
    """
    root = workspace().data_set(name)
    before = _scans.get(root)
    whole = before is not None and before.over.is_set() and not before.problem
    _begin(root, edited=listed and whole).over.wait(AT_ONCE)


def _begin(root: Path, edited: bool = False) -> background.BackgroundTask:
    """Begin a scan; one that is running may have passed what has changed, and is ended."""

    def find(progress: Progress) -> tuple[str, Manifest]:
        known, manifest = _manifests.get(root, ("", None))
        token, new = data_process.run(progress, look, root, known, edited)
        if manifest is None or isinstance(new, Manifest):
            return token, cast(Manifest, new)
        return token, new.apply(manifest) if new else manifest

    if root in _scans:
        _scans[root].replaced = True
    _scans[root] = background.start(find)
    return _scans[root]
