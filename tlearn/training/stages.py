"""Stages as data: what the presets mean, and where a stage cuts the network."""

from dataclasses import dataclass

from tlearn.backbones import Backbone, StagePolicy
from tlearn.config import RunConfig, Stage
from tlearn.errors import ConfigError, PluginError, one_line
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


def with_policy(config: RunConfig, backbone: Backbone, policy: StagePolicy) -> RunConfig:
    """Return the configuration with everything the user left open filled in.

    Args:
        config: What the user asked for.
        backbone: The backbone it names.
        policy: The preset it names.

    Raises:
        ConfigError: If the head has hidden layers and no stage would train them.
        PluginError: If the policy fails.
    """
    views, stages = _recipe(policy, backbone)
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


def _recipe(policy: StagePolicy, backbone: Backbone) -> tuple[int, tuple[Stage, ...]]:
    """Ask a policy for views and stages; it may be a stranger's, and give anything."""
    try:
        views, stages = policy.recipe(backbone)
        if not isinstance(views, int) or views < 1:
            raise ValueError(f"the number of views must be 1 or more, not {views!r}")
        return views, tuple(Stage.model_validate(stage) for stage in stages)
    except Exception as error:
        raise PluginError(
            f"the preset {policy.name!r} gives no recipe for {backbone.name}: {one_line(error)}; "
            f"tell its author, or choose another --preset"
        ) from error


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
