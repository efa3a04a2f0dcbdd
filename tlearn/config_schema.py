"""Every key of the configuration with its help, default and bounds, from the schema.

The command line and the page make their options from these.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

from pydantic import BaseModel

from tlearn.config import RunConfig

Schema = Mapping[str, Any]
Kind = Literal["choice", "bool", "int", "float", "text", "table"]
KINDS: dict[str, Kind] = {"boolean": "bool", "integer": "int", "number": "float"}
BOUNDS = {"minimum": ">=", "exclusiveMinimum": ">", "maximum": "<=", "exclusiveMaximum": "<"}


@dataclass(frozen=True)
class ConfigField:
    """One key of a configuration.

    Attributes:
        key: Its dotted key, as ``--set`` takes it.
        kind: How it is entered; ``text`` is read as YAML, ``table`` has a row per record.
        default: Its default value; ``None`` where something else decides.
        help: What it is, in Markdown.
        bounds: The numbers allowed, as in ``>=0, <1``; empty if there are no bounds.
        choices: For ``choice``.
        columns: For ``table``: the fields of a record.
    """

    key: str
    kind: Kind
    default: Any
    help: str
    bounds: str = ""
    choices: tuple[str, ...] = ()
    columns: tuple["ConfigField", ...] = ()

    @property
    def section(self) -> str:
        """Its section, empty for the top."""
        return self.key.rpartition(".")[0]


@cache
def fields_of(model: type[BaseModel] = RunConfig) -> tuple[ConfigField, ...]:
    """Return all keys of a configuration, in order, those of its sections included."""
    schema = model.model_json_schema()
    return tuple(_fields(schema, schema.get("$defs", {}), ""))


def _fields(schema: Schema, defs: Schema, prefix: str) -> Iterator[ConfigField]:
    for name, entry in schema["properties"].items():
        section = _resolve(entry, defs)
        if "properties" in section:
            yield from _fields(section, defs, f"{prefix}{name}.")
        else:
            yield _field(f"{prefix}{name}", entry, defs)


def _field(key: str, entry: Schema, defs: Schema) -> ConfigField:
    default, words = entry.get("default"), " ".join(entry.get("description", "").split())
    if "enum" in entry:
        return ConfigField(key, "choice", default, words, choices=tuple(entry["enum"]))
    branches = [b for b in entry.get("anyOf", [entry]) if b.get("type") != "null"]
    for branch in branches:
        record = _resolve(branch.get("items", {}), defs)
        if "properties" in record:
            columns = tuple(_fields(record, defs, ""))
            return ConfigField(key, "table", default, words, columns=columns)
    kind = KINDS.get(branches[0].get("type", ""), "text") if len(branches) == 1 else "text"
    bounds = (
        f"{sign}{branches[0][name]:.10g}" for name, sign in BOUNDS.items() if name in branches[0]
    )
    return ConfigField(key, kind, default, words, ", ".join(bounds))


def _resolve(entry: Schema, defs: Schema) -> Schema:
    """Return the schema that a reference names; any other entry unchanged."""
    name = str(entry.get("$ref", "")).rpartition("/")[2]
    record: Schema = defs[name] if name else entry
    return record
