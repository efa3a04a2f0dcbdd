"""DINOv2 (Oquab et al., 2023) from KerasHub, in two sizes."""

from typing import Any

from tlearn.backbones import Backbone, Blocks, Preprocess, Weights, hookimpl

DEPTH = 12


def dinov2(name: str, width: int, heads: int, summary: str) -> Backbone:
    """Return the facts about one size."""

    def build(input_shape: tuple[int, int, int], weights: str | None) -> Any:
        import keras
        from keras_hub.models import DINOV2Backbone

        if weights == name:
            whole = DINOV2Backbone.from_preset(name, image_shape=input_shape)
        else:
            whole = DINOV2Backbone(
                patch_size=14, num_layers=DEPTH, hidden_dim=width, num_heads=heads,
                intermediate_dim=4 * width, image_shape=input_shape,
            )  # fmt: skip
            if weights:
                whole.load_weights(weights)
        # Its encoder is one layer; applied one by one, its blocks become layers of their own.
        x = inputs = keras.Input(input_shape)
        for layer in (whole.embeddings, *whole.encoder.layers, whole.layernorm):
            x = layer(x)
        return keras.Model(inputs, x)

    return Backbone(
        name=name,
        summary=summary,
        reference="Oquab et al., DINOv2, arXiv:2304.07193",
        build=build,
        default_size=224,
        min_size=56,
        size_multiple=14,
        channels=width,
        leading_tokens=1,
        preprocess=Preprocess.TORCH,
        blocks=Blocks.after("embeddings", *(f"layers_{k}" for k in range(DEPTH - 1))),
        weights=(Weights(name, "KerasHub, from Meta", "Apache-2.0", "LVD-142M, no labels"),),
        taps=("layers_8", "layers_9", "layers_10"),
        finetune_from="layers_9",
        modules=("keras_hub",),
    )


@hookimpl
def tlearn_backbones() -> list[Backbone]:
    """Offer both."""
    return [
        dinov2("dinov2_small", 384, 6, "a transformer trained without labels: strong features"),
        dinov2("dinov2_base", 768, 12, "the same, four times as large"),
    ]
