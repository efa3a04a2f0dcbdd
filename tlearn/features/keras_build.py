"""A backbone's network as its plugin builds it, with the weights asked for."""

import contextlib
import hashlib
import random
from collections.abc import Iterator
from typing import Any

import numpy as np

from tlearn.backbones import Backbone
from tlearn.errors import BackboneError
from tlearn.features.weights import leaves, network_with_weights
from tlearn.keras_import import keras


def build(backbone: Backbone, size: int, weights: str) -> Any:
    """Build a backbone's network.

    Args:
        backbone: The facts.
        size: Side of the input in pixels.
        weights: ``none``, the name of weights it offers, or a weights file.

    Raises:
        BackboneError: If it cannot be built, or the weights cannot be had.
    """
    base = network_with_weights(backbone, size, weights)
    one_to_one = (
        isinstance(base, keras.Model)
        and len(getattr(base, "inputs", None) or ()) == 1
        and len(base.outputs) == 1
    )
    if not one_to_one:
        raise BackboneError(
            f"the plugin of {backbone.name} must build a functional keras.Model with one input and "
            f"one output, and it built a {type(base).__name__}; tell its author"
        )
    shape = tuple(base.outputs[0].shape)
    if len(shape) not in (3, 4):
        raise BackboneError(
            f"the plugin of {backbone.name} must build a network without its top, which gives a "
            f"map or a sequence of tokens, and it built one that gives {shape}; tell its author"
        )
    # It may be sequential, or know its one tensor as a list or by a name.
    plain = hasattr(base, "_nodes_by_depth") and base.input is base.inputs[0]
    if plain and base.output is base.outputs[0]:
        return base
    return keras.Model(base.inputs[0], base.outputs[0])


@contextlib.contextmanager
def random_numbers_from(seed: int) -> Iterator[None]:
    """Draw the seeds of new layers from ``seed``, and leave the generators of the caller alone.

    Keras's layers and initialisers draw their seeds from :mod:`random`; a plugin may use NumPy.
    """
    before, numpy_before = random.getstate(), np.random.get_state()
    random.seed(seed)
    np.random.seed(seed)
    try:
        yield
    finally:
        random.setstate(before)
        np.random.set_state(numpy_before)


def check_keras() -> None:
    """Refuse settings of Keras under which pixels or numbers would mean something else."""
    found = {
        "backend": (keras.backend.backend(), "tensorflow"),
        "image_data_format": (keras.config.image_data_format(), "channels_last"),
        "dtype policy": (keras.config.dtype_policy().name, "float32"),
    }
    for name, (value, needed) in found.items():
        if value != needed:
            raise BackboneError(
                f"Keras is set to the {name} {value!r}, tlearn needs {needed!r}; change it in "
                f"keras.json, the environment or your program"
            )


def digest_of(base: Any) -> str:
    """Hash all weights, and what every layer is set to; layer names are left to chance by Keras."""
    digest = hashlib.blake2b(digest_size=16)
    for layer in leaves(base):
        settings = {key: value for key, value in layer.get_config().items() if key != "name"}
        digest.update(f"{type(layer).__name__}{settings}".encode())
    for weight in base.weights:
        value = keras.ops.convert_to_numpy(weight)
        digest.update(f"{value.shape}{value.dtype}".encode())
        digest.update(value.tobytes())
    return digest.hexdigest()
