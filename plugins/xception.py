"""Xception (Chollet, 2016)."""

from tlearn.backbones import Backbone, Blocks, Preprocess, Workload, hookimpl, keras_application


@hookimpl
def tlearn_backbones() -> Backbone:
    """Offer it."""
    return keras_application(
        "xception:Xception",
        summary="depthwise separable convolutions throughout: accurate, slow on a CPU",
        reference="Chollet, Xception, arXiv:1610.02357",
        file="xception_weights_tf_dim_ordering_tf_kernels_notop.h5",
        default_size=299,
        min_size=71,
        channels=2048,
        preprocess=Preprocess.TF,
        # The sums between blocks have automatic names; the activation that opens a block does not.
        blocks=Blocks.before(
            "block2_sepconv1", *(f"block{k}_sepconv1_act" for k in range(3, 14)), "block14_sepconv1"
        ),
        taps=(*(f"block{k}_sepconv1_act" for k in (8, 11, 12, 13)), "block14_sepconv1"),
        finetune_from="block13_sepconv1_act",
        workload=Workload(8355.4e6, 1013.9e6, 20_861_480, 11968, 262_808),
        accuracy=0.79,
        feature_layers=("block13_sepconv2_bn", "block14_sepconv2_act"),
    )
