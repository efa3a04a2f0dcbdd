"""VGG19 (Simonyan and Zisserman, 2014)."""

from typing import Any

from tlearn.backbones import Backbone, Blocks, Preprocess, Weights, hookimpl


def build(input_shape: tuple[int, int, int], weights: str | None) -> Any:
    """Return VGG19 without its top."""
    from keras.applications import VGG19

    return VGG19(include_top=False, input_shape=input_shape, weights=weights)


BACKBONE = Backbone(
    name="vgg19",
    summary="sixteen plain 3x3 convolutions: slow, large, classic",
    reference="Simonyan and Zisserman, Very Deep Convolutional Networks, arXiv:1409.1556",
    build=build,
    default_size=224,
    min_size=32,
    channels=512,
    preprocess=Preprocess.CAFFE,
    preprocess_reference="keras.applications.vgg19:preprocess_input",
    blocks=Blocks.before("block2_conv1", "block3_conv1", "block4_conv1", "block5_conv1"),
    weights=(Weights("imagenet", "keras.applications", "CC BY 4.0", "ImageNet-1k"),),
    taps=("block4_conv1", "block5_conv1"),
    finetune_from="block5_conv1",
    feature_layers=("block3_pool", "block4_pool", "block5_pool"),
)


@hookimpl
def tlearn_backbones() -> Backbone:
    """Offer it."""
    return BACKBONE
