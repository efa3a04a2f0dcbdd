"""MobileNetV2 (Sandler et al., 2018), in the six widths that have ImageNet weights."""

from collections.abc import Iterator

from tlearn.backbones import Backbone, Blocks, Preprocess, hookimpl, keras_application

WIDTHS = {"": 1.0, "_035": 0.35, "_050": 0.5, "_075": 0.75, "_130": 1.3, "_140": 1.4}
CHANNELS = {1.3: 1664, 1.4: 1792}


@hookimpl
def tlearn_backbones() -> Iterator[Backbone]:
    """Offer every width."""
    for suffix, alpha in WIDTHS.items():
        yield keras_application(
            "mobilenet_v2:MobileNetV2",
            name=f"mobilenet_v2{suffix}",
            arguments={"alpha": alpha},
            summary=f"inverted residuals, width {alpha:g}: fast on a CPU",
            reference="Sandler et al., MobileNetV2, arXiv:1801.04381",
            file=f"mobilenet_v2_weights_tf_dim_ordering_tf_kernels_{alpha}_224_no_top.h5",
            default_size=224,
            min_size=32,
            channels=CHANNELS.get(alpha, 1280),
            preprocess=Preprocess.TF,
            blocks=Blocks.before(*(f"block_{k}_expand" for k in range(1, 17)), "Conv_1"),
            taps=(*(f"block_{k}_expand" for k in (10, 13, 14, 16)), "Conv_1"),
            finetune_from="block_13_expand",
            feature_layers=("block_6_expand_relu", "block_13_expand_relu", "out_relu"),
        )
