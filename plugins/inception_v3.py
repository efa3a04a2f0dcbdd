"""InceptionV3 (Szegedy et al., 2015)."""

from typing import Any

from tlearn.backbones import Backbone, Blocks, Preprocess, Weights, hookimpl


def build(input_shape: tuple[int, int, int], weights: str | None) -> Any:
    """Return InceptionV3 without its top."""
    from keras.applications import InceptionV3

    return InceptionV3(include_top=False, input_shape=input_shape, weights=weights)


BACKBONE = Backbone(
    name="inception_v3",
    summary="parallel convolutions of several sizes: accurate, moderate cost",
    reference="Szegedy et al., Rethinking the Inception Architecture, arXiv:1512.00567",
    build=build,
    default_size=299,
    min_size=75,
    channels=2048,
    preprocess=Preprocess.TF,
    preprocess_reference="keras.applications.inception_v3:preprocess_input",
    # Its convolutions have automatic names that change on a second build; the mixed layers do not.
    blocks=Blocks.after(*(f"mixed{k}" for k in range(10))),
    weights=(Weights("imagenet", "keras.applications", "Apache-2.0", "ImageNet-1k"),),
    taps=("mixed4", "mixed6", "mixed7", "mixed8", "mixed9"),
    finetune_from="mixed8",
    feature_layers=("mixed7", "mixed8", "mixed9", "mixed10"),
)


@hookimpl
def tlearn_backbones() -> Backbone:
    """Offer it."""
    return BACKBONE
