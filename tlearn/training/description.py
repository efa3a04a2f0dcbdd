"""What a run is, for a terminal: configuration, blocks by stage, figures, curves."""

import math
from collections.abc import Sequence

import yaml

from tlearn.backbones import load_registry
from tlearn.config import RunConfig
from tlearn.features.built_backbone import load_backbone
from tlearn.features.extraction import layers
from tlearn.runs.directory import RunDirectory
from tlearn.runs.run import Run
from tlearn.runs.summary import run_summary
from tlearn.text import printable
from tlearn.training.stages import plan_stages

BARS = "▁▂▃▄▅▆▇█"
CURVES = ("loss", "val_loss", "accuracy", "val_accuracy", "learning_rate")


def describe(run: Run) -> str:
    """Return a run as lines for people.

    Raises:
        BackboneError: If its backbone is not installed or is another now.
    """
    config = RunDirectory(run.path).request().config
    given = config.model_dump(mode="json", exclude_defaults=True)
    settings = yaml.safe_dump(given, sort_keys=False, allow_unicode=True, width=10**6)
    parts = {"configuration, where it is not the default": settings.splitlines()}
    if members := run.record.get("members"):
        parts["members"] = [f"{m['run']}: {m['backbone']} at {m['size']} pixels" for m in members]
    else:
        parts["blocks, upwards, and what each stage trains"] = _blocks(config, len(run.labels))
        parts["epochs"] = _curves(run)
    parts["result"] = run_summary(run).splitlines()
    return "\n".join(
        printable(line)
        for title, lines in parts.items()
        for line in (f"{title}:", *(f"  {line}" for line in lines))
    )


def _blocks(config: RunConfig, classes: int) -> list[str]:
    """Return a line for each block: layers, parameters, and the stages that train it."""
    backbone = load_registry().get(config.backbone)
    built = load_backbone(backbone, config.size, "none", config.seed)
    plans = plan_stages(config.stages or (), built)
    rows, lines = layers(built), []
    for number, boundary in enumerate(built.boundaries):
        block = [row for row in rows if row.block == number]
        size = sum(row.parameters for row in block)
        trained = []
        for plan in plans:
            part = sum(row.parameters for row in block if row.name in plan.trainable)
            trained += [f"{part:,} in {plan.stage.title}"] if part else []
        place = f"{number} {boundary.position} {boundary.name}"
        words = f"trained: {', '.join(trained)}" if trained else "frozen"
        lines.append(f"{place}: {len(block)} layers, {size:,} parameters; {words}")
    return [*lines, f"head of {classes} classes: trained in every stage"]


def _curves(run: Run) -> list[str]:
    """Return a line for each quantity over all epochs."""
    history = run.history
    if not len(history):
        return ["none: the probe is the head"]
    return [f"{name:<14} {curve(history[name].tolist())}" for name in CURVES if name in history]


def curve(values: Sequence[float]) -> str:
    """Return values as a row of bars, with the first and the last."""
    finite = [value for value in values if math.isfinite(value)]
    low, high = min(finite, default=0.0), max(finite, default=0.0)
    step = (high - low) / (len(BARS) - 1) or 1.0
    bars = "".join(BARS[round((v - low) / step)] if math.isfinite(v) else "?" for v in values)
    return f"{bars} {values[0]:.4g} to {values[-1]:.4g}"
