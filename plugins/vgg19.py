"""VGG19 (Simonyan and Zisserman, 2014)."""

from tlearn.backbones import Backbone, Blocks, Preprocess, Workload, hookimpl, keras_application


@hookimpl
def tlearn_backbones() -> Backbone:
    """Offer it."""
    return keras_application(
        "vgg19:VGG19",
        summary="sixteen plain 3x3 convolutions: slow, large, classic",
        reference="Simonyan and Zisserman, Very Deep Convolutional Networks, arXiv:1409.1556",
        licence="CC BY 4.0",
        file="vgg19_weights_tf_dim_ordering_tf_kernels_notop.h5",
        default_size=224,
        min_size=32,
        channels=512,
        preprocess=Preprocess.CAFFE,
        blocks=Blocks.before("block2_conv1", "block3_conv1", "block4_conv1", "block5_conv1"),
        taps=("block4_conv1", "block5_conv1"),
        finetune_from="block5_conv1",
        workload=Workload(19508.4e6, 1849.7e6, 20_024_384, 2560, 100_352),
        accuracy=0.713,
        feature_layers=("block3_pool", "block4_pool", "block5_pool"),
    )
