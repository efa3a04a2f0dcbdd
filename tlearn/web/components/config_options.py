"""Every option of the configuration, as a form, and the configuration that was entered."""

import json
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

import pandas as pd
import streamlit as st

from tlearn.config import RunConfig
from tlearn.config_schema import ConfigField, fields_of
from tlearn.settings import make_config, parse_yaml
from tlearn.web.words import t, texts

# Chosen elsewhere on the page; and no page runs a file of somebody, or connects to a cluster.
APART = ("backbone", "preset", "callbacks", "train_step", "head.module", "cluster", "workers")
OPEN = "train.more"  # in the session: the fold


def options() -> tuple[dict[str, Any], dict[str, Any]]:
    """Show the form in a fold, while it is open.

    Returns:
        What was entered, by dotted key, and where in the open form an error about it belongs.
    """
    places: dict[str, Any] = {}
    fields = [field for field in fields_of() if field.key not in APART]
    with st.expander(t("train.more"), icon=":material/tune:", key=OPEN, on_change="rerun") as fold:
        if fold.open:  # some fifty fields, which take a browser as long as the rest of the page
            st.caption(t("train.more_hint"))
            places = _form(fields)
    return {field.key: _entered(field) for field in fields}, places


def _form(fields: Sequence[ConfigField]) -> dict[str, Any]:
    """Show a field for each option; return a place for an error below it, by dotted key."""
    places: dict[str, Any] = {}
    tables = [field for field in fields if field.kind == "table"]
    simple = sorted((f for f in fields if f.kind != "table"), key=lambda f: f.section)
    for section, some in groupby(simple, lambda f: f.section):
        title = t(f"train.section_{section or 'general'}")
        st.markdown(f"**{title}**")
        with st.container(horizontal=True):
            for field in some:
                with st.container(width=200):
                    _field(field)
                    places[field.key] = st.empty()
    for field in tables:
        name, _ = texts().option(field.key, field.help)
        st.markdown(f"**{name}**")
        st.caption(t(f"train.{field.key}_hint"))
        _table(field)
        places[field.key] = st.empty()
    return places


def _entered(field: ConfigField) -> Any:
    """Return what was entered for an option, whether the form is shown or not."""
    if field.kind == "table":
        return st.session_state.get(f"table.{field.key}.rows", [])
    return st.session_state.get(f"option.{field.key}", field.default)


def option_value(key: str) -> Any:
    """Return what an option has in the form, wherever it is asked for."""
    default = next(field.default for field in fields_of() if field.key == key)
    value = st.session_state.get(f"option.{key}")
    return default if value is None else value


def _field(field: ConfigField) -> None:
    name, help = texts().option(field.key, field.help)
    label = f"{name} :gray[{field.key.rpartition('.')[2]}]"
    key = f"option.{field.key}"
    common: Any = {"key": key, "help": help, "width": 200, "persist_state": "session"}
    if field.kind == "choice":
        st.selectbox(label, field.choices, field.choices.index(field.default), **common)
    elif field.kind == "bool":
        st.checkbox(label, field.default, **common)
    elif field.kind in ("int", "float"):
        if field.default is not None:  # a field with a value of its own could not be emptied
            st.session_state.setdefault(key, float(field.default))
        # Without bounds, and floats, which have none of their own: the field would keep what is
        # beyond them to itself, and show it all the same; the configuration says what is allowed.
        step = 1.0 if field.kind == "int" else 0.05
        st.number_input(label, value=None, step=step, format="%g", **common)
    else:
        shown = "" if field.default in (None, "", []) else str(field.default)
        st.text_input(label, max_chars=500, placeholder=shown or "—", **common)


def _table(field: ConfigField) -> None:
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
    rows = cells.to_dict("records")
    state[f"{key}.rows"] = [{str(k): value for k, value in row.items()} for row in rows]


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
