"""Stages as data: what the presets mean, and where a stage cuts the network."""

from dataclasses import dataclass

from tlearn.backbones import Backbone
from tlearn.config import RunConfig, Stage
from tlearn.errors import ConfigError
from tlearn.frozen.trunk import Cut, Trunk

HEAD_STAGE = Stage(unfreeze="none", epochs=20, learning_rate=1e-3)
# For a probe that was fitted on a sample and that no stage follows.
REFINEMENT = Stage(unfreeze="none", epochs=5, learning_rate=5e-4)


@dataclass(frozen=True)
class Plan:
    """A stage and what it means for a trunk.

    Attributes:
        stage: The stage as configured.
        trainable: Names of the backbone's layers to train.
        cut: The cut below all of them; ``None`` if only the head is trained.
    """

    stage: Stage
    trainable: frozenset[str]
    cut: Cut | None


def with_preset(config: RunConfig, backbone: Backbone) -> RunConfig:
    """Return the configuration with everything the user left open filled in.

    Raises:
        ConfigError: If the head has hidden layers and no stage would train them.
    """
    views, stages = preset(config.preset, backbone)
    if config.head.hidden:
        if config.stages == ():
            raise ConfigError(
                "a head with hidden layers starts at random and needs a stage that trains it; "
                "give stages: [{unfreeze: none}]"
            )
        stages = (HEAD_STAGE, *stages)
    filled = {
        "weights": config.weights or (backbone.weights[0].name if backbone.weights else "none"),
        "size": config.size or backbone.default_size,
        "views": config.views or views,
        "stages": stages if config.stages is None else config.stages,
    }
    return config.model_copy(update=filled)


def preset(name: str, backbone: Backbone) -> tuple[int, tuple[Stage, ...]]:
    """Return the views and the stages of a preset."""
    if name == "quick":
        return 2, ()
    layers = [boundary.layer for boundary in backbone.blocks.boundaries]
    start = backbone.finetune_from or layers[-max(1, len(layers) // 3)]
    first = Stage(unfreeze=start, epochs=6, learning_rate=5e-4)
    if name == "balanced":
        return 2, (first,)
    lower = layers[max(0, layers.index(start) - max(1, len(layers) // 5))]
    return 8, (
        first.model_copy(update={"epochs": 16, "patience": 8}),
        Stage(unfreeze=lower, epochs=12, learning_rate=2e-4, patience=6),
    )


def plan(stages: tuple[Stage, ...], trunk: Trunk) -> tuple[Plan, ...]:
    """Find the layers and the cut of every stage.

    Activations come from the pristine backbone. A stage that unfreezes less than one before it is
    therefore fed at the lower cut: what lies between was trained and is no longer pristine.

    Raises:
        BackboneError: If a stage names a layer or a number of blocks the backbone does not have.
    """
    plans: list[Plan] = []
    lowest: Cut | None = None
    for stage in stages:
        trainable, cut = _reach(stage.unfreeze, trunk)
        if cut is not None and (lowest is None or cut.index < lowest.index):
            lowest = cut
        plans.append(Plan(stage, trainable, lowest))
    return tuple(plans)


def _reach(unfreeze: int | str, trunk: Trunk) -> tuple[frozenset[str], Cut | None]:
    if unfreeze in (0, "none"):
        return frozenset(), None
    if unfreeze == "all":
        trainable = trunk.layers_above(trunk.cuts[0])
    elif isinstance(unfreeze, int):
        trainable = trunk.layers_above(trunk.cut_for_blocks(unfreeze))
    else:
        trainable = trunk.layers_from(unfreeze)
    return trainable, trunk.highest_cut_below(trainable)
