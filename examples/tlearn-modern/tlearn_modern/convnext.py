"""ConvNeXt (Liu et al., 2022)."""

from typing import Any

from tlearn.backbones import Backbone, Blocks, Preprocess, Weights, hookimpl


def build(input_shape: tuple[int, int, int], weights: str | None) -> Any:
    """Return ConvNeXt-Tiny without its top."""
    from keras.applications import ConvNeXtTiny

    return ConvNeXtTiny(
        include_top=False, input_shape=input_shape, weights=weights, name="convnext_tiny"
    )


DEPTHS = (3, 3, 9, 3)

BACKBONE = Backbone(
    name="convnext_tiny",
    summary="a convolutional network with the recipes of transformers: accurate",
    reference="Liu et al., A ConvNet for the 2020s, arXiv:2201.03545",
    build=build,
    default_size=224,
    min_size=32,
    channels=768,
    preprocess=Preprocess.NONE,  # it normalises pixels itself, in its first layers
    preprocess_reference="keras.applications.convnext:preprocess_input",
    blocks=Blocks.before(
        *(
            f"convnext_tiny_stage_{stage}_block_{block}_depthwise_conv"
            for stage, depth in enumerate(DEPTHS)
            for block in range(depth)
        )
    ),
    weights=(Weights("imagenet", "keras.applications, from Meta", "MIT", "ImageNet-1k"),),
    finetune_from="convnext_tiny_stage_3_block_0_depthwise_conv",
    feature_layers=("convnext_tiny_downsampling_block_2",),
    modules=("keras.applications.convnext",),
)


@hookimpl
def tlearn_backbones() -> Backbone:
    """Offer it."""
    return BACKBONE
