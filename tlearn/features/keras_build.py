"""A backbone's network as its plugin builds it: with random weights, by name, or from a file."""

import contextlib
import hashlib
import importlib
import random
import socket
import sys
import warnings
import zipfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from tlearn.backbones import Backbone
from tlearn.backbones.availability import advice
from tlearn.errors import BackboneError, one_line
from tlearn.keras_import import keras

DOWNLOAD_TIMEOUT = 20.0  # seconds without a byte
# A plugin's code, a download, h5py and Keras raise any exception: all are caught here.


def build(backbone: Backbone, size: int, weights: str, left_out: list[str] | None = None) -> Any:
    """Build a backbone's network.

    Args:
        backbone: The facts.
        size: Side of the input in pixels.
        weights: ``none``, the name of weights it offers, or a file: of weights, or of a whole model
            that holds this backbone, such as a run's ``model.keras``.
        left_out: Is given the names of layers that a file does not have, or has in other shapes,
            which keep random weights; where there is no list, they are an error.

    Raises:
        BackboneError: If it cannot be built, or the weights cannot be loaded or do not fit.
    """
    # Keras warns about sizes that its ImageNet weights were not trained at; any size is allowed.
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`input_shape` is undefined or non-square", UserWarning)
        if weights == "none":
            base = _with_random_weights(backbone, size)
        elif weights in [w.name for w in backbone.weights]:
            base = _with_named_weights(backbone, size, weights)
        else:
            base = _with_weights_of_file(backbone, size, weights, left_out)
    one_to_one = (
        isinstance(base, keras.Model)
        and len(getattr(base, "inputs", None) or ()) == 1
        and len(base.outputs) == 1
    )
    if not one_to_one:
        raise BackboneError(
            f"the plugin of {backbone.name} must build a functional keras.Model with one input and "
            f"one output, and it built a {type(base).__name__}; report this to its author"
        )
    shape = tuple(base.outputs[0].shape)
    if len(shape) not in (3, 4):
        raise BackboneError(
            f"the plugin of {backbone.name} must build a network without its top, which gives a "
            f"map or a sequence of tokens, and it built one that gives {shape}; report "
            f"this to its author"
        )
    lambdas = [layer.name for layer in leaves(base) if isinstance(layer, keras.layers.Lambda)]
    if lambdas:
        raise BackboneError(
            f"the plugin of {backbone.name} builds the Lambda layer {lambdas[0]!r}, whose code "
            f"Keras does not load with a saved model; its author can write it with keras.ops, or "
            f"as a layer class"
        )
    # It may be sequential, or know its one tensor as a list or by a name.
    plain = hasattr(base, "_nodes_by_depth") and base.input is base.inputs[0]
    if plain and base.output is base.outputs[0]:
        return base
    return keras.Model(base.inputs[0], base.outputs[0])


def _with_random_weights(backbone: Backbone, size: int) -> Any:
    try:
        return backbone.build((size, size, 3), None)
    except Exception as error:
        raise BackboneError(
            f"the plugin of {backbone.name} fails to build it at {size} pixels "
            f"({type(error).__name__}: {one_line(error)}); plugin "
            f"authors: run 'tlearn plugins check {backbone.name}' for details"
        ) from error


def _with_named_weights(backbone: Backbone, size: int, weights: str) -> Any:
    """Build it with weights by name; where there are none of this size, with the default size's."""
    try:
        with _bounded_download():
            return backbone.build((size, size, 3), weights)
    except BackboneError:
        raise
    except Exception as error:  # noqa: BLE001
        default = backbone.default_size
        record = next(w for w in backbone.weights if w.name == weights)
        with contextlib.suppress(Exception), _bounded_download():
            # Without a top, weights of any size fit; what could not be fetched is not asked again.
            if size != default and record.on_this_machine is not False:
                network = backbone.build((size, size, 3), None)
                network.set_weights(backbone.build((default, default, 3), weights).get_weights())
                return network
        reason = one_line(error)
        if record.path:  # a download that was killed leaves a part of the file
            reason = f"{reason}; delete {str(record.path)!r} to have it downloaded again"
        raise BackboneError(
            f"the weights {weights!r} of {backbone.name} could not be loaded ({reason}); {advice()}"
        ) from None


