"""ResNetV2 (He et al., 2016)."""

from tlearn.backbones import Backbone, Blocks, Preprocess, hookimpl, keras_application

DEPTHS = {"conv2": 3, "conv3": 4, "conv4": 6, "conv5": 3}

BACKBONE = keras_application(
    "resnet_v2:ResNet50V2",
    name="resnet50_v2",
    summary="residual blocks with normalisation before the convolutions: the classic",
    reference="He et al., Identity Mappings in Deep Residual Networks, arXiv:1603.05027",
    default_size=224,
    min_size=32,
    channels=2048,
    preprocess=Preprocess.TF,
    # After the sums that end the blocks; the last block's is the top, before its normalisation.
    blocks=Blocks.after(
        "pool1_pool",
        *(f"{stage}_block{k}_out" for stage, depth in DEPTHS.items() for k in range(1, depth + 1)),
    ),
    finetune_from="conv4_block6_out",
    feature_layers=("conv4_block6_out", "post_relu"),
)


@hookimpl
def tlearn_backbones() -> Backbone:
    """Offer it."""
    return BACKBONE
