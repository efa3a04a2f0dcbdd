"""What every page asks for: texts, places, what was chosen before, errors as sentences."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import streamlit as st

from tlearn.errors import TlearnError
from tlearn.web.words import escape_markdown, message, t
from tlearn.web.workspace import Workspace


def workspace() -> Workspace:
    """Return the folders of data sets and of runs that this server shows."""
    return Workspace.from_environment()


@contextmanager
def showing_errors() -> Iterator[None]:
    """Show an error that a user can mend, and go on with the page."""
    try:
        yield
    except (TlearnError, OSError) as error:
        st.error(escape_markdown(_sentence(error)))


def attempt(do: Callable[..., object], *arguments: Any) -> None:
    """Do something before the page is shown, as the callback of a button; an error is a toast.

    Its arguments are those of the button that was pressed, whatever the page shows by then.
    """
    try:
        do(*arguments)
    except (TlearnError, OSError) as error:
        st.toast(escape_markdown(_sentence(error)), icon=":material/error:", duration="long")


def _sentence(error: TlearnError | OSError) -> str:
    if isinstance(error, TlearnError):
        return message(str(error))
    where = f"{error.filename}: " if error.filename else ""
    return f"{where}{error.strerror or error}"


def recall(key: str, options: Sequence[str]) -> str | None:
    """Return what was chosen before, on another page or before the page was loaded again."""
    for found in (st.session_state.get(f"chosen.{key}"), st.query_params.get(key)):
        if found in options:
            return found
    return options[0] if len(options) == 1 else None


def remember(key: str, value: str | None) -> None:
    """Keep a choice for the other pages, and in the address for when it is loaded again."""
    st.session_state[f"chosen.{key}"] = value
    if value is None:
        st.query_params.pop(key, None)
    elif st.query_params.get(key) != value:
        st.query_params[key] = value


def page_button(page: str, label: str, primary: bool = False, **choices: str) -> None:
    """Show a button that opens another page, with choices made, such as ``run="insects"``.

    It is a link that looks like a button, because the browser follows it by itself. Where the
    server goes to a page, the browser still asks for moving parts of the one before, and what it
    then gets empties the new page.
    """
    key = "-".join(("go", "primary" if primary else "plain", page, *choices.values()))
    with st.container(key=key, width="content"):
        pages = st.session_state["pages"]
        st.page_link(pages[page], label=label, icon=pages[page].icon, query_params=choices)


def choose(
    label: str, key: str, options: Sequence[str], placeholder: str, first: str | None = None
) -> str | None:
    """Show a choice among names that outlives the page; ``first`` is chosen where none was."""
    asked = st.query_params.get(key)
    if asked and asked not in options and f"chosen.{key}" not in st.session_state:
        st.warning(t("common.not_there", name=escape_markdown(asked)))
    before = recall(key, options) or first
    index = list(options).index(before) if before is not None else None
    chosen = st.selectbox(label, options, index=index, placeholder=placeholder)
    st.session_state[f"chosen.{key}"] = chosen
    if asked or len(options) > 1:  # a change of the address is a step for the browser's Back
        remember(key, chosen)
    return chosen


def choose_data() -> str | None:
    """Show the choice of a data set, at first that which was changed last; return its name."""
    names = workspace().data_sets()
    last = recall("data", names) or max(names, key=workspace().changed, default=None)
    return choose(t("common.data"), "data", names, t("common.choose_data"), last)


def choose_view(page: str, names: Sequence[str]) -> str:
    """Show a choice among views of a page, which the address holds; the first is the default."""
    state, key, asked = st.session_state, f"{page}.view", st.query_params.get("view")
    state[key] = asked if asked in names else names[0]
    chosen = st.segmented_control(
        t(key),
        names,
        key=key,
        on_change=lambda: st.query_params.update(view=state[key]),
        required=True,
        label_visibility="collapsed",
        format_func=lambda name: t(f"{page}.{name}"),
    )
    return chosen or names[0]


def steps(current: str) -> None:
    """Say what the pages are for and which step this is, until the first run has a model."""
    if any(run.usable for run in workspace().run_store.runs()):
        return
    badges = [
        f":{'green' if name == current else 'gray'}-badge[{i} {t(f'common.step_{name}')}]"
        for i, name in enumerate(("data", "train", "predict"), 1)
    ]
    st.markdown(f"{t('common.purpose')}: {' '.join(badges)}")


def pages_of(key: str, count: int, size: int) -> range:
    """Show a pager where there is more than a page holds; return the indices of this page."""
    pages = -(-count // size)
    if st.session_state.get(key, 1) > pages:  # what was on the last page has gone
        st.session_state[key] = max(1, pages)
    page = st.pagination(pages, key=key, persist_state="session") if pages > 1 else 1
    return range((page - 1) * size, min(count, page * size))
