"""DenseNet (Huang et al., 2016)."""

from typing import Any

from tlearn.backbones import Backbone, Blocks, Preprocess, Weights, hookimpl


def build(input_shape: tuple[int, int, int], weights: str | None) -> Any:
    """Return DenseNet121 without its top."""
    from keras.applications import DenseNet121

    return DenseNet121(include_top=False, input_shape=input_shape, weights=weights)


BACKBONE = Backbone(
    name="densenet121",
    summary="every layer sees all before it: few weights",
    reference="Huang et al., Densely Connected Convolutional Networks, arXiv:1608.06993",
    build=build,
    default_size=224,
    min_size=32,
    channels=1024,
    preprocess=Preprocess.TORCH,
    preprocess_reference="keras.applications.densenet:preprocess_input",
    # What a layer gives is carried on beside its input, so one tensor passes every concatenation.
    blocks=Blocks.after(
        "pool2_pool",
        "pool3_pool",
        *(f"conv4_block{k}_concat" for k in (6, 12, 18)),
        "pool4_pool",
        *(f"conv5_block{k}_concat" for k in (4, 8, 12)),
    ),
    weights=(Weights("imagenet", "keras.applications", "Apache-2.0", "ImageNet-1k"),),
    finetune_from="pool4_pool",
    feature_layers=("pool4_conv", "relu"),
)


@hookimpl
def tlearn_backbones() -> Backbone:
    """Offer it."""
    return BACKBONE
