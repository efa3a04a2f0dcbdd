"""Waiting for work in the background without holding up the page."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import streamlit as st

from tlearn.data.edits import Edits
from tlearn.data.folders import folder_times, unchanged
from tlearn.data.scan import Manifest, scan
from tlearn.data.scan_cache import ScanCache
from tlearn.progress import Progress
from tlearn.web import background
from tlearn.web.components.session import workspace
from tlearn.web.words import message, plain, t

AT_ONCE = 0.4  # seconds that a page waits before it shows a bar
SOON = 0.1  # seconds that it waits for a scan where it can show what the one before found
RACY = 2 * 10**9  # nanoseconds within which two changes of a folder may look like one
KNOWN = ScanCache()
_scans: dict[Path, background.BackgroundTask] = {}  # by data folder, the scan begun last
_found: dict[Path, "_CachedManifest"] = {}  # and what was found last


@dataclass(frozen=True)
class _CachedManifest:
    manifest: Manifest
    times: Mapping[Path, int]  # when its folders were changed
    started: int  # when the scan began


def wait_for(task: background.BackgroundTask, label: str) -> bool:
    """Tell whether a task is over; show a bar while it is not."""
    if task.over.wait(AT_ONCE):
        return True

    @st.fragment(run_every=0.5)
    def bar() -> None:
        if task.over.is_set():
            st.rerun()
        counted = f" {task.done:,} / {task.total:,}" if task.total else ""
        st.progress(task.fraction, f"{label}{counted}")

    bar()
    return False


def manifest_of(name: str) -> Manifest | None:
    """Return what a scan finds in a data set; show how far it is, or why it finds nothing.

    On a visit it scans again if folders have changed; what has not is not read again. Meanwhile the
    visitor sees what the scan before found.
    """
    root = workspace().data_set(name)
    task, visit = _scans.get(root), st.session_state.get("visit")
    seen = st.session_state.setdefault("scanned", {})
    if (
        task is None
        or task.replaced
        or (seen.get(name) != visit and task.over.is_set() and not _fresh(task))
    ):
        task = _begin(root)
    seen[name] = visit
    if root in _found and not task.over.wait(SOON):
        _refresh(task)
        return _found[root].manifest
    if not wait_for(task, t("common.reading")):
        return None
    if task.replaced:  # another session has changed something meanwhile
        st.rerun()
    if task.problem:
        st.warning(plain(message(task.problem)))
        return None
    _found[root] = task.result
    return _found[root].manifest


def show_counts(manifest: Manifest) -> None:
    """Show how many photos and classes there are, and how many files need a look, if any do."""
    photos, problems = f"{len(manifest.files):,}", len(manifest.problems)
    words = [t("data.counts", photos=photos, classes=len(manifest.labels))]
    words += [t("data.need_look", count=f"{problems:,}")] if problems else []
    st.markdown(" · ".join(words))


@st.fragment(run_every=0.5)
def _refresh(going: background.BackgroundTask) -> None:
    """Show the page again when a scan is over."""
    if going.over.is_set():
        st.rerun()


def look_again(name: str) -> None:
    """Begin another scan of a data set, because something in it has changed."""
    root = workspace().data_set(name)
    _found.pop(root, None)
    _begin(root)


def _begin(root: Path) -> background.BackgroundTask:
    """Begin a scan; one that is running may have passed what has changed, and is ended."""

    def look(progress: Progress) -> _CachedManifest:
        started = time.time_ns()
        found = scan(root, progress=progress, cache=KNOWN)
        times = folder_times(root, (file.path for file in found.files))
        return _CachedManifest(found, times, started)

    task = _scans[root] = background.start(f"scan {root}", look, anew=True)
    return task


def _fresh(task: background.BackgroundTask) -> bool:
    """Tell whether nothing has come, gone or been edited since a scan, as far as folders tell."""
    last: _CachedManifest | None = task.result
    if last is None or max(last.times.values()) > last.started - RACY:
        return False
    return last.manifest.edits == Edits.of(last.manifest.root) and unchanged(last.times)
