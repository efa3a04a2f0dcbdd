"""ConvNeXt (Liu et al., 2022)."""

from tlearn.backbones import Backbone, Blocks, Preprocess, hookimpl, keras_application

DEPTHS = (3, 3, 9, 3)

BACKBONE = keras_application(
    "convnext:ConvNeXtTiny",
    name="convnext_tiny",
    arguments={"name": "convnext_tiny"},  # layer names begin with it
    summary="a convolutional network with the recipes of transformers: accurate",
    reference="Liu et al., A ConvNet for the 2020s, arXiv:2201.03545",
    licence="MIT",
    default_size=224,
    min_size=32,
    channels=768,
    preprocess=Preprocess.NONE,  # it normalises pixels itself, in its first layers
    blocks=Blocks.before(
        *(
            f"convnext_tiny_stage_{stage}_block_{block}_depthwise_conv"
            for stage, depth in enumerate(DEPTHS)
            for block in range(depth)
        )
    ),
    finetune_from="convnext_tiny_stage_3_block_0_depthwise_conv",
    feature_layers=("convnext_tiny_downsampling_block_2",),
    modules=("keras.applications.convnext",),
)


@hookimpl
def tlearn_backbones() -> Backbone:
    """Offer it."""
    return BACKBONE
