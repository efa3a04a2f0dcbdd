"""What a search may try: keys of the configuration with values, and what a choice of them means."""

import importlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from tlearn.backbones import load_registry
from tlearn.backbones.availability import backbones_with_weights, check_weights
from tlearn.config import AUGMENTATIONS, RunConfig
from tlearn.errors import ConfigError, one_line
from tlearn.settings import flow, make_config, parse_yaml, read_yaml
from tlearn.training.stages import with_preset

SpaceOfKeys = Mapping[str, Any]  # by key a list of values, or {min, max} and more
RANGE_KEYS = ("min", "max", "step", "sampling")
SAMPLINGS = ("linear", "log", "reverse_log")
STAGE_KEY = re.compile(r"stages\[(-?\d*)\]\.(\w+)")
# What decides how trials are compared, has no effect on it, or is a file of the user's.
FIXED = (
    "seed val test group strict metric tta callbacks from_run train_step tensorboard "
    "time_budget disk_budget activation_store cluster workers checkpoint.every checkpoint.keep "
    "checkpoint.weights_only"
).split()
DEPTHS = (2, 4, 6, 8)  # blocks
EXAMPLE = "head.dropout: [0, 0.2, 0.5], or head.dropout: {min: 0, max: 0.6, step: 0.1}"


def default_space(config: RunConfig) -> dict[str, Any]:
    """Return a space for small photo sets, without what a configuration already says.

    Every trial begins with the probe, which takes a second; then come the stages of ``balanced`` or
    ``best``, of which depth, rate, schedule and regularisation vary.
    """
    backbones = backbones_with_weights() if config.weights is None else []
    backbones = backbones if "backbone" not in config.model_fields_set else []
    names = backbones or [config.backbone]
    built = [load_registry().get(name) for name in names]
    least = min(len(backbone.blocks.boundaries) for backbone in built)
    space: dict[str, Any] = {
        "backbone": backbones,
        "preset": ["balanced", "best"],
        "views": [4, 8],
        "augment": [name for name in AUGMENTATIONS if name != "none"],
        "head.taps": ["multi", "top"],
        "head.dropout": {"min": 0.0, "max": 0.6, "step": 0.2},
        "stages[].unfreeze": ["none", *(depth for depth in DEPTHS if depth <= least)],
        "stages[].learning_rate": {"min": 3e-4, "max": 3e-3, "sampling": "log"},
        "stages[].schedule": ["cosine", "exponential"],
        "stages[].label_smoothing": [0.0, 0.1],
        "stages[].mixup": [0.0, 0.2],
    }
    given = {*config.model_fields_set} | {f"head.{key}" for key in config.head.model_fields_set}
    if given & {"stages", "preset"}:
        space.pop("preset")
    fixed = "stages" in given or not stages_of(config)
    return {
        key: values
        for key, values in space.items()
        if values and key not in given and not (fixed and STAGE_KEY.match(key))
    }


def read_space(file: Path) -> dict[str, Any]:
    """Read a space from a YAML file.

    Raises:
        ConfigError: If it cannot be read, or does not hold keys and values.
    """
    return read_yaml(file, "the space", EXAMPLE)


def as_yaml(space: SpaceOfKeys) -> dict[str, Any]:
    """Return a space with values as YAML has them, such as lists for tuples.

    Raises:
        ConfigError: If YAML has no such value.
    """
    try:
        return dict(parse_yaml(yaml.safe_dump(dict(space), sort_keys=False), "the space"))
    except yaml.YAMLError as error:
        raise ConfigError(
            f"the space takes numbers, texts, lists and mappings: {one_line(error)}"
        ) from None


def check_space(space: SpaceOfKeys, base: RunConfig) -> list[RunConfig]:
    """Refuse a space of which a part could not be tried.

    Returns:
        A full configuration with each value of a list, and both ends of each range.

    Raises:
        ConfigError: If a key is unknown or cannot be searched, or a value is not allowed.
        BackboneError: If the weights of a backbone cannot be had.
    """
    if not space:
        raise ConfigError(f"the space holds no keys to search; an example is {EXAMPLE}")
    configs = []
    for key, values in space.items():
        if key in FIXED:
            raise ConfigError(
                f"{key} cannot be searched, because it must be the same for all trials; leave it "
                f"out of the space, or give it with --set {key}=...",
                key,
            )
        if key.startswith("stages."):
            name = key.removeprefix("stages.")
            raise ConfigError(
                f"{key} is no key of the space; write stages[].{name} for all stages, or "
                f"stages[-1].{name} for the last one",
                key,
            )
        more = {"preset", "stages"} & space.keys()
        if STAGE_KEY.match(key) and not more and not stages_of(base):
            raise ConfigError(f"{key}: the training has no stages; give it some with preset", key)
        for value in _ends(key, values):
            config = with_values(base, {key: value})
            backbone, preset = load_registry().check(config)
            check_weights(backbone, config.weights)
            configs.append(with_preset(config, backbone, preset))
    return configs


