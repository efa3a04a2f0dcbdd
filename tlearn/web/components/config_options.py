"""Every option of the configuration, as a form, and the configuration that was entered."""

import json
from collections.abc import Mapping
from itertools import groupby
from typing import Any

import pandas as pd
import streamlit as st

from tlearn.config import RunConfig
from tlearn.config_schema import ConfigField, fields_of
from tlearn.settings import make_config, parse_yaml
from tlearn.web.words import t, texts

# Chosen elsewhere on the page; and no page runs a file of somebody.
APART = ("backbone", "preset", "callbacks", "train_step", "head.module")


def options() -> tuple[dict[str, Any], dict[str, Any]]:
    """Show the form; return what was entered, and a place for an error below, by dotted key."""
    values: dict[str, Any] = {}
    places: dict[str, Any] = {}
    fields = [field for field in fields_of() if field.key not in APART]
    tables = [field for field in fields if field.kind == "table"]
    simple = sorted((f for f in fields if f.kind != "table"), key=lambda f: f.section)
    for section, some in groupby(simple, lambda f: f.section):
        title = t(f"train.section_{section or 'general'}")
        st.markdown(f"**{title}**")
        with st.container(horizontal=True):
            for field in some:
                with st.container(width=200):
                    values[field.key], places[field.key] = _entry(field), st.empty()
    for field in tables:
        name, _ = texts().option(field.key, field.help)
        st.markdown(f"**{name}**")
        st.caption(t(f"train.{field.key}_hint"))
        values[field.key], places[field.key] = _table(field), st.empty()
    return values, places


def option_value(key: str) -> Any:
    """Return what an option has in the form, wherever it is asked for."""
    default = next(field.default for field in fields_of() if field.key == key)
    value = st.session_state.get(f"option.{key}")
    return default if value is None else value


def _entry(field: ConfigField) -> Any:
    name, help = texts().option(field.key, field.help)
    label = f"{name} :gray[{field.key.rpartition('.')[2]}]"
    key = f"option.{field.key}"
    common: Any = {"key": key, "help": help, "width": 200, "persist_state": "session"}
    if field.kind == "choice":
        index = field.choices.index(field.default)
        return st.selectbox(label, field.choices, index, **common)
    if field.kind == "bool":
        return st.checkbox(label, field.default, **common)
    if field.kind in ("int", "float"):
        if field.default is not None:  # a field with a value of its own could not be emptied
            st.session_state.setdefault(key, float(field.default))
        # Without bounds, and floats, which have none of their own: the field would keep what is
        # beyond them to itself, and show it all the same; the configuration says what is allowed.
        step = 1.0 if field.kind == "int" else 0.05
        return st.number_input(label, value=None, step=step, format="%g", **common)
    shown = "" if field.default in (None, "", []) else str(field.default)
    return st.text_input(label, max_chars=500, placeholder=shown or "—", **common)


def _table(field: ConfigField) -> list[dict[str, Any]]:
    """Show a table with a row per record; rows can be added and taken away."""
    configured: dict[str, Any] = {}
    for column in field.columns:
        name, help = texts().option(f"{field.key}.{column.key}", column.help)
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
    cells = edited.astype(object).where(edited.notna(), None)
    rows = [{str(k): value for k, value in row.items()} for row in cells.to_dict("records")]
    state[f"{key}.rows"] = rows
    return rows


def config_from(values: Mapping[str, Any]) -> RunConfig:
    """Return the configuration of entered values by dotted key, where they differ from defaults.

    Raises:
        ConfigError: If a value is not allowed.
    """
    settings = {}
    for field in fields_of():
        value = values.get(field.key)
        if field.kind == "table":
            value = [record for row in value or () if (record := _record(row))]
        if value not in (field.default, "", None, []):
            settings[field.key] = value if field.kind == "text" else json.dumps(_number(value))
    return make_config(None, settings)


def _record(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row of a table as a record, without empty cells; ``{...}`` is read as YAML."""
    cells = {key: _number(value) for key, value in row.items() if value not in (None, "")}
    return {
        key: parse_yaml(value, f"stages, {key}")
        if isinstance(value, str) and value.lstrip().startswith("{")
        else value
        for key, value in cells.items()
    }


def _number(value: Any) -> Any:
    """Return a whole number of the form, where all numbers are floats, as an integer."""
    return int(value) if isinstance(value, float) and value.is_integer() else value
