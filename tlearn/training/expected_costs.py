"""What a training is expected to cost, before anything is built or measured.

It follows from the arithmetic that a backbone states (:class:`tlearn.backbones.Workload`), and from
how fast this machine was in earlier trainings, or else from its speed in a product of matrices. So
it costs nothing to know, and grows with the width and the size of a network. ``tlearn plan``
measures instead.
"""

import csv
import functools
import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from tlearn.atomic import atomic_file
from tlearn.backbones import Backbone, Preset, Workload, load_registry
from tlearn.cache_folder import cache_folder
from tlearn.config import RunConfig
from tlearn.data.layouts import SPLITS, Split
from tlearn.errors import CacheError, TlearnError
from tlearn.runs.directory import DAMAGED, read_record
from tlearn.training.probe import search_flops
from tlearn.training.stages import with_preset

MATRIX = 1024  # side of the product that the speed of arithmetic is measured by
SPEED_FILE = "arithmetic.json"  # in the cache folder
LATEST = 20  # runs that are asked how fast this machine is, at most
ENOUGH = 50  # views that were computed, of which a speed can be told
OF_FAMILY = 5  # of them, at most, that count for a family
# How many multiply-adds there are for one of a product of matrices, unless runs say otherwise:
PREFIX_PART = 1.5  # through the prefix, where an engine computes in half precision
TRAINING_PART = 0.8  # in a step of training
PREPARING = 50e6  # multiply-adds that take as long as reading an image
HEAD = 10e6  # and as the head of one in a step
OVERHEAD = 8.0  # seconds to import, build, save, load, draw
STARTING = 4.0  # seconds until a stage is compiled
FEATURE_BYTES, ACTIVATION_BYTES = 4, 2  # of one number in the cache


@dataclass(frozen=True)
class ExpectedCosts:
    """What a training is expected to cost.

    Attributes:
        seconds: From its start to its end.
        least: Seconds if the stages are left out that need headroom.
        bytes: What will be written to the cache.
        measured: Whether runs on this machine were asked.
    """

    seconds: float
    least: float
    bytes: int
    measured: bool


@dataclass(frozen=True)
class Speeds:
    """How fast this machine trains backbones of a family.

    Attributes:
        prefix: Multiply-adds per second through decoding and the prefix.
        training: Multiply-adds of the suffix per second in training.
        overhead: Seconds that take neither.
        measured: Whether it is from earlier runs.
    """

    prefix: float
    training: float
    overhead: float = OVERHEAD
    measured: bool = False


@dataclass(frozen=True)
class RunSpeeds:
    """What one run says: each a speed, or ``None``."""

    family: str
    prefix: float | None
    training: float | None
    overhead: float | None


def family_of(backbone: Backbone) -> str:
    """Return what the widths and sizes of one network share: their paper."""
    return backbone.reference


def arithmetic() -> float:
    """Measure the floating-point operations per second of a large float32 product."""
    a = np.ones((MATRIX, MATRIX), np.float32)
    best = np.inf
    for _ in range(3):
        start = time.perf_counter()
        np.dot(a, a)
        best = min(best, time.perf_counter() - start)
    return 2 * MATRIX**3 / best


@functools.cache
def fastest_arithmetic() -> float:
    """Return :func:`arithmetic` of this machine at its best, as far as it was ever measured."""
    now = arithmetic()
    try:
        file = cache_folder() / SPEED_FILE
        before = float(json.loads(file.read_text())["flops"]) if file.exists() else 0.0
        if now > before:
            file.parent.mkdir(parents=True, exist_ok=True)
            with atomic_file(file) as path:
                path.write_text(json.dumps({"flops": now}))
    except (OSError, CacheError, *DAMAGED):
        return now
    return max(now, before)


def expected_costs(
    backbone: Backbone,
    preset: Preset,
    config: RunConfig,
    images: Mapping[str, Mapping[Split, int]],
    speeds: Speeds,
) -> ExpectedCosts | None:
    """Return what a training from a cold start is expected to cost; ``None`` if nobody can tell.

    Args:
        backbone: The backbone; that of the configuration is ignored.
        preset: What the configuration names.
        config: As it was requested.
        images: How many images of each class are in each split.
        speeds: Of :func:`speeds_of`.

    Raises:
        TlearnError: If the configuration does not fit the backbone.
    """
    work = backbone.workload
    if work is None:
        return None
    named = config.model_copy(update={"backbone": backbone.name, "weights": "none"})
    config = with_preset(named, backbone, preset)
    work = _at_size(work, (config.size or backbone.default_size) / backbone.default_size)
    stages = config.stages or ()
    needed = [stage for stage in stages if not stage.needs_headroom]
    seconds, size = _costs(backbone, work, config, stages, images, speeds)
    least, _ = _costs(backbone, work, config, needed, images, speeds)
    if config.time_budget:
        seconds, least = min(seconds, config.time_budget), min(least, config.time_budget)
    return ExpectedCosts(seconds, least, size, speeds.measured)


def _at_size(work: Workload, factor: float) -> Workload:
    square = factor**2
    return replace(
        work,
        multiply_adds=work.multiply_adds * square,
        finetuned=work.finetuned * square,
        activation=round(work.activation * square),
    )