def _ends(key: str, values: Any) -> Sequence[Any]:
    """Return the values of a list, or the least and the greatest of a range.

    Raises:
        ConfigError: If it is neither.
    """
    if isinstance(values, list) and values:
        return values
    allowed = f"a list of values or {{{', '.join(RANGE_KEYS)}}}"
    if not isinstance(values, dict) or not {"min", "max"} <= values.keys():
        raise ConfigError(
            f"{key} of the space takes {allowed}, where keys within sections have dots, as in "
            f"{EXAMPLE}. Received: {flow(values)}",
            key,
        )
    for name, value in values.items():
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if name not in RANGE_KEYS or not (number or value in SAMPLINGS):
            raise ConfigError(
                f"{key} of the space takes {allowed}: numbers, and sampling one of "
                f"{', '.join(SAMPLINGS)}. Received: {flow({name: value})}",
                key,
            )
    return [values["min"], values["max"]]


def keras_tuner() -> Any:
    """Return the module of KerasTuner, which imports Keras: quietly, before it does."""
    import tlearn.keras_import  # noqa: F401

    return importlib.import_module("keras_tuner")


def hyperparameters(space: SpaceOfKeys) -> Any:
    """Return a space as KerasTuner has it: ranges and numbers as such, other values as YAML texts.

    Raises:
        ConfigError: If KerasTuner refuses a range.
    """
    result = keras_tuner().HyperParameters()
    for key, values in space.items():
        try:
            if isinstance(values, list):
                result.Choice(key, _choices(values))
                continue
            whole = all(isinstance(values[name], int) for name in {*values} - {"sampling"})
            more = {name: values[name] for name in ("step", "sampling") if name in values}
            add = result.Int if whole else result.Float
            add(key, min_value=values["min"], max_value=values["max"], **more)
        except ValueError as error:
            raise ConfigError(
                f"{key} of the space: {str(error).rstrip('.')}. Received: {flow(values)}", key
            ) from None
    return result


def _choices(values: Sequence[Any]) -> list[Any]:
    kinds = {type(value) for value in values}
    if kinds <= {int, float}:
        return list(values) if kinds == {int} else list(map(float, values))
    return list(map(flow, values))


def values_of(space: SpaceOfKeys, proposed: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of a trial as the configuration has them; of fractions four digits."""
    values: dict[str, Any] = {}
    for key, allowed in space.items():
        value = proposed[key]
        if isinstance(allowed, list):
            values[key] = allowed[_choices(allowed).index(value)]
        elif isinstance(value, int):
            values[key] = value
        else:
            values[key] = min(max(float(f"{value:.4g}"), allowed["min"]), allowed["max"])
    return values


def with_values(base: RunConfig, values: Mapping[str, Any]) -> RunConfig:
    """Return a configuration with values by dotted keys.

    ``stages[0].epochs`` is of the first stage, ``stages[-1].epochs`` of the last one, and
    ``stages[].epochs`` of all; they are the stages of the preset, if there are no others.

    Raises:
        ConfigError: If a key is unknown, or a value is not allowed.
    """
    of_stages = {key: match for key in values if (match := STAGE_KEY.fullmatch(key))}
    others = {key: flow(value) for key, value in values.items() if key not in of_stages}
    config = make_config(base, others)
    if not of_stages:
        return config
    stages = stages_of(config)
    for key, match in of_stages.items():
        index, name = match.groups()
        if index and not -len(stages) <= int(index or 0) < len(stages):
            raise ConfigError(
                f"{key}: the training has {len(stages)} stages; give it more with stages or preset",
                key,
            )
        for stage in [stages[int(index)]] if index else stages:
            stage[name] = values[key]
    return make_config(config, options={"stages": stages})


def depths_of(space: SpaceOfKeys) -> list[int | str]:
    """Return what the stages of a space unfreeze, where it lists that."""
    depths = []
    for key, values in space.items():
        match = STAGE_KEY.fullmatch(key)
        if match and match[2] == "unfreeze" and isinstance(values, list):
            depths += values
    return depths


def with_share(config: RunConfig, share: float) -> RunConfig:
    """Return a configuration whose stages have a share of their epochs, one at least."""
    if share == 1:
        return config
    stages = stages_of(config)
    for stage in stages:
        stage["epochs"] = max(1, round(share * stage.get("epochs", 10)))
    return make_config(config, options={"stages": stages})


def stages_of(config: RunConfig) -> list[dict[str, Any]]:
    """Return the keys and values of the stages that a training would have."""
    full = with_preset(config, *load_registry().check(config))
    return [stage.model_dump(mode="json", exclude_unset=True) for stage in full.stages or ()]
