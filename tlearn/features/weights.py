"""A backbone's network with the weights asked for: random, by name, or from a file."""

import contextlib
import importlib
import socket
import sys
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py

from tlearn.backbones import Backbone
from tlearn.errors import BackboneError, one_line
from tlearn.keras_import import keras

DOWNLOAD_TIMEOUT = 20.0  # seconds without a byte
# A plugin's code, a download, h5py and Keras raise what they please: all are caught here.


def network_with_weights(backbone: Backbone, size: int, weights: str) -> Any:
    """Build a backbone's network as its plugin does.

    Args:
        backbone: The facts.
        size: Side of the input in pixels.
        weights: ``none``, the name of weights it offers, or a file: of weights, or of a whole model
            that holds this backbone, such as a run's ``model.keras``.

    Raises:
        BackboneError: If it cannot be built, or the weights cannot be had or do not fit.
    """
    # Keras remarks on sizes that its ImageNet weights were not trained at; any size is allowed.
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`input_shape` is undefined or non-square", UserWarning)
        if weights == "none":
            return _random(backbone, size)
        if weights in [w.name for w in backbone.weights]:
            return _named(backbone, size, weights)
        path = Path(backbone.checked_weights(weights))
        try:
            if _is_model(path):
                return _from_model(backbone, size, path)
            return backbone.build((size, size, 3), str(path))
        except Exception as error:  # noqa: BLE001
            raise BackboneError(
                f"the weights in {str(path)!r} do not fit {backbone.name} without its top at "
                f"{size} pixels: {one_line(error)}; give a file that was saved from this backbone, "
                f"or --weights none"
            ) from None


def _random(backbone: Backbone, size: int) -> Any:
    try:
        return backbone.build((size, size, 3), None)
    except Exception as error:
        raise BackboneError(
            f"the plugin of {backbone.name} fails to build it at {size} pixels "
            f"({type(error).__name__}: {one_line(error)}); its author finds out more by "
            f"'tlearn plugins check {backbone.name}'"
        ) from error


def _named(backbone: Backbone, size: int, weights: str) -> Any:
    """Build it with weights by name; where there are none of this size, with the usual ones."""
    try:
        with _bounded_download():
            return backbone.build((size, size, 3), weights)
    except Exception as error:  # noqa: BLE001
        usual = backbone.default_size
        with contextlib.suppress(Exception), _bounded_download():
            if size != usual:  # without a top, weights of any size fit
                network = backbone.build((size, size, 3), None)
                network.set_weights(backbone.build((usual, usual, 3), weights).get_weights())
                return network
        raise BackboneError(
            f"the weights {weights!r} of {backbone.name} could not be loaded "
            f"({one_line(error)}); give a file with --weights FILE, point KERAS_HOME at a "
            f"folder that has them in models/, or start from random weights with --weights none"
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


def _is_model(path: Path) -> bool:
    """Tell whether a file holds a whole model, not weights alone."""
    if zipfile.is_zipfile(path):
        return True
    if not h5py.is_hdf5(path):
        return False
    with h5py.File(path) as file:
        return "model_config" in file.attrs


def _from_model(backbone: Backbone, size: int, path: Path) -> Any:
    """Build it with the weights that its layers have in a saved model.

    Layers are matched by name or, where their names were left to Keras, by order.

    Raises:
        ValueError: If the model does not hold them.
    """
    for module in backbone.modules:
        importlib.import_module(module)
    model = keras.models.load_model(path, compile=False, safe_mode=True)
    network = backbone.build((size, size, 3), None)
    wanted, there = ([x for x in leaves(m) if x.weights] for m in (network, model))
    by_name = {layer.name: layer for layer in there}
    if all(layer.name in by_name for layer in wanted):
        there = [by_name[layer.name] for layer in wanted]
    if len(there) < len(wanted):
        raise ValueError(f"the model has {len(there)} layers with weights, not {len(wanted)}")
    for layer, source in zip(wanted, there, strict=False):
        kinds = [(type(x).__name__, [tuple(w.shape) for w in x.weights]) for x in (layer, source)]
        if kinds[0] != kinds[1]:
            raise ValueError(f"where {layer.name} should be, the model has {source.name}")
        layer.set_weights(source.get_weights())
    return network


def leaves(model: Any) -> Iterator[Any]:
    """Yield the layers of a model, and instead of a model among them its layers."""
    for layer in model.layers:
        yield from leaves(layer) if isinstance(layer, keras.Model) else [layer]
