"""The presets: how long to train, for any backbone."""

from typing import Any

from tlearn.backbones import Backbone, Preset, hookimpl

ViewsAndStages = tuple[int, tuple[Any, ...]]  # views per training image, and the stages


def stage(**values: Any) -> Any:
    """Return a stage; the configuration is imported here so that listing plugins stays quick."""
    from tlearn.config import Stage

    return Stage(**values)


def start(backbone: Backbone) -> str:
    """Return the layer from which upwards fine-tuning usually pays."""
    names = [boundary.layer for boundary in backbone.blocks.boundaries]
    return backbone.finetune_from or names[-max(1, len(names) // 3)]


def quick(backbone: Backbone) -> ViewsAndStages:
    """Return no stage: the probe is the head."""
    return 2, ()


def auto(backbone: Backbone) -> ViewsAndStages:
    """Return half of the stage of ``balanced``, for photos on which it could pay."""
    return 2, (stage(unfreeze=start(backbone), epochs=6, learning_rate=1e-3, needs_headroom=True),)


def balanced(backbone: Backbone) -> ViewsAndStages:
    """Return one stage."""
    return 4, (stage(unfreeze=start(backbone), epochs=12, learning_rate=1e-3),)


def best(backbone: Backbone) -> ViewsAndStages:
    """Return the stage of ``balanced`` three times: the networks they end with are averaged.

    Each goes on from the best so far, at a high rate again (Huang et al., Snapshot ensembles: train
    1, get M for free, ICLR 2017).
    """
    views, stages = balanced(backbone)
    return views, 3 * stages


@hookimpl
def tlearn_presets() -> list[Preset]:
    """Offer them."""
    return [
        Preset("auto", "the top of the network for half as long, if that can help", auto),
        Preset("quick", "the head alone", quick),
        Preset("balanced", "the top of the network", balanced),
        Preset("best", "the top of the network three times, averaged", best),
    ]
