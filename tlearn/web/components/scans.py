"""Waiting for work in the background without holding up the page."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import streamlit as st

from tlearn.data.folders import folder_times, unchanged
from tlearn.data.scan import Manifest, scan
from tlearn.data.scan_cache import ScanCache
from tlearn.progress import Progress
from tlearn.web import background
from tlearn.web.components.session import plain, workspace
from tlearn.web.i18n import Texts

AT_ONCE = 0.4  # seconds that a page waits before it shows a bar
SOON = 0.1  # seconds that it waits for a scan where it can show what the one before found
RACY = 2 * 10**9  # nanoseconds within which two changes of a folder may look like one
KNOWN = ScanCache()
_found: dict[Path, "_CachedManifest"] = {}  # by data folder, what was found last
_newest: dict[Path, int] = {}  # and how many scans were begun


@dataclass(frozen=True)
class _CachedManifest:
    manifest: Manifest
    times: Mapping[Path, int]  # when its folders were changed
    started: int  # when the scan began


def wait_for(t: Texts, key: str, label: str) -> background.BackgroundTask | None:
    """Return a piece of work that is over; show a bar and return ``None`` while it is not."""
    found = background.find(key)
    if found is None or found.over.wait(AT_ONCE):
        return found

    @st.fragment(run_every=0.5)
    def bar() -> None:
        if found.over.is_set():
            st.rerun()
        counted = f" {found.done:,} / {found.total:,}" if found.total else ""
        st.progress(found.fraction, f"{label}{counted}")

    bar()
    return None


def manifest_of(t: Texts, name: str) -> Manifest | None:
    """Return what a scan finds in a data set; show how far it is, or why it finds nothing.

    On a visit it scans again if folders have changed; what has not is not read again. Meanwhile the
    visitor sees what the scan before found.
    """
    root = workspace().data_set(name)
    key, visit = f"scan {root}", st.session_state.get("visit")
    seen = st.session_state.setdefault("scanned", {})
    if background.find(key) is None or (seen.get(name) != visit and not _fresh(root)):
        _begin(root)
    seen[name] = visit
    going = background.find(key)
    if root in _found and going is not None and not going.over.wait(SOON):
        _refresh(going)
        return _found[root].manifest
    done = wait_for(t, key, t("common.reading"))
    if done is None:
        return None
    if done.problem:
        st.warning(plain(done.problem))
        return None
    result: Manifest = done.result
    return result


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


def _begin(root: Path) -> None:
    """Begin a scan; one that goes on may have passed what has changed, and counts no more."""
    number = _newest[root] = _newest.get(root, 0) + 1

    def look(progress: Progress) -> Manifest:
        started = time.time_ns()
        found = scan(root, progress=progress, cache=KNOWN)
        if number == _newest[root]:
            times = folder_times(root, (file.path for file in found.files))
            _found[root] = _CachedManifest(found, times, started)
        return found

    background.start(f"scan {root}", look, anew=True)


def _fresh(root: Path) -> bool:
    """Tell whether no file has come or gone since the last scan, as far as the folders tell."""
    last = _found.get(root)
    if last is None or max(last.times.values()) > last.started - RACY:
        return False
    return unchanged(last.times)
