"""The configuration that was entered into the form of all options."""

from collections.abc import Mapping
from typing import Any

import yaml

from tlearn.config import RunConfig
from tlearn.config_schema import ConfigField, fields_of
from tlearn.settings import make_config


def config_from(values: Mapping[str, Any]) -> RunConfig:
    """Return the configuration of entered values by dotted key, where they differ from defaults.

    Raises:
        ConfigError: If a value is not allowed.
    """
    settings, options = {}, {}
    for field in fields_of():
        if field.key not in values or values[field.key] in (field.default, "", None):
            continue
        value = values[field.key]
        if field.kind == "text":
            settings[field.key] = str(value)
        elif field.kind == "table":
            records = [record for row in value if (record := _record(field, row))]
            if records:
                options[field.key] = records
        else:
            settings[field.key] = yaml.safe_dump(_number(value)).partition("\n")[0]
    return make_config(None, settings, options)


def _record(field: ConfigField, row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row of a table as a record, without empty cells."""
    kinds = {column.key: column.kind for column in field.columns}
    filled = {k: v for k, v in row.items() if v is not None and v != ""}
    return {
        k: yaml.safe_load(str(v)) if kinds[k] == "text" else _number(v) for k, v in filled.items()
    }


def _number(value: Any) -> Any:
    """Return a whole number of the form, where all numbers are floats, as an integer."""
    return int(value) if isinstance(value, float) and value.is_integer() else value
