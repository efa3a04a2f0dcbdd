"""The presets: how long to train, for any backbone."""

from typing import Any

from tlearn.backbones import Backbone, Preset, hookimpl

ViewsAndStages = tuple[int, tuple[Any, ...]]  # views per training image, and the stages


def stage(**values: Any) -> Any:
    """Return a stage; the configuration is imported here so that listing plugins stays quick."""
    from tlearn.config import Stage

    return Stage(**values)


def layers(backbone: Backbone) -> tuple[list[str], str]:
    """Return the boundary layers, upwards, and the one from which fine-tuning usually pays."""
    names = [boundary.layer for boundary in backbone.blocks.boundaries]
    return names, backbone.finetune_from or names[-max(1, len(names) // 3)]


def quick(backbone: Backbone) -> ViewsAndStages:
    """Return no stage: the probe is the head."""
    return 2, ()


def balanced(backbone: Backbone) -> ViewsAndStages:
    """Return one short stage."""
    return 2, (stage(unfreeze=layers(backbone)[1], epochs=6, learning_rate=1e-3),)


def auto(backbone: Backbone) -> ViewsAndStages:
    """Return the stage of ``balanced``, for photos on which it could pay."""
    views, stages = balanced(backbone)
    return views, tuple(s.model_copy(update={"needs_headroom": True}) for s in stages)


def best(backbone: Backbone) -> ViewsAndStages:
    """Return a longer stage, and one that goes deeper."""
    names, start = layers(backbone)
    lower = names[max(0, names.index(start) - max(1, len(names) // 5))]
    return 8, (
        stage(unfreeze=start, epochs=16, learning_rate=1e-3, patience=8),
        stage(unfreeze=lower, epochs=12, learning_rate=4e-4, patience=6),
    )


@hookimpl
def tlearn_presets() -> list[Preset]:
    """Offer them."""
    return [
        Preset("auto", "the top of the network, once, where that could pay", auto),
        Preset("quick", "the head alone", quick),
        Preset("balanced", "the top of the network, once", balanced),
        Preset("best", "longer, and in two stages", best),
    ]
