"""Xception (Chollet, 2016)."""

from typing import Any

from tlearn.backbones import Backbone, Blocks, Preprocess, Weights, hookimpl


def build(input_shape: tuple[int, int, int], weights: str | None) -> Any:
    """Return Xception without its top."""
    from keras.applications import Xception

    return Xception(include_top=False, input_shape=input_shape, weights=weights)


BACKBONE = Backbone(
    name="xception",
    summary="depthwise separable convolutions throughout: accurate, slow on a CPU",
    reference="Chollet, Xception, arXiv:1610.02357",
    build=build,
    default_size=299,
    min_size=71,
    channels=2048,
    preprocess=Preprocess.TF,
    preprocess_reference="keras.applications.xception:preprocess_input",
    # The sums between blocks have automatic names; the activation that opens a block does not.
    blocks=Blocks.before(
        "block2_sepconv1", *(f"block{k}_sepconv1_act" for k in range(3, 14)), "block14_sepconv1"
    ),
    weights=(Weights("imagenet", "keras.applications", "Apache-2.0", "ImageNet-1k"),),
    taps=(*(f"block{k}_sepconv1_act" for k in (8, 11, 12, 13)), "block14_sepconv1"),
    finetune_from="block13_sepconv1_act",
    feature_layers=("block13_sepconv2_bn", "block14_sepconv2_act"),
)


@hookimpl
def tlearn_backbones() -> Backbone:
    """Offer it."""
    return BACKBONE
