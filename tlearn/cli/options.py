"""The options that commands share."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click


def _settings(
    ctx: click.Context, parameter: click.Parameter, values: tuple[str, ...]
) -> dict[str, str]:
    for value in values:
        if value.find("=") < 1:
            raise click.UsageError(f"--set takes KEY=VALUE, as in head.dropout=0.1, not {value!r}")
    return dict(value.split("=", 1) for value in values)


def _views(ctx: click.Context, parameter: click.Parameter, value: str | None) -> int | str | None:
    if value is None or value == "fresh":
        return value
    if not value.isdecimal() or int(value) < 1:
        raise click.UsageError(f"--views takes a number from 1 up, or 'fresh', not {value!r}")
    return int(value)


def _names(ctx: click.Context, parameter: click.Parameter, value: str | None) -> tuple[str, ...]:
    return tuple(name.strip() for name in (value or "").split(",") if name.strip())


OPTIONS: dict[str, dict[str, Any]] = {
    "--out": {
        "type": click.Path(path_type=Path),
        "metavar": "RUN",
        "help": "The run directory to make [runs/NAME].",
    },
    "--backbone": {"metavar": "NAME", "help": "See 'tlearn backbones' [mobilenet_v2]."},
    "--backbones": {
        "metavar": "NAME,...",
        "callback": _names,
        "help": "Those to compare [all that are installed].",
    },
    "--weights": {
        "metavar": "NAME|none|FILE",
        "help": "Weights the backbone starts from [its first].",
    },
    "--size": {"type": int, "metavar": "PX", "help": "Side of the square input [the backbone's]."},
    "--resize": {
        "type": click.Choice(["crop", "squash", "pad"]),
        "help": "How images become square [squash].",
    },
    "--views": {
        "callback": _views,
        "metavar": "K|fresh",
        "help": "Renderings kept per training image [by preset].",
    },
    "--seed": {"type": int, "help": "Decides splits and everything random [0]."},
    "--val": {"type": float, "metavar": "PART", "help": "Part of the images for validation [0.2]."},
    "--test": {"type": float, "metavar": "PART", "help": "Part held back for the very end [0]."},
    "--group": {"metavar": "REGEX", "help": "Files whose names match alike stay on one side."},
    "--preset": {"metavar": "NAME", "help": "How long to train [balanced]."},
    "--stages": {
        "metavar": "WHAT[:EPOCHS][@RATE],...",
        "help": "Stages after the probe: blocks, a layer name, all, or none.",
    },
    "--time-budget": {"metavar": "5m", "help": "Fit what is done into so much time."},
    "--disk-budget": {
        "metavar": "10G",
        "help": "What kept activations may take [a fifth of what is free].",
    },
    "--strict": {"is_flag": True, "default": None, "help": "Make unreadable images an error."},
    "--config": {
        "type": click.Path(path_type=Path),
        "metavar": "FILE.yaml",
        "help": "Configuration; options win over it.",
    },
    "--set": {
        "multiple": True,
        "callback": _settings,
        "metavar": "KEY=VALUE",
        "help": "Any configuration key, as in head.dropout=0.1.",
    },
    "--engine": {
        "type": click.Choice(["auto", "tensorflow", "openvino"]),
        "help": "What computes the frozen part, and predictions [openvino on a CPU].",
    },
    "--precision": {
        "type": click.Choice(["auto", "float32", "bfloat16"]),
        "help": "What it computes in [bfloat16 where the machine has it].",
    },
    "--progress": {
        "type": click.Choice(["auto", "json"]),
        "default": "auto",
        "help": "json: lines for programs, on standard error [auto].",
    },
    "--quiet": {"is_flag": True, "help": "Show no progress."},
    "--json": {"is_flag": True, "help": "Print the result as JSON."},
}
DESTINATIONS = {"--set": "settings", "--json": "as_json"}

OF_ENGINES = ("--engine", "--precision")
OF_DATA = (
    "--weights",
    "--resize",
    "--seed",
    "--val",
    "--test",
    "--group",
    "--preset",
    "--stages",
    "--time-budget",
    "--disk-budget",
    "--strict",
    "--config",
    "--set",
    *OF_ENGINES,
    "--quiet",
    "--json",
)
OF_A_TRAINING = ("--out", "--backbone", "--size", "--views", "--progress", *OF_DATA)
OF_A_COMPARISON = ("--backbones", *OF_DATA)


def options_of(*names: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Add options to a command, in this order."""

    def add(command: Callable[..., Any]) -> Callable[..., Any]:
        for name in reversed(names):
            words = [name, DESTINATIONS[name]] if name in DESTINATIONS else [name]
            command = click.option(*words, **OPTIONS[name])(command)
        return command

    return add
