"""How a configuration is read: from YAML files, ``--set``, ``--stages`` and options."""

import re
import shlex
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from tlearn.config import Augmentation, Head, RunConfig, Stage
from tlearn.errors import ConfigError, nearest


def make_config(
    base: str | Path | RunConfig | None = None,
    settings: Mapping[str, str] | None = None,
    options: Mapping[str, Any] | None = None,
) -> RunConfig:
    """Build the configuration; what comes later wins: ``base``, ``settings``, ``options``.

    Args:
        base: A YAML file, or a configuration.
        settings: Dotted keys to YAML values, as in ``{"head.dropout": "0.1"}``.
        options: Keys to values; ``None`` means not given. ``stages`` may be written short.

    Raises:
        ConfigError: If a key is unknown or a value is not allowed.
    """
    if isinstance(base, RunConfig):
        values = base.model_dump(exclude_unset=True)
    else:
        values = _read_yaml(Path(base)) if base else {}
    for key, text in (settings or {}).items():
        _put(values, key, _parse(text, f"--set {key}={text}"))
    for key, value in (options or {}).items():
        if value is not None:
            short = key == "stages" and isinstance(value, str)
            values[key] = parse_stages(value) if short else value
    try:
        config = RunConfig.model_validate(values)
    except ValidationError as error:
        raise ConfigError(_explain(error)) from None
    if config.val + config.test >= 1:
        raise ConfigError(
            f"val and test leave nothing to train on: {config.val:g} + {config.test:g}; their sum "
            f"must be under 1"
        )
    return config


def parse_stages(text: str) -> list[dict[str, Any]]:
    """Parse ``--stages``: ``UNFREEZE[:EPOCHS][@RATE]``, separated by commas, or a YAML list.

    ``3:8@1e-4,all@1e-5`` unfreezes the top 3 blocks for 8 epochs at 1e-4, then everything at 1e-5;
    ``none`` alone stands for no stage after the probe.

    Raises:
        ConfigError: If it is neither.
    """
    if text.strip().lower() == "none":
        return []
    if text.lstrip().startswith("["):
        stages = _parse(text, "--stages")
        if not all(isinstance(stage, dict) for stage in stages):
            raise ConfigError(
                f"--stages is a list of mappings such as [{{unfreeze: 3, epochs: 8}}]. "
                f"Received: {text}"
            )
        return list(stages)
    return [_short_stage(part.strip(), text) for part in text.split(",")]


# Fields of the configuration that have an option of their own.
OPTIONS = (
    "backbone weights size resize views seed val test group strict preset engine precision "
    "time_budget disk_budget"
).split()


def to_yaml(config: RunConfig) -> str:
    """Return what was asked for as a file for ``--config``; what is left to the defaults is not."""
    values = config.model_dump(mode="json", exclude_unset=True)
    return yaml.safe_dump(values, sort_keys=False, allow_unicode=True) if values else "{}\n"


def to_command(config: RunConfig, data: str | Path, out: str | Path | None = None) -> str:
    """Return the ``tlearn finetune`` command that asks for the same, as a shell takes it."""
    words = ["tlearn", "finetune", str(data)]
    for key, value in config.model_dump(mode="json", exclude_unset=True).items():
        if value is None:
            continue
        if key == "strict":
            words += ["--strict"] if value else []
        elif key in OPTIONS:
            words += [f"--{key.replace('_', '-')}", str(value)]
        elif isinstance(value, dict):
            words += [w for k, v in value.items() for w in ("--set", f"{key}.{k}={_flow(v)}")]
        else:
            words += ["--set", f"{key}={_flow(value)}"]
    return shlex.join([*words, *(["--out", str(out)] if out else [])])


def _flow(value: Any) -> str:
    """Return a value as YAML on one line."""
    text = yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=10**6)
    return text.removesuffix("\n").removesuffix("\n...")


_SHORT_STAGE = re.compile(
    r"([^\s:@]+)(?::([0-9]+))?(?:@((?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?))?"
)


