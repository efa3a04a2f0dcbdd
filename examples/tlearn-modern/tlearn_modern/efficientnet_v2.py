"""EfficientNetV2 (Tan and Le, 2021), in two sizes."""

from typing import Any

from tlearn.backbones import Backbone, Blocks, Preprocess, Weights, hookimpl


def efficientnet_v2(name: str, kind: str, size: int, opening: tuple[str, ...]) -> Backbone:
    """Return the facts about one size; ``opening`` are the convolutions that open its stages."""

    def build(input_shape: tuple[int, int, int], weights: str | None) -> Any:
        import keras

        family = getattr(keras.applications, kind)
        return family(include_top=False, input_shape=input_shape, weights=weights)

    return Backbone(
        name=name,
        summary="fused and plain inverted residuals with attention to channels",
        reference="Tan and Le, EfficientNetV2, arXiv:2104.00298",
        build=build,
        default_size=size,
        min_size=32,
        channels=1280,
        preprocess=Preprocess.NONE,  # it scales pixels itself, in its first layers
        preprocess_reference="keras.applications.efficientnet_v2:preprocess_input",
        blocks=Blocks.before(*opening, "top_conv"),
        weights=(Weights("imagenet", "keras.applications", "Apache-2.0", "ImageNet-1k"),),
        finetune_from=opening[-1],
        feature_layers=("block6a_expand_activation", "top_activation"),
    )


# A stage's first block changes the size of the maps and has no shortcut around it.
STAGES = tuple(f"block{k}a_expand_conv" for k in (2, 3, 4, 5, 6))
SMALL = ("block1a_project_conv", *STAGES)


@hookimpl
def tlearn_backbones() -> list[Backbone]:
    """Offer both."""
    return [
        efficientnet_v2("efficientnet_v2_b0", "EfficientNetV2B0", 224, SMALL),
        efficientnet_v2("efficientnet_v2_s", "EfficientNetV2S", 384, STAGES),
    ]
