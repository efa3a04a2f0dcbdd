"""MobileNetV2 (Sandler et al., 2018), in the six widths that have ImageNet weights."""

from typing import Any

from tlearn.backbones import Backbone, Blocks, Preprocess, Weights, hookimpl


def mobilenet_v2(name: str, alpha: float, channels: int) -> Backbone:
    """Return the facts about one width."""

    def build(input_shape: tuple[int, int, int], weights: str | None) -> Any:
        from keras.applications import MobileNetV2

        return MobileNetV2(include_top=False, input_shape=input_shape, weights=weights, alpha=alpha)

    return Backbone(
        name=name,
        summary=f"inverted residuals, width {alpha:g}: fast on a CPU",
        reference="Sandler et al., MobileNetV2, arXiv:1801.04381",
        build=build,
        default_size=224,
        min_size=32,
        channels=channels,
        preprocess=Preprocess.TF,
        preprocess_reference="keras.applications.mobilenet_v2:preprocess_input",
        blocks=Blocks.before(*(f"block_{k}_expand" for k in range(1, 17)), "Conv_1"),
        weights=(Weights("imagenet", "keras.applications", "Apache-2.0", "ImageNet-1k"),),
        taps=(*(f"block_{k}_expand" for k in (10, 13, 14, 16)), "Conv_1"),
        finetune_from="block_13_expand",
        feature_layers=("block_6_expand_relu", "block_13_expand_relu", "out_relu"),
    )


WIDTHS = {"": 1.0, "_035": 0.35, "_050": 0.5, "_075": 0.75, "_130": 1.3, "_140": 1.4}
CHANNELS = {1.3: 1664, 1.4: 1792}


@hookimpl
def tlearn_backbones() -> list[Backbone]:
    """Offer every width."""
    return [
        mobilenet_v2(f"mobilenet_v2{suffix}", alpha, CHANNELS.get(alpha, 1280))
        for suffix, alpha in WIDTHS.items()
    ]
