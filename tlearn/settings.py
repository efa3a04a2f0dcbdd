"""Reads and writes configurations: YAML files, ``--set``, options, a command."""

import re
import shlex
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from tlearn.config import Augmentation, Head, ModelCheckpoints, RunConfig, Stage
from tlearn.errors import ConfigError, nearest
from tlearn.python_files import with_copies

SECTIONS: dict[str, type[BaseModel]] = {
    "head": Head,
    "augment": Augmentation,
    "checkpoint": ModelCheckpoints,
    "stages": Stage,
}

WORDS = {  # pydantic's, shorter
    "Input should be": "must be",
    "greater than or equal to": "at least",
    "less than or equal to": "at most",
}


def make_config(
    base: str | Path | RunConfig | None = None,
    settings: Mapping[str, str] | None = None,
    options: Mapping[str, Any] | None = None,
) -> RunConfig:
    """Build the configuration; what comes later wins: ``base``, ``settings``, ``options``.

    Args:
        base: A YAML file, or a configuration.
        settings: Dotted keys to YAML values, as in ``{"head.dropout": "0.1"}``.
        options: Keys to values; ``None`` means not given.

    Raises:
        ConfigError: If a key is unknown or a value is not allowed; its ``key`` says which.
    """
    if isinstance(base, RunConfig):
        values = base.model_dump(exclude_unset=True)
    else:
        values = _read_config(Path(base)) if base else {}
    for key, text in (settings or {}).items():
        _put(values, key, parse_yaml(text, f"--set {key}={text}"))
    for key, value in (options or {}).items():
        if value is not None:
            values[key] = str(value) if isinstance(value, Path) else value
    try:
        return RunConfig.model_validate(values)
    except ValidationError as error:
        raise _config_error(error) from None


def to_yaml(config: RunConfig) -> str:
    """Return what was given, without the defaults, as a file for ``--config``."""
    values = config.model_dump(mode="json", exclude_unset=True)
    return yaml.safe_dump(values, sort_keys=False, allow_unicode=True) if values else "{}\n"


def to_command(
    config: RunConfig, data: str | Path, out: str | Path | None = None, more: Sequence[str] = ()
) -> str:
    """Return the same as a ``tlearn finetune`` command for a shell, with ``more`` at its end."""
    words = ["tlearn", "finetune", str(data)]
    for key, value in config.model_dump(mode="json", exclude_unset=True).items():
        if isinstance(value, dict):
            for name, inner in value.items():
                words += ["--set", f"{key}.{name}={flow(inner)}"]
        elif isinstance(value, list):
            words += ["--set", f"{key}={flow(value)}"]
        elif isinstance(value, bool):
            words += [f"--{key.replace('_', '-')}"] if value else []
        elif value is not None:
            words += [f"--{key.replace('_', '-')}", str(value)]
    return shlex.join([*words, *(["--out", str(out)] if out else []), *more])


def flow(value: Any) -> str:
    """Return a value as YAML on one line."""
    text = yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=10**6)
    return text.removesuffix("\n").removesuffix("\n...")


