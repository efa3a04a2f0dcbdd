"""A preset that unfreezes block after block, lower ones at lower rates (Howard and Ruder, 2018)."""

from tlearn.backbones import Backbone, Preset, hookimpl
from tlearn.config import Stage

STEPS = 3  # stages, at most
SLOWER = 2.6  # from a stage to the next: the factor of the paper


def stages_for(backbone: Backbone) -> tuple[int, list[Stage]]:
    """Return two views, and stages from the topmost block down to where fine-tuning pays."""
    layers = [boundary.layer for boundary in backbone.blocks.boundaries]
    lowest = (
        layers.index(backbone.finetune_from) if backbone.finetune_from else len(layers) * 2 // 3
    )
    below = layers[min(lowest, len(layers) - 1) :][::-1]
    chosen = [below[round(k * (len(below) - 1) / (STEPS - 1))] for k in range(STEPS)]
    stages = [
        Stage(unfreeze=layer, epochs=3, learning_rate=1e-3 / SLOWER**k)
        for k, layer in enumerate(dict.fromkeys(chosen))
    ]
    return 2, stages


@hookimpl
def tlearn_presets() -> Preset:
    """Offer it."""
    return Preset("gradual", "block after block from the top, at falling rates", stages_for)
