"""DenseNet (Huang et al., 2016)."""

from tlearn.backbones import Backbone, Blocks, Preprocess, hookimpl, keras_application

BACKBONE = keras_application(
    "densenet:DenseNet121",
    name="densenet121",
    summary="every layer sees all before it: few weights",
    reference="Huang et al., Densely Connected Convolutional Networks, arXiv:1608.06993",
    default_size=224,
    min_size=32,
    channels=1024,
    preprocess=Preprocess.TORCH,
    # A layer's output is concatenated to its input, so one tensor passes every concatenation.
    blocks=Blocks.after(
        "pool2_pool",
        "pool3_pool",
        *(f"conv4_block{k}_concat" for k in (6, 12, 18)),
        "pool4_pool",
        *(f"conv5_block{k}_concat" for k in (4, 8, 12)),
    ),
    finetune_from="pool4_pool",
    feature_layers=("pool4_conv", "relu"),
)


@hookimpl
def tlearn_backbones() -> Backbone:
    """Offer it."""
    return BACKBONE