def _costs(
    backbone: Backbone,
    work: Workload,
    config: RunConfig,
    stages: Sequence[Any],
    images: Mapping[str, Mapping[Split, int]],
    speeds: Speeds,
) -> tuple[float, int]:
    """Return seconds and bytes of a training with these stages."""
    train, held_out, test = (sum(of[split] for of in images.values()) for split in SPLITS)
    epochs = sum(stage.epochs for stage in stages)
    streaming = config.views == "fresh"
    views = 1 if streaming else max(1, min(int(config.views or 1), max(2, epochs)))
    suffixes = [(_suffix(backbone, work, stage.unfreeze), stage.epochs) for stage in stages]
    views_read = train * views + 2 * held_out + test
    if streaming:
        views_read += sum((train + held_out) * number for suffix, number in suffixes if suffix)
    seconds = speeds.overhead + views_read * (work.multiply_adds + PREPARING) / speeds.prefix
    for suffix, number in suffixes:
        seconds += STARTING + number * (3 * train + held_out) * (suffix + HEAD) / speeds.training
    rows = train * min(2, views)
    seconds += 2 * search_flops(rows, work.features, len(images)) / fastest_arithmetic()
    boundaries = {suffix for suffix, _ in suffixes if suffix} if not streaming else ()
    row = FEATURE_BYTES * work.features + ACTIVATION_BYTES * work.activation * len(boundaries)
    return seconds, round((train * views + held_out) * row)


def _suffix(backbone: Backbone, work: Workload, unfreeze: int | str) -> float:
    """Return the multiply-adds of what a stage trains: in proportion, between what is known."""
    names = [boundary.layer for boundary in backbone.blocks.boundaries]
    if unfreeze in (0, "none"):
        return 0.0
    if unfreeze == backbone.finetune_from and work.finetuned:
        return work.finetuned
    if isinstance(unfreeze, int):
        return work.multiply_adds * min(1.0, unfreeze / (len(names) + 1))
    if unfreeze in names:
        return work.multiply_adds * (len(names) - names.index(unfreeze)) / (len(names) + 1)
    return work.multiply_adds


def speeds_of(backbone: Backbone, runs: Iterable[Path]) -> Speeds:
    """Return how fast this machine is with a backbone, from runs, the latest first, if there are.

    Runs of the family count; others tell how this machine differs from what is assumed.
    """
    flops = fastest_arithmetic()
    assumed = Speeds(flops / 2 * PREFIX_PART, flops / 2 * TRAINING_PART)
    seen: list[RunSpeeds] = []
    for run in runs:
        if one := _measured(run, _written(run)):
            seen.append(one)
        if len(seen) == LATEST:
            break
    own = [one for one in seen if one.family == family_of(backbone)]

    def typical(get: Callable[[RunSpeeds], float | None], otherwise: float) -> float:
        values = [value for one in own[:OF_FAMILY] if (value := get(one))]
        values = values or [value for one in seen if (value := get(one))]
        return median(values) if values else otherwise

    return Speeds(
        typical(lambda one: one.prefix, assumed.prefix),
        typical(lambda one: one.training, assumed.training),
        typical(lambda one: one.overhead, OVERHEAD),
        bool(seen),
    )


def _written(run: Path) -> int:
    try:
        return (run / "metrics.json").stat().st_mtime_ns
    except OSError:
        return 0


@functools.lru_cache(maxsize=200)
def _measured(run: Path, written: int) -> RunSpeeds | None:
    """Return what a run says of the speed of this machine; ``None`` if it is none of a backbone."""
    if not written:
        return None
    try:
        metrics = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
        config = read_record(run)["config"]
        backbone = load_registry().get(config.get("backbone", RunConfig().backbone))
        if backbone.workload is None or config.get("views") == "fresh":
            return None
        size = config.get("size") or backbone.default_size
        work = _at_size(backbone.workload, size / backbone.default_size)
        seconds, rates = metrics["seconds"], metrics["images_per_second"]
        stages = [stage for stage in metrics["stages"][1:] if stage["epochs"]]
        training = None
        if stages and all(stage["boundary"] == backbone.finetune_from for stage in stages):
            with (run / "splits.csv").open(encoding="utf-8", newline="") as table:
                header, *rows = csv.reader(table)
                splits = [row[header.index("split")] for row in rows]
            shown = 3 * splits.count("train") + splits.count("validation")
            spent = seconds["stages"] - STARTING * len(stages)
            epochs = sum(stage["epochs"] for stage in stages)
            training = epochs * shown * (work.finetuned + HEAD) / spent if spent > 0 else None
        views = rates.get("activation_views")
        parts = ("activations", "probe", "stages", "evaluation")
        overhead = seconds["total"] - sum(seconds.get(part, 0.0) for part in parts)
    except (TlearnError, *DAMAGED):
        return None
    enough = views and views * seconds["activations"] > ENOUGH
    prefix = views * (work.multiply_adds + PREPARING) if enough else None
    return RunSpeeds(family_of(backbone), prefix, training, max(1.0, overhead))
