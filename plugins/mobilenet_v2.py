"""MobileNetV2 (Sandler et al., 2018), in the six widths that have ImageNet weights."""

from collections.abc import Iterator

from tlearn.backbones import Backbone, Blocks, Preprocess, Workload, hookimpl, keras_application

WIDTHS = {"": 1.0, "_035": 0.35, "_050": 0.5, "_075": 0.75, "_130": 1.3, "_140": 1.4}
CHANNELS = {1.3: 1664, 1.4: 1792}
SOURCE = "tensorflow/models, research/slim/nets/mobilenet/README.md"
# Of ImageNet, with these weights as they were published; then converted to Keras.
ACCURACY = {0.35: 0.603, 0.5: 0.654, 0.75: 0.698, 1.0: 0.718, 1.3: 0.744, 1.4: 0.75}
WORKLOADS = {
    0.35: Workload(58.0e6, 15.7e6, 410_208, 3120, 6272),
    0.5: Workload(95.9e6, 27.8e6, 706_224, 3360, 9408),
    0.75: Workload(207.8e6, 54.5e6, 1_382_064, 3760, 14112),
    1.0: Workload(299.5e6, 89.6e6, 2_257_984, 4160, 18816),
    1.3: Workload(507.7e6, 152.0e6, 3_766_048, 5408, 25088),
    1.4: Workload(580.4e6, 175.4e6, 4_363_712, 5824, 26656),
}


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
            workload=WORKLOADS[alpha],
            accuracy=ACCURACY[alpha],
            accuracy_source=SOURCE,
            feature_layers=("block_6_expand_relu", "block_13_expand_relu", "out_relu"),
        )
