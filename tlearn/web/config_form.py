"""A form for every option of a configuration, made from its schema so that it never lags behind."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import yaml
from pydantic import BaseModel

from tlearn.config import RunConfig
from tlearn.settings import make_config

Kind = Literal["choice", "bool", "int", "float", "text", "table"]


@dataclass(frozen=True)
class Field:
    """One option of a form.

    Attributes:
        key: Its dotted key, as ``--set`` takes it.
        kind: How it is entered; ``text`` is read as YAML, ``table`` has a row per record.
        default: Its default value.
        help: What it is, in words.
        choices: For ``choice``.
        least: The smallest number allowed, or ``None``.
        most: The largest number allowed, or ``None``.
        columns: For ``table``: the fields of a record.
    """

    key: str
    kind: Kind
    default: Any
    help: str
    choices: tuple[str, ...] = ()
    least: float | None = None
    most: float | None = None
    columns: tuple["Field", ...] = ()

    @property
    def section(self) -> str:
        """The section it stands in, empty for the top."""
        return self.key.rpartition(".")[0]


@cache  # a page asks for them several times whenever it is shown
def fields_of(model: type[BaseModel] = RunConfig) -> tuple[Field, ...]:
    """Return all options of a configuration, in order, those of its sections included."""
    schema = model.model_json_schema()
    return tuple(_fields(schema, schema.get("$defs", {}), "", _helps(model)))


def config_from(values: Mapping[str, Any]) -> RunConfig:
    """Return the configuration that a form asks for: what differs from the defaults.

    Args:
        values: By dotted key, what was entered.

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
            settings[field.key] = yaml.safe_dump(value).partition("\n")[0]
    return make_config(None, settings, options)


def _record(field: Field, row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row of a table as a record, without what was left empty."""
    kinds = {column.key: column.kind for column in field.columns}
    filled = {k: v for k, v in row.items() if v is not None and v != ""}
    return {k: yaml.safe_load(str(v)) if kinds[k] == "text" else v for k, v in filled.items()}


def _fields(
    schema: Mapping[str, Any], defs: Mapping[str, Any], above: str, helps: Mapping[str, str]
) -> Iterator[Field]:
    for name, entry in schema["properties"].items():
        key = f"{above}{name}"
        found = _resolved(entry, defs)
        if "properties" in found:
            yield from _fields(found, defs, f"{key}.", helps)
        else:
            yield _field(key, entry.get("default"), found, defs, helps)


def _field(
    key: str,
    default: Any,
    schema: Mapping[str, Any],
    defs: Mapping[str, Any],
    helps: Mapping[str, str],
) -> Field:
    said = helps.get(key, "")
    if "enum" in schema:
        return Field(key, "choice", default, said, tuple(map(str, schema["enum"])))
    items = _rows(schema, defs)
    if items:
        columns = tuple(
            _fields(items, defs, "", {k: helps.get(f"{key}.{k}", "") for k in items["properties"]})
        )
        return Field(key, "table", default, said, columns=columns)
    kinds: dict[str, Kind] = {"boolean": "bool", "integer": "int", "number": "float"}
    kind = kinds.get(schema.get("type", ""), "text")
    least = schema.get("minimum", schema.get("exclusiveMinimum"))
    most = schema.get("maximum", schema.get("exclusiveMaximum"))
    return Field(key, kind, default, said, least=least, most=most)


def _rows(schema: Mapping[str, Any], defs: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the schema of the records that a field is a list of, empty if it is no such list."""
    for one in schema.get("anyOf", [schema]):
        items = _resolved(one.get("items") or {}, defs) if one.get("type") == "array" else {}
        if "properties" in items:
            return items
    return {}


def _resolved(entry: Mapping[str, Any], defs: Mapping[str, Any]) -> Mapping[str, Any]:
    name = str(entry.get("$ref", "")).rpartition("/")[2]
    found: Mapping[str, Any] = defs[name] if name else entry
    return found


def _helps(model: type[BaseModel], above: str = "") -> dict[str, str]:
    """Return what the docstrings say of each option, by dotted key."""
    text = (model.__doc__ or "").partition("Attributes:\n")[2]
    found = {
        above + name: " ".join(words.replace("``", "`").split())
        for name, words in re.findall(r"^ {8}(\w+): (.*?)(?=^ {8}\w|\Z)", text, re.M | re.S)
    }
    for name, info in model.model_fields.items():
        for inner in _models(info.annotation):
            found |= _helps(inner, f"{above}{name}.")
    return found


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in getattr(annotation, "__args__", ()):
        yield from _models(inner)
