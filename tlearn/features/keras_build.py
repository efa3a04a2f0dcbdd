"""A backbone's network as its plugin builds it, with the weights asked for."""

import contextlib
import hashlib
import socket
import sys
import warnings
from collections.abc import Iterator
from typing import Any

import keras

from tlearn.backbones import Backbone
from tlearn.errors import BackboneError, one_line

DOWNLOAD_TIMEOUT = 20.0  # seconds without a byte


def build(backbone: Backbone, size: int, weights: str) -> Any:
    """Build a backbone's network.

    Args:
        backbone: The facts.
        size: Side of the input in pixels.
        weights: ``none``, the name of weights it offers, or a weights file.

    Raises:
        BackboneError: If it cannot be built, or the weights cannot be had.
    """
    base = _built(backbone, size, weights)
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


def _built(backbone: Backbone, size: int, weights: str) -> Any:
    shape = (size, size, 3)
    # Keras remarks on sizes that its ImageNet weights were not trained at; any size is allowed.
    warnings.filterwarnings("ignore", "`input_shape` is undefined or non-square", UserWarning)
    weights = backbone.checked_weights(weights)
    if weights == "none":
        try:
            return backbone.build(shape, None)
        # A stranger's code raises what it pleases.
        except Exception as error:
            raise BackboneError(
                f"the plugin of {backbone.name} fails to build it at {size} pixels "
                f"({type(error).__name__}: {one_line(error)}); 'tlearn plugins check "
                f"{backbone.name}' tells its author more"
            ) from error
    if weights in [w.name for w in backbone.weights]:
        try:
            with _bounded_download():
                return backbone.build(shape, weights)
        # What a download or a damaged download raises depends on the plugin and on Keras.
        except Exception as error:  # noqa: BLE001
            raise BackboneError(
                f"the weights {weights!r} of {backbone.name} could not be loaded "
                f"({one_line(error)}); give a file with --weights FILE, point KERAS_HOME at a "
                f"folder that has them in models/, or start from random weights with --weights none"
            ) from None
    try:
        return backbone.build(shape, weights)
    # h5py and Keras raise several kinds for a file that is none or is another network's.
    except Exception as error:  # noqa: BLE001
        raise BackboneError(
            f"the weights in {weights!r} do not fit {backbone.name} without its top at "
            f"{size} pixels: {one_line(error)}; give a file that was saved from this backbone, or "
            f"--weights none"
        ) from None


@contextlib.contextmanager
def _bounded_download() -> Iterator[None]:
    """Give up on a silent network, and keep download bars off standard output."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(DOWNLOAD_TIMEOUT)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        socket.setdefaulttimeout(before)


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
    for layer in _layers(base):
        settings = {key: value for key, value in layer.get_config().items() if key != "name"}
        digest.update(f"{type(layer).__name__}{settings}".encode())
    for weight in base.weights:
        value = keras.ops.convert_to_numpy(weight)
        digest.update(f"{value.shape}{value.dtype}".encode())
        digest.update(value.tobytes())
    return digest.hexdigest()


def _layers(model: Any) -> Iterator[Any]:
    """Yield the layers of a model, and instead of a model among them its layers."""
    for layer in model.layers:
        yield from _layers(layer) if isinstance(layer, keras.Model) else [layer]