@contextlib.contextmanager
def _bounded_download() -> Iterator[None]:
    """Time out a download that stalls, and print download bars on standard error."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(DOWNLOAD_TIMEOUT)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        socket.setdefaulttimeout(before)


def _with_weights_of_file(
    backbone: Backbone, size: int, weights: str, left_out: list[str] | None
) -> Any:
    path = Path(backbone.checked_weights(weights))
    try:
        if _is_model(path):
            network = _from_model(backbone, size, path, left_out)
        elif left_out is not None:
            network = _with_what_fits(backbone, size, path, left_out)
        else:
            network = backbone.build((size, size, 3), str(path))
        if left_out and len(left_out) == sum(bool(layer.weights) for layer in leaves(network)):
            raise ValueError("none of its layers fits")
        return network
    except Exception as error:  # noqa: BLE001
        raise BackboneError(
            f"the weights in {str(path)!r} do not fit {backbone.name} without its top at {size} "
            f"pixels: {one_line(error).rstrip('.')}; give a file that was saved from this "
            f"backbone, --skip-mismatch to use what fits, or --weights none"
        ) from None


def _with_what_fits(backbone: Backbone, size: int, path: Path, left_out: list[str]) -> Any:
    """Build it with the weights of a file that fit, by names of layers in files of old Keras."""
    network = backbone.build((size, size, 3), None)
    layers = [layer for layer in leaves(network) if layer.weights]
    before = [layer.get_weights() for layer in layers]
    by_name = {} if path.name.endswith(".weights.h5") else {"by_name": True}
    with warnings.catch_warnings():  # what is skipped is told in our words
        warnings.simplefilter("ignore", UserWarning)
        network.load_weights(path, skip_mismatch=True, **by_name)
    for layer, arrays in zip(layers, before, strict=True):
        if all(map(np.array_equal, layer.get_weights(), arrays)):
            left_out.append(layer.name)
    return network


def _is_model(path: Path) -> bool:
    """Return whether a file holds a whole model, not weights alone."""
    if zipfile.is_zipfile(path):
        return True
    if not h5py.is_hdf5(path):
        return False
    with h5py.File(path) as file:
        return "model_config" in file.attrs


def _from_model(backbone: Backbone, size: int, path: Path, left_out: list[str] | None) -> Any:
    """Build it with the weights that its layers have in a saved model.

    Layers are matched by name or, where their names were left to Keras, by order; with a list of
    what is left out by name alone.

    Raises:
        ValueError: If the model does not hold them.
    """
    for module in backbone.modules:
        importlib.import_module(module)
    model = keras.models.load_model(path, compile=False, safe_mode=True)
    network = backbone.build((size, size, 3), None)
    wanted, there = ([x for x in leaves(m) if x.weights] for m in (network, model))
    by_name, names = {layer.name: layer for layer in there}, Counter(x.name for x in there)
    if twice := [layer.name for layer in wanted if names[layer.name] > 1]:
        raise ValueError(f"it averages networks that each have a layer {twice[0]!r}")
    if left_out is not None:
        for layer in wanted:
            source = by_name.get(layer.name)
            if source is not None and _form(source) == _form(layer):
                layer.set_weights(source.get_weights())
            else:
                left_out.append(layer.name)
        return network
    if all(layer.name in by_name for layer in wanted):
        there = [by_name[layer.name] for layer in wanted]
    if len(there) < len(wanted):
        raise ValueError(f"the model has {len(there)} layers with weights, not {len(wanted)}")
    for layer, source in zip(wanted, there, strict=False):
        needed, given = _form(layer), _form(source)
        if needed != given:
            raise ValueError(
                f"where {layer.name} should be, a {needed[0]} with weights {needed[1][0]}, the "
                f"model has {source.name}, a {given[0]} with weights {given[1][0]}"
            )
        layer.set_weights(source.get_weights())
    return network


def _form(layer: Any) -> tuple[str, list[tuple[int, ...]]]:
    """Return the class of a layer and the shapes of its weights."""
    return type(layer).__name__, [tuple(weight.shape) for weight in layer.weights]


def leaves(model: Any) -> Iterator[Any]:
    """Yield the layers of a model, and instead of a model among them its layers."""
    for layer in model.layers:
        yield from leaves(layer) if isinstance(layer, keras.Model) else [layer]


@contextlib.contextmanager
def random_numbers_from(seed: int) -> Iterator[None]:
    """Draw the seeds of new layers from ``seed``, without a change to the caller's generators.

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
    """Refuse settings of Keras under which pixels or numbers would mean something else.

    Raises:
        BackboneError: If there is one.
    """
    settings = {
        "backend": (keras.backend.backend(), "tensorflow"),
        "image_data_format": (keras.config.image_data_format(), "channels_last"),
        "dtype policy": (keras.config.dtype_policy().name, "float32"),
    }
    for name, (value, needed) in settings.items():
        if value != needed:
            raise BackboneError(
                f"Keras is set to the {name} {value!r}, tlearn needs {needed!r}; change it in "
                f"keras.json, the environment or your program"
            )


def digest_of(base: Any) -> str:
    """Hash all weights and the settings of every layer, but for its name, which varies in Keras."""
    digest = hashlib.blake2b(digest_size=16)
    for layer in leaves(base):
        settings = {key: value for key, value in layer.get_config().items() if key != "name"}
        digest.update(f"{type(layer).__name__}{settings}".encode())
    for weight in base.weights:
        value = keras.ops.convert_to_numpy(weight)
        digest.update(f"{value.shape}{value.dtype}".encode())
        digest.update(value.tobytes())
    return digest.hexdigest()
