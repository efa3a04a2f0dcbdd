"""ResNetV2 (He et al., 2016)."""

from typing import Any

from tlearn.backbones import Backbone, Blocks, Preprocess, Weights, hookimpl


def build(input_shape: tuple[int, int, int], weights: str | None) -> Any:
    """Return ResNet50V2 without its top."""
    from keras.applications import ResNet50V2

    return ResNet50V2(include_top=False, input_shape=input_shape, weights=weights)


DEPTHS = {"conv2": 3, "conv3": 4, "conv4": 6, "conv5": 3}

BACKBONE = Backbone(
    name="resnet50_v2",
    summary="residual blocks, normalised before they compute: the classic",
    reference="He et al., Identity Mappings in Deep Residual Networks, arXiv:1603.05027",
    build=build,
    default_size=224,
    min_size=32,
    channels=2048,
    preprocess=Preprocess.TF,
    preprocess_reference="keras.applications.resnet_v2:preprocess_input",
    # After the sums that end the blocks; the last block's is the top, before its normalisation.
    blocks=Blocks.after(
        "pool1_pool",
        *(f"{stage}_block{k}_out" for stage, depth in DEPTHS.items() for k in range(1, depth + 1)),
    ),
    weights=(Weights("imagenet", "keras.applications", "Apache-2.0", "ImageNet-1k"),),
    finetune_from="conv4_block6_out",
    feature_layers=("conv4_block6_out", "post_relu"),
)


@hookimpl
def tlearn_backbones() -> Backbone:
    """Offer it."""
    return BACKBONE
