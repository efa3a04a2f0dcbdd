"""Before training: keep activations or stream, with which views and stages, at what cost."""

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
from tlearn.training.costs import PROBE_VIEWS, CostModel, Costs, fit, measure
from tlearn.training.loop import Listener
from tlearn.training.speed import throughput
from tlearn.training.stages import Plan


@dataclass(frozen=True)
class ExecutionPlan:
    """How a training goes.

    Attributes:
        kept: The activations: computed and kept, or computed when they are asked for.
        plans: The stages that will be trained.
        views: Views per training image that take turns, or 0 for a fresh one in every epoch.
        computed: Views computed so far.
        costs: The estimate.
    """

    kept: Activations
    plans: Sequence[Plan]
    views: int
    computed: int
    costs: Costs


@dataclass(frozen=True)
class ResumePoint:
    """What holds for a training that is continued.

    Attributes:
        plans: Its stages.
        views: Its views, as of a :class:`ExecutionPlan`.
        left: What is left of its stages.
    """

    plans: Sequence[Plan]
    views: int
    left: Sequence[Plan]


def prepare(
    config: RunConfig,
    built: BuiltBackbone,
    plans: Sequence[Plan],
    splits: Splits,
    cache: Cache,
    progress: Progress,
    start: float,
    tell: Listener = lambda kind, **fields: None,
    begun: ResumePoint | None = None,
) -> ExecutionPlan:
    """Keep activations, or stream where the disk budget does not hold them; say what it will cost.

    Keeping never computes more than streaming, because no more views are kept than there are
    epochs. So the choice depends on the budget alone, and not on how fast the machine was just now.

    Args:
        config: The configuration, with everything filled in.
        built: The pristine backbone.
        plans: The stages asked for.
        splits: The images.
        cache: Where activations are kept.
        progress: Where to show progress.
        start: When the time budget began, by :func:`time.monotonic`.
        tell: Hears of the plan.
        begun: What holds for a training that is continued; nothing is fitted into a time then.

    Raises:
        DataError: If an image can no longer be read.
    """
    rendering = Rendering(built.size, config.resize, config.augment)
    boundaries = [p.boundary for p in plans if p.boundary is not None]
    choice = choose(config.engine, config.precision)
    kept = Activations(built, rendering, boundaries, cache, choice, progress)
    views = views_in_turn(config, plans)
    if begun is not None:
        plans, views = begun.plans, begun.views
    lacking = kept.missing(needed(splits, views), kept.outputs)
    size = sum(len(some) * kept.row_bytes(name) for name, some in lacking.items())
    streaming = not views or size > cache.room()
    if not streaming:
        evicted = cache.make_room(size)
        if evicted:
            progress.say(
                f"evicted {format_bytes(evicted)} of activations that were not used lately"
            )
    outputs = (FEATURES,) if streaming else kept.outputs
    shown = min(views, PROBE_VIEWS) if streaming else views
    soon = (item for name in outputs for item in lacking[name] if item[1] < max(1, shown))
    todo = list(dict.fromkeys(soon))
    wanted = len(todo) * sum(kept.row_bytes(name) for name in outputs)
    kept.keeping = wanted <= cache.room()
    if kept.keeping:
        cache.make_room(wanted)
    rates, computed = measure(kept, todo, outputs)
    if streaming and not np.isfinite(rates.views):  # nothing lacks, and yet it is all computed
        rates = replace(rates, views=throughput(kept, needed(splits, 1)[:64]).rate)
    work = CostModel(kept, splits, lacking, rates, time.monotonic() - start)
    if config.time_budget and begun is None:
        plans, views = _fitted(config, work, plans, views, streaming, progress)
    left = plans if begun is None else begun.left
    costs = work.costs(left, views, streaming)
    progress.say(_line(work, left, views, costs, cache.room()))
    epochs = sum(p.stage.epochs for p in left)
    tell("planned", seconds=costs.seconds, bytes=costs.bytes, keeping=costs.keeping, epochs=epochs)
    used = {FEATURES, *(p.boundary.name for p in plans if p.boundary is not None)}
    todo = needed(splits, min(views, shown))
    computed += kept.keep(todo, [name for name in outputs if name in used])
    kept.keeping = kept.keeping and not streaming
    return ExecutionPlan(kept, plans, views, computed, costs)


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
    work: CostModel,
    plans: Sequence[Plan],
    views: int,
    streaming: bool,
    progress: Progress,
) -> tuple[Sequence[Plan], int]:
    """Shorten the training until it fits into a time, and say how."""
    budget = config.time_budget or 0.0
    least = 1 if config.head.hidden else 0  # a head that starts at random must be trained
    shorter, fewer = fit(
        budget, plans, views, lambda p, v: work.costs(p, v, streaming).seconds, least
    )
    seconds = work.costs(shorter, fewer, streaming).seconds
    if seconds > budget:
        progress.say(
            f"the least that can be done takes about {seconds:.0f} s, more than the time budget of "
            f"{budget:.0f} s"
        )
    elif list(shorter) != list(plans) or fewer != views:
        parts = [f"{p.stage.epochs} epochs {p.stage.title}" for p in shorter] or ["the head alone"]
        views_of = f"{fewer} views, " if fewer else ""
        progress.say(f"to fit into {budget:.0f} s: {views_of}{', '.join(parts)}")
    return shorter, fewer


def _line(work: CostModel, plans: Sequence[Plan], views: int, costs: Costs, room: int) -> str:
    """Say in one line which way was chosen, what it costs, and what the other would."""
    line = f"about {costs.seconds:.0f} s and {format_bytes(costs.bytes)} of disk"
    if not plans:
        return f"plan: the head alone, {line}"
    other = work.costs(plans, views, costs.keeping)
    if costs.keeping:
        instead = f"; streaming would take {other.seconds:.0f} s" if costs.bytes else ""
        return f"plan: keeping activations, {line}{instead}"
    if not views:
        return f"plan: streaming as asked, {line}"
    return (
        f"plan: streaming, {line}; keeping activations would take {other.seconds:.0f} s and "
        f"{format_bytes(other.bytes)}, and the disk budget leaves {format_bytes(room)}"
    )
