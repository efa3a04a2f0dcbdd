"""Before training: cache activations or stream, with which views and stages, at what cost."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from tlearn.config import RunConfig
from tlearn.data.splits import Splits
from tlearn.data.views import Rendering
from tlearn.features.activation_cache import Cache
from tlearn.features.activations import Activations, Item
from tlearn.features.built_backbone import FEATURES, BuiltBackbone
from tlearn.features.engines import choose
from tlearn.progress import Progress, format_bytes
from tlearn.training.costs import CostModel, Costs, cache_bytes, fit, measure, throughput
from tlearn.training.probe import PROBE_VIEWS
from tlearn.training.setup import Setup
from tlearn.training.stages import Plan, plan
from tlearn.training.state import TrainingState


@dataclass(frozen=True)
class ExecutionPlan:
    """How a training goes.

    Attributes:
        activations: The activations: from the cache, or computed on demand.
        views: Views per training image that take turns, or 0 for a fresh one in every epoch.
        computed: Views computed so far.
    """

    activations: Activations
    stages: tuple[Plan, ...]
    views: int
    computed: int
    costs: Costs


def plan_activations(
    setup: Setup, cache: Cache, resumed: TrainingState | None = None
) -> ExecutionPlan:
    """Cache activations, or stream those that the disk budget does not hold; estimate the costs.

    Caching never computes more than streaming, because no more views are cached than there are
    epochs. So the choice depends on the budget alone, and not on how fast the machine was just now.

    Args:
        setup: What the training works with.
        cache: Where activations are cached.
        resumed: The state of a training that is resumed; its stages and views hold then, whatever
            the time budget.

    Raises:
        DataError: If an image can no longer be read.
    """
    config, splits, progress = setup.config, setup.splits, setup.progress
    stages, views = setup.stages, views_in_turn(config, setup.stages)
    activations = activations_for(config, setup.built, stages, cache, progress)
    if resumed is not None:
        stages, views = plan(resumed.plan.stages, setup.built), resumed.plan.views
    missing = activations.missing(needed(splits, views), activations.outputs)
    size = cache_bytes(activations, missing)
    streaming = not views or size > cache.room()
    if not streaming:
        evicted = cache.make_room(size)
        if evicted:
            progress.say(f"evicted {format_bytes(evicted)} of the least recently used activations")
    # Where activations are streamed, only features for the probe may be cached.
    outputs = (FEATURES,) if streaming else activations.outputs
    most_views = max(1, min(views, PROBE_VIEWS) if streaming else views)
    items = dict.fromkeys(i for name in outputs for i in missing[name] if i[1] < most_views)
    size = len(items) * sum(activations.row_bytes(name) for name in outputs)
    keep = size <= cache.room()
    if keep:
        cache.make_room(size)
    rate, computed = measure(activations, list(items), outputs) if keep else (np.inf, 0)
    if streaming and not np.isfinite(rate):
        rate = throughput(activations, needed(splits, 1)[:64]).rate
    spent = time.monotonic() - setup.started
    model = CostModel(activations, splits, missing, rate, spent, resumed is not None)
    if config.time_budget and resumed is None:
        stages, views = _fitted(config, model, stages, views, streaming, progress)
    remaining = stages if resumed is None else remaining_stages(stages, resumed)
    costs = model.costs(remaining, views, streaming)
    progress.say(_line(model, remaining, views, costs, cache.room()))
    epochs = sum(p.stage.epochs for p in remaining)
    setup.log(
        "planned", seconds=costs.seconds, bytes=costs.bytes, keeping=costs.keeping, epochs=epochs
    )
    if keep:
        used = {FEATURES, *(p.boundary.name for p in stages if p.boundary is not None)}
        names = [name for name in outputs if name in used]
        computed += activations.cache_missing(needed(splits, min(views, most_views)), names)
    return ExecutionPlan(activations, stages, views, computed, costs)


def remaining_stages(stages: Sequence[Plan], state: TrainingState) -> tuple[Plan, ...]:
    """Return the stages and epochs that are not trained yet."""
    remaining = list(stages[state.stage :])
    if remaining and state.epoch:
        stage = remaining[0].stage
        epochs = 0 if state.ends else stage.epochs - state.epoch
        stage = stage.model_copy(update={"epochs": epochs})
        remaining[0] = replace(remaining[0], stage=stage)
    return tuple(remaining)


def activations_for(
    config: RunConfig,
    built: BuiltBackbone,
    plans: Sequence[Plan],
    cache: Cache,
    progress: Progress,
) -> Activations:
    """Return the activations at the boundaries of stages, for the views of a configuration."""
    rendering = Rendering(built.size, config.resize, config.augment)
    boundaries = [p.boundary for p in plans if p.boundary is not None]
    choice = choose(config.engine, config.precision)
    return Activations(built, rendering, boundaries, cache, choice, progress)


def views_in_turn(config: RunConfig, plans: Sequence[Plan]) -> int:
    """Return how many views per image take turns: no more than there are epochs to show them."""
    if not isinstance(config.views, int):
        return 0
    epochs = sum(p.stage.epochs for p in plans)
    return min(config.views, max(PROBE_VIEWS, epochs))


def needed(splits: Splits, views: int) -> list[Item]:
    """Return the views that take turns, or the plain one, and the plain ones for validation."""
    checks = [(f, 0) for f in splits.validation]
    return [(f, v) for f in splits.train for v in range(max(1, views))] + checks


def _fitted(
    config: RunConfig,
    model: CostModel,
    plans: Sequence[Plan],
    views: int,
    streaming: bool,
    progress: Progress,
) -> tuple[tuple[Plan, ...], int]:
    """Shorten the training until it fits into the time budget."""
    budget = config.time_budget or 0.0
    least = 1 if config.head.hidden else 0  # a head that starts at random must be trained
    shorter, fewer = fit(
        budget, plans, views, lambda p, v: model.costs(p, v, streaming).seconds, least
    )
    seconds = model.costs(shorter, fewer, streaming).seconds
    if seconds > budget:
        progress.say(
            f"time budget too small: the shortest training takes about {seconds:.0f} s (budget "
            f"{budget:.0f} s)"
        )
    elif list(shorter) != list(plans) or fewer != views:
        parts = [f"{p.stage.epochs} epochs {p.stage.title}" for p in shorter] or ["the head alone"]
        views_of = f"{fewer} views, " if fewer else ""
        progress.say(f"to fit into {budget:.0f} s: {views_of}{', '.join(parts)}")
    return tuple(shorter), fewer


def _line(model: CostModel, plans: Sequence[Plan], views: int, costs: Costs, room: int) -> str:
    """Return a line with the choice, its costs, and those of the alternative."""
    line = f"about {costs.seconds:.0f} s and {format_bytes(costs.bytes)} of disk"
    if not plans:
        return f"plan: the head alone, {line}"
    other = model.costs(plans, views, costs.keeping)
    if costs.keeping:
        instead = f"; streaming would take {other.seconds:.0f} s" if costs.bytes else ""
        return f"plan: keeping activations, {line}{instead}"
    if not views:
        return f"plan: streaming as asked, {line}"
    return (
        f"plan: streaming, {line}; keeping activations would take {other.seconds:.0f} s and "
        f"{format_bytes(other.bytes)}, and the disk budget leaves {format_bytes(room)}"
    )
