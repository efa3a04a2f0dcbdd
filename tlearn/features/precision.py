"""Some layers computed in bfloat16 for a while, as Keras's mixed precision does."""

import contextlib
from collections.abc import Iterator
from typing import Any

from tlearn.features.keras_build import leaves
from tlearn.keras_import import keras

# What bfloat16 units do; depthwise convolutions are no faster in it, so they stay as they are.
LAYERS = (keras.layers.Conv2D, keras.layers.Dense, keras.layers.SeparableConv2D)


@contextlib.contextmanager
def computing_in(precision: str, model: Any) -> Iterator[None]:
    """Compute the products of the models nested in a model, as backbones are, in this precision.

    Weights and all else, the head above all, stay float32. What is traced within keeps the
    precision; what is saved afterwards does not.

    Args:
        precision: ``float32`` or ``bfloat16``.
        model: A Keras model.
    """
    layers = [x for part in _bodies(model) for x in leaves(part) if type(x) in LAYERS]
    before = [layer.dtype_policy for layer in layers]
    policy = keras.dtype_policies.get("mixed_bfloat16" if precision == "bfloat16" else "float32")
    for layer in layers:
        layer.dtype_policy = policy
    try:
        yield
    finally:
        for layer, policy in zip(layers, before, strict=True):
            layer.dtype_policy = policy


def _bodies(model: Any) -> Iterator[Any]:
    """Yield the models nested in a model but for heads; of the runs of an ensemble, theirs."""
    for part in model.layers:
        if isinstance(part, keras.Model) and not part.name.endswith("head"):
            is_run = part.layers[-1].name == "probabilities"
            yield from _bodies(part) if is_run else [part]
