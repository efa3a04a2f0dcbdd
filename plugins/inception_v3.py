"""InceptionV3 (Szegedy et al., 2015)."""

from tlearn.backbones import Backbone, Blocks, Preprocess, Workload, hookimpl, keras_application


@hookimpl
def tlearn_backbones() -> Backbone:
    """Offer it."""
    return keras_application(
        "inception_v3:InceptionV3",
        summary="parallel convolutions of several sizes: accurate, moderate cost",
        reference="Szegedy et al., Rethinking the Inception Architecture, arXiv:1512.00567",
        file="inception_v3_weights_tf_dim_ordering_tf_kernels_notop.h5",
        default_size=299,
        min_size=75,
        channels=2048,
        preprocess=Preprocess.TF,
        # Its convolutions' automatic names change on a second build; the mixed layers' do not.
        blocks=Blocks.after(*(f"mixed{k}" for k in range(10))),
        taps=("mixed4", "mixed6", "mixed7", "mixed8", "mixed9"),
        finetune_from="mixed8",
        workload=Workload(5711.2e6, 710.9e6, 21_802_784, 15360, 81920),
        accuracy=0.779,
        feature_layers=("mixed7", "mixed8", "mixed9", "mixed10"),
    )
