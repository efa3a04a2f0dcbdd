"""Stages as data: what the presets mean, and at which boundary a stage is fed."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from tlearn.backbones import Backbone, Preset
from tlearn.config import RunConfig, Stage
from tlearn.errors import ConfigError, PluginError, one_line
from tlearn.metrics import MONITORS

if TYPE_CHECKING:
    from tlearn.features.built_backbone import BuiltBackbone, BuiltBoundary

HEAD_STAGE = Stage(unfreeze="none", epochs=20, learning_rate=1e-3)


@dataclass(frozen=True)
class StagePlan:
    """A stage and what it means for a backbone.

    Attributes:
        trainable: Names of the backbone's layers to train.
        boundary: The boundary below all of them; ``None`` if only the head is trained.
        batch_norm: Whether batch normalisations among them are trained.
    """

    stage: Stage
    trainable: frozenset[str]
    boundary: BuiltBoundary | None
    batch_norm: bool = False

    def with_epochs(self, epochs: int) -> StagePlan:
        """Return it with another number of epochs."""
        return replace(self, stage=self.stage.model_copy(update={"epochs": epochs}))


def with_preset(config: RunConfig, backbone: Backbone, preset: Preset) -> RunConfig:
    """Return the configuration with the defaults of backbone and preset defaults in.

    Raises:
        BackboneError: If the backbone has no such size or weights.
        ConfigError: If the head starts at random and no stage would train them.
        PluginError: If the preset fails.
    """
    views, stages = _stages_of(preset, backbone)
    if config.head.is_random:
        if config.stages == ():
            raise ConfigError(
                "a head with hidden layers or of your own starts at random and needs a stage that "
                "trains it; give stages: [{unfreeze: none}]"
            )
        stages = (HEAD_STAGE, *stages)
    stages = tuple(_named_apart(stages if config.stages is None else config.stages))
    (monitor,) = [name for name, metric in MONITORS.items() if metric.key == config.metric]
    defaults = {
        "weights": backbone.checked_weights(config.weights),
        "size": backbone.checked_size(config.size),
        "views": config.views or views,
        "stages": tuple(
            stage
            if "monitor" in stage.model_fields_set
            else stage.model_copy(update={"monitor": monitor})
            for stage in stages
        ),
    }
    return config.model_copy(update=defaults)


def _named_apart(stages: Sequence[Stage]) -> Iterator[Stage]:
    """Yield stages, with a number behind the name of those that are called as one before."""
    seen: Counter[str] = Counter()
    for stage in stages:
        seen[stage.title] += 1
        number = seen[stage.title]
        yield stage.model_copy(update={"name": f"{stage.title} ({number})"} if number > 1 else {})


def _stages_of(preset: Preset, backbone: Backbone) -> tuple[int, tuple[Stage, ...]]:
    """Return views and stages of a preset; a plugin's may return anything."""
    try:
        views, stages = preset.stages_for(backbone)
        if not isinstance(views, int) or views < 1:
            raise ValueError(f"the number of views must be 1 or more, not {views!r}")
        return views, tuple(Stage.model_validate(stage) for stage in stages)
    except Exception as error:
        raise PluginError(
            f"the preset {preset.name!r} has no stages for {backbone.name}: {one_line(error)}; "
            f"report it to its author, or choose another --preset"
        ) from error


def plan_stages(stages: tuple[Stage, ...], built: BuiltBackbone) -> tuple[StagePlan, ...]:
    """Find the layers and the boundary of every stage.

    Activations come from the backbone as it was loaded. A stage that unfreezes less than one before
    it is therefore fed at the lower boundary: what lies between was trained since.

    Raises:
        BackboneError: If a stage names a layer or a number of blocks the backbone does not have, or
            more than one tensor crosses its boundary.
    """
    plans: list[StagePlan] = []
    lowest: BuiltBoundary | None = None
    for stage in stages:
        trainable = built.layers_to_train(stage.unfreeze)
        if trainable:
            boundary = built.highest_boundary_below(trainable)
            if lowest is None or boundary.index < lowest.index:
                lowest = boundary
        random = built.weights == "none"
        batch_norm = stage.batch_norm == "train" or (stage.batch_norm == "auto" and random)
        plans.append(StagePlan(stage, trainable, lowest, batch_norm))
    for boundary in {p.boundary for p in plans if p.boundary is not None}:
        built.check_crossing(boundary)
    return tuple(plans)


def required_stages(plans: Sequence[StagePlan]) -> tuple[StagePlan, ...]:
    """Return the stages that are trained whether the probe leaves headroom or not.

    One after a stage that is left out is left out, too: it may be fed at a boundary of that.
    """
    return tuple(itertools.takewhile(lambda plan: not plan.stage.needs_headroom, plans))
