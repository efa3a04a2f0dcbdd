"""Every option of the configuration, as a form."""

from collections.abc import Callable
from itertools import groupby
from typing import Any

import pandas as pd
import streamlit as st

from tlearn.config_schema import ConfigField, fields_of
from tlearn.web.i18n import Texts

APART = ("backbone", "preset")  # chosen elsewhere on the page


def options(t: Texts) -> tuple[dict[str, Any], dict[str, Any]]:
    """Show the form; return what was entered, and a place for an error below, by dotted key."""
    values: dict[str, Any] = {}
    places: dict[str, Any] = {}
    fields = [field for field in fields_of() if field.key not in APART]
    tables = [field for field in fields if field.kind == "table"]
    plain = sorted((f for f in fields if f.kind != "table"), key=lambda f: f.section)
    for section, some in groupby(plain, lambda f: f.section):
        title = t(f"train.section_{section or 'general'}")
        st.markdown(f"**{title}**")
        with st.container(horizontal=True):
            for field in some:
                with st.container(width=200):
                    values[field.key], places[field.key] = _entry(t, field), st.empty()
    for field in tables:
        name, help = t.option(field.key, field.help)
        st.markdown(f"**{name}**")
        st.caption(help)
        values[field.key], places[field.key] = _table(t, field), st.empty()
    return values, places


def persistent(
    widget: Callable[..., Any], *arguments: Any, key: str, default: Any, **options: Any
) -> Any:
    """Show a widget whose value outlives the page; Streamlit forgets what is not shown."""
    values = st.session_state.setdefault("train.values", {})
    first = values.get(key, default)
    # Not by the session's state: a page that is run again at once would show the first choice.
    if widget is st.number_input:  # one that has a value of its own cannot be emptied
        st.session_state.setdefault(f"option.{key}", first)
        options["value"] = None
    elif widget in (st.radio, st.selectbox):
        options["index"] = list(arguments[-1]).index(first)
    else:
        options["value"] = first
    values[key] = widget(*arguments, key=f"option.{key}", **options)
    return values[key]


def option_value(key: str) -> Any:
    """Return what an option has in the form, wherever it is asked for."""
    default = next(field.default for field in fields_of() if field.key == key)
    value = st.session_state.get("train.values", {}).get(key)
    return default if value is None else value


def set_option(key: str, value: Any) -> None:
    """Put a value into the form, from another page."""
    st.session_state.setdefault("train.values", {})[key] = value
    st.session_state.pop(f"option.{key}", None)


def _entry(t: Texts, field: ConfigField) -> Any:
    name, help = t.option(field.key, field.help)
    label, key = f"{name} :gray[{field.key.rpartition('.')[2]}]", field.key
    if field.kind == "choice":
        return persistent(
            st.selectbox,
            label,
            field.choices,
            default=field.default,
            help=help,
            key=key,
            width=200,
        )
    if field.kind == "bool":
        return persistent(st.checkbox, label, default=field.default, help=help, key=key, width=200)
    if field.kind in ("int", "float"):
        # Without bounds, and floats, which have none of their own: the field would keep what is
        # beyond them to itself, and show it all the same; the configuration says what is allowed.
        return persistent(
            st.number_input,
            label,
            default=None if field.default is None else float(field.default),
            help=help,
            key=key,
            width=200,
            step=1.0 if field.kind == "int" else 0.05,
            format="%g",
        )
    shown = "" if field.default in (None, "", []) else str(field.default)
    return persistent(
        st.text_input,
        label,
        default="",
        help=help,
        key=key,
        width=200,
        placeholder=shown or "—",
        max_chars=500,
    )


def _table(t: Texts, field: ConfigField) -> list[dict[str, Any]]:
    """Show a table with a row per record; rows can be added and taken away."""
    configured: dict[str, Any] = {}
    for column in field.columns:
        name, help = t.option(f"{field.key}.{column.key}", column.help)
        if column.kind == "choice":
            made = st.column_config.SelectboxColumn(name, options=column.choices, help=help)
        elif column.kind in ("int", "float"):
            made = st.column_config.NumberColumn(name, help=help, format="%g")
        else:
            made = st.column_config.TextColumn(name, help=help)
        configured[column.key] = made
    kinds = {"int": "Float64", "float": "Float64"}  # "Int64" would fail on large numbers
    state, key = st.session_state, f"table.{field.key}"
    if key not in state:  # the page was just opened: begin with what was entered before
        state[f"{key}.first"] = state.get(f"{key}.rows", [])
    first = pd.DataFrame(state[f"{key}.first"], columns=[c.key for c in field.columns])
    edited = st.data_editor(
        first.astype({c.key: kinds.get(c.kind, "string") for c in field.columns}),
        num_rows="dynamic",
        column_config=configured,
        key=key,
        hide_index=True,
    )
    found = edited.astype(object).where(edited.notna(), None)
    rows = [{str(k): value for k, value in row.items()} for row in found.to_dict("records")]
    state[f"{key}.rows"] = rows
    return rows