def _short_stage(part: str, text: str) -> dict[str, Any]:
    match = _SHORT_STAGE.fullmatch(part)
    if match is None:
        raise ConfigError(
            f"--stages takes UNFREEZE[:EPOCHS][@RATE], separated by commas, as in '3:8@1e-4,all'. "
            f"Received: {text!r}"
        )
    what, epochs, rate = match.groups()
    stage: dict[str, Any] = {"unfreeze": int(what) if what.isdecimal() else what}
    if epochs:
        stage["epochs"] = int(epochs)
    if rate:
        stage["learning_rate"] = float(rate)
    return stage


def _read_yaml(file: Path) -> dict[str, Any]:
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ConfigError(
            f"the configuration {str(file)!r} cannot be read: {reason}; give a YAML file"
        ) from None
    values = _parse(text, str(file))
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise ConfigError(
            f"{file} must hold keys and values such as 'backbone: vgg19'. "
            f"Received: a {type(values).__name__}"
        )
    # A run's own run.yaml is a configuration too: what it records beside that is not read.
    recorded = values.get("config")
    mixed = RunConfig.model_fields.keys() & values.keys()
    return recorded if isinstance(recorded, dict) and not mixed else values


class _Loader(yaml.SafeLoader):
    """YAML as people write it: ``1e-4`` is a number and no key stands twice, as in YAML 1.2."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[Any] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in seen:
                raise yaml.constructor.ConstructorError(
                    problem=f"the key {key.value!r} stands twice", problem_mark=key.start_mark
                )
            seen.add(key.value if isinstance(key, yaml.ScalarNode) else None)
        return super().construct_mapping(node, deep)

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except ValueError as error:  # of what looks like a date or a number and is none
            raise yaml.constructor.ConstructorError(
                problem=str(error), problem_mark=node.start_mark
            ) from None


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"),
    list("-+0123456789"),
)


def _parse(text: str, where: str) -> Any:
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
            raise ConfigError(f"--set {key}: {part!r} is not a section; it is {inner!r}")
        values = inner
    values[last] = value


def _explain(error: ValidationError) -> str:
    """Say the first thing that is wrong in one line, and how many more there are."""
    unknown = ("extra_forbidden", "invalid_key")
    # A misspelt key first: where one is missing, that is why.
    details = sorted(error.errors(include_url=False), key=lambda d: d["type"] not in unknown)
    first = details[0]
    place = _place(first)
    if first["type"] in unknown:
        known = _known_keys(first["loc"][:-1])
        hint = nearest(str(first["loc"][-1]), known)
        message = f"unknown configuration key {place!r}{hint}; known are {', '.join(known)}"
    else:
        # A value that may be one of several kinds has a reason for each of them.
        reasons = dict.fromkeys(_reason(detail) for detail in details if _place(detail) == place)
        message = f"{place}: {' or '.join(reasons)}. Received: {first['input']!r}"
    more = len({_place(detail) for detail in details}) - 1
    return message + (f" (and {more} more)" if more else "")


def _place(detail: ErrorDetails) -> str:
    """Return the dotted key, without the names pydantic gives to the branches of a union."""
    parts = [str(part) for part in detail["loc"] if part != "[key]"]
    branch = parts[-1] in ("int", "str", "constrained-int") or parts[-1].startswith("literal[")
    return ".".join(parts[:-1] if branch and detail["type"] != "extra_forbidden" else parts)


def _reason(detail: ErrorDetails) -> str:
    plain = {"model_type": "must hold keys and values", "tuple_type": "must be a list"}
    reason = detail["msg"].removeprefix("Value error, ").replace("Input should be", "must be", 1)
    return plain.get(detail["type"], reason[:1].lower() + reason[1:])


def _known_keys(place: tuple[int | str, ...]) -> list[str]:
    sections: dict[str, type[BaseModel]] = {"head": Head, "augment": Augmentation, "stages": Stage}
    model = sections.get(str(place[0]), RunConfig) if place else RunConfig
    return sorted(model.model_fields)