def read_yaml(
    file: Path, what: str = "the configuration", example: str = "backbone: vgg19"
) -> dict[str, Any]:
    """Read keys and values from a YAML file.

    Args:
        file: The file.
        what: What it is, for errors.
        example: One of its lines.

    Raises:
        ConfigError: If it cannot be read, or holds something else.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ConfigError(
            f"{what} {str(file)!r} cannot be read: {reason}; give a YAML file"
        ) from None
    values = parse_yaml(text, str(file))
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise ConfigError(
            f"{file} must hold keys and values such as '{example}'. "
            f"Received: a {type(values).__name__}"
        )
    return values


def _read_config(file: Path) -> dict[str, Any]:
    values = read_yaml(file)
    # A run's own run.yaml is a configuration too; its other records are not read.
    recorded = values.get("config")
    mixed = RunConfig.model_fields.keys() & values.keys()
    if isinstance(recorded, dict) and not mixed:
        return with_copies(recorded, file.parent)
    return values


class _Loader(yaml.SafeLoader):
    """YAML as people write it: numbers as in YAML 1.2, no dates, and no key twice.

    YAML 1.1 reads ``1e-4`` as text and ``3:8`` as 188. Yes and no stay truth values.
    """

    yaml_implicit_resolvers = {  # noqa: RUF012 (as PyYAML has it)
        letter: [(tag, pattern) for tag, pattern in pairs if tag.split(":")[-1] in ("bool", "null")]
        for letter, pairs in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[Any] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in seen:
                raise yaml.constructor.ConstructorError(
                    problem=f"the key {key.value!r} is given twice", problem_mark=key.start_mark
                )
            seen.add(key.value if isinstance(key, yaml.ScalarNode) else None)
        return super().construct_mapping(node, deep)


for _kind, _form in {
    "int": r"[-+]?(0|[1-9][0-9]*)$",
    "float": r"[-+]?(\.[0-9]+|[0-9]+\.[0-9]*|[0-9]+(?=[eE]))([eE][-+]?[0-9]+)?$|[-+]?\.inf$|\.nan$",
}.items():
    _Loader.add_implicit_resolver(
        f"tag:yaml.org,2002:{_kind}", re.compile(_form), list("-+.0123456789")
    )


def parse_yaml(text: str, where: str) -> Any:
    """Read YAML as people write it.

    Raises:
        ConfigError: If it is none; the message says ``where``.
    """
    try:
        return yaml.load(text, _Loader)
    except (yaml.YAMLError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        place = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        if isinstance(error, yaml.reader.ReaderError):
            place = f", line {text.count(chr(10), 0, error.position) + 1}"
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise ConfigError(f"broken YAML in {where}{place}: {problem}") from None


def _put(values: dict[str, Any], key: str, value: Any) -> None:
    *path, last = key.split(".")
    for part in path:
        inner = values.setdefault(part, {})
        if not isinstance(inner, dict):
            raise ConfigError(f"--set {key}: {part!r} is not a section; it is {inner!r}", key)
        values = inner
    values[last] = value


def _config_error(error: ValidationError) -> ConfigError:
    """Return the first error in one line, and how many more there are."""
    unknown = ("extra_forbidden", "invalid_key")
    # A misspelt key first: where one is missing, that is why.
    details = sorted(error.errors(include_url=False), key=lambda d: d["type"] not in unknown)
    first = details[0]
    place = _place(first)
    if first["type"] in unknown:
        section = str(first["loc"][0]) if len(first["loc"]) > 1 else ""
        known = sorted(SECTIONS.get(section, RunConfig).model_fields)
        hint = nearest(str(first["loc"][-1]), known)
        message = f"unknown configuration key {place!r}{hint}; known are {', '.join(known)}"
    else:
        # A value that may be one of several kinds has a reason for each of them.
        reasons = dict.fromkeys(_reason(detail) for detail in details if _place(detail) == place)
        message = " or ".join(reasons)
        if place:  # else it is about several keys, and names them
            message = f"{place}: {message}. Received: {first['input']!r}"
    more = len({_place(detail) for detail in details}) - 1
    return ConfigError(message + (f" (and {more} more)" if more else ""), place)


def _place(detail: ErrorDetails) -> str:
    """Return the dotted key, without the names pydantic gives to the branches of a union."""
    parts = [str(part) for part in detail["loc"] if part != "[key]"]
    last = parts[-1] if parts else ""
    branch = last in ("int", "str", "constrained-int") or last.startswith("literal[")
    return ".".join(parts[:-1] if branch and detail["type"] != "extra_forbidden" else parts)


def _reason(detail: ErrorDetails) -> str:
    plain = {
        "model_type": "must hold keys and values",
        "tuple_type": "must be a list in square brackets",
        **dict.fromkeys(("int_type", "int_parsing", "int_from_float"), "must be a whole number"),
        **dict.fromkeys(("float_type", "float_parsing"), "must be a number"),
    }
    reason = plain.get(detail["type"], detail["msg"].removeprefix("Value error, "))
    for long, short in WORDS.items():
        reason = reason.replace(long, short)
    return reason[:1].lower() + reason[1:]
