"""Before training: cache activations or stream, with which views and stages, at what cost."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np

from tlearn.features.activations import Activations
from tlearn.features.built_backbone import FEATURES
from tlearn.features.image_views import ImageViews
from tlearn.progress import format_bytes
from tlearn.text import epochs_text
from tlearn.training.costs import CostModel, Costs, measure_rate, shorten_to_budget, throughput
from tlearn.training.setup import Setup
from tlearn.training.stages import StagePlan, plan_stages, required_stages
from tlearn.training.state import TrainingState


def prepare_activations(
    setup: Setup, resumed: TrainingState | None = None
) -> tuple[Setup, Costs, int]:
    """Cache activations, or stream those that the disk budget does not hold; estimate the costs.

    Caching never computes more than streaming, because no more views are cached than there are
    epochs. So the choice depends on the budget alone, and not on how fast the machine was just now.

    Args:
        setup: What the training works with.
        resumed: The state of a training that is resumed; its stages and views hold then, whatever
            the time budget.

    Returns:
        The setup with the stages and views that fit into the time budget, the costs, and how many
        views were computed.

    Raises:
        DataError: If an image can no longer be read.
    """
    if resumed is not None:
        stages = plan_stages(resumed.plan.stages, setup.built)
        setup = replace(setup, stages=stages, views=resumed.plan.views)
    activations, room = setup.activations, setup.activations.cache.room()
    missing = activations.missing(setup.all_views(setup.views), activations.outputs)
    request = _CacheRequest.of(activations, missing, activations.outputs, setup.views)
    streaming = not setup.views or request.size > room
    if streaming:  # only features for the probe may be cached
        shown = min(setup.views, setup.probe_views)
        request = _CacheRequest.of(activations, missing, (FEATURES,), shown)
    cacheable = request.size <= room
    rate, computed = _measure(setup, request) if cacheable else (np.inf, 0)
    if streaming and not np.isfinite(rate):  # computed in every epoch, whatever is cached
        rate = throughput(activations, setup.all_views(1)[:64]).rate
    spent = time.monotonic() - setup.started
    model = CostModel(setup, missing, rate, spent, resumed is not None)
    if resumed is None:
        setup = _fit_to_budget(setup, model, streaming)
    remaining = remaining_stages(setup.stages, resumed)
    costs = model.costs(remaining, setup.views, streaming)
    setup.progress.say(_line(model, remaining, setup.views, costs))
    epochs = sum(p.stage.epochs for p in remaining)
    setup.log("planned", **asdict(costs), epochs=epochs)
    if cacheable:
        used = {FEATURES, *(p.boundary.name for p in setup.stages if p.boundary is not None)}
        names = [name for name in request.outputs if name in used]
        computed += activations.cache_missing(
            setup.all_views(min(setup.views, request.views)), names
        )
    return setup, costs, computed


@dataclass(frozen=True)
class _CacheRequest:
    """Outputs that are to be cached, of so many views.

    Attributes:
        lacking: The views that lack an output.
        size: The bytes that they add to the cache.
    """

    outputs: Sequence[str]
    views: int
    lacking: ImageViews
    size: int

    @classmethod
    def of(
        cls,
        activations: Activations,
        missing: Mapping[str, ImageViews],
        outputs: Sequence[str],
        views: int,
    ) -> "_CacheRequest":
        """Select from the views that lack each output."""
        lacking = ImageViews.concatenated([missing[name] for name in outputs]).unique()
        lacking = lacking.first(max(1, views))
        row = sum(activations.row_bytes(name) for name in outputs if missing[name])
        return cls(outputs, views, lacking, len(lacking) * row)


def _measure(setup: Setup, request: _CacheRequest) -> tuple[float, int]:
    """Make room, and cache a first part; return the views per second and how many they were."""
    evicted = setup.activations.cache.make_room(request.size)
    if evicted:
        line = f"evicted {format_bytes(evicted)} of the least recently used activations"
        setup.progress.say(line)
    return measure_rate(setup.activations, request.lacking, request.outputs)


def remaining_stages(
    stages: Sequence[StagePlan], state: TrainingState | None
) -> tuple[StagePlan, ...]:
    """Return the stages and epochs that are not trained yet; ``None`` is a training's beginning."""
    if state is None:
        return tuple(stages)
    remaining = list(stages[state.stage_index :])
    if remaining and state.epoch:
        epochs = 0 if state.ends else remaining[0].stage.epochs - state.epoch
        remaining[0] = remaining[0].with_epochs(epochs)
    return tuple(remaining)


def _fit_to_budget(setup: Setup, model: CostModel, streaming: bool) -> Setup:
    """Shorten the training until it fits into the time budget, if there is one."""
    budget = setup.config.time_budget
    if not budget:
        return setup

    def seconds(stages: Sequence[StagePlan], views: int) -> float:
        return model.costs(stages, views, streaming).seconds

    least = 1 if setup.config.head.is_random else 0  # a head that starts at random must be trained
    stages, views = shorten_to_budget(budget, setup.stages, setup.views, seconds, least)
    if seconds(stages, views) > budget:
        setup.progress.say(
            f"time budget too small: the shortest training takes about "
            f"{seconds(stages, views):.0f} s (budget {budget:.0f} s)"
        )
    elif (stages, views) != (setup.stages, setup.views):
        parts = [f"{epochs_text(p.stage.epochs)} {p.stage.title}" for p in stages] or [
            "the head alone"
        ]
        views_of = f"{views} views, " if views else ""
        setup.progress.say(f"to fit into {budget:.0f} s: {views_of}{', '.join(parts)}")
    return replace(setup, stages=stages, views=views)


def _line(model: CostModel, plans: Sequence[StagePlan], views: int, costs: Costs) -> str:
    """Return a line with the choice, its costs, and those of the alternative."""
    required, without = required_stages(plans), ""
    if len(required) < len(plans):
        seconds = model.costs(required, views, costs.streaming).seconds
        without = f" ({seconds:.0f} s if the probe leaves little to improve)"
    cache = model.setup.activations.cache
    where = "in the activation store" if cache.usable_store else "of disk"
    line = f"about {costs.seconds:.0f} s{without} and {format_bytes(costs.bytes)} {where}"
    if not plans:
        return f"plan: the head alone, {line}"
    other = model.costs(plans, views, not costs.streaming)
    if not costs.streaming:
        instead = f"; streaming would take {other.seconds:.0f} s" if costs.bytes else ""
        return f"plan: caching activations, {line}{instead}"
    if not views:
        return f"plan: streaming as asked, {line}"
    return (
        f"plan: streaming, {line}; caching activations would take {other.seconds:.0f} s and "
        f"{format_bytes(other.bytes)}, and the disk budget leaves {format_bytes(cache.room())}"
    )
