"""Waiting for work in the background without holding up the page."""

import streamlit as st

from tlearn.app import work
from tlearn.app.texts import Texts
from tlearn.data.known import Known
from tlearn.data.scan import Manifest, scan
from tlearn.progress import Progress

AT_ONCE = 0.4  # seconds that a page waits before it shows a bar
KNOWN = Known()


def wait_for(t: Texts, key: str, label: str) -> work.Work | None:
    """Return a piece of work that is over; show a bar and return ``None`` while it is not."""
    found = work.find(key)
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

    What has not changed since the last scan is not read again, so that it is done on every visit.
    """
    from tlearn.app.parts.here import places

    root = places().data_set(name)
    key, visit = f"scan {root}", st.session_state.get("visit")
    seen = st.session_state.setdefault("scanned", {})
    if work.find(key) is None or seen.get(name) != visit:
        seen[name] = visit
        look_again(name)
    found = wait_for(t, key, t("common.reading"))
    if found is None:
        return None
    if found.problem:
        st.warning(found.problem)
        return None
    result: Manifest = found.result
    return result


def look_again(name: str) -> None:
    """Begin another scan of a data set, because something in it has changed."""
    from tlearn.app.parts.here import places

    root = places().data_set(name)

    def look(progress: Progress) -> Manifest:
        return scan(root, progress=progress, known=KNOWN)

    work.start(f"scan {root}", look)
