"""The checks: what the core relies on, beyond types."""

import functools
import importlib
import importlib.util
import inspect
import itertools
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import astuple
from pathlib import Path
from typing import Any
from unittest import SkipTest

import numpy as np

from tlearn.backbones.contract import Backbone, Workload
from tlearn.config import Stage

Check = Callable[[Backbone], None]

SEED = 0
STEPS = 5
TINY = 1e-20
HEAVY = ("keras", "keras_hub", "tensorflow", "torch", "jax", "openvino")
# Imports a module by its name, or else from its file, and prints which of the libraries it loads.
ALONE = """
import importlib.util, sys
name, file, *heavy = sys.argv[1:]
try:
    importlib.import_module(name)
except ModuleNotFoundError as error:
    if error.name != name:
        raise
    spec = importlib.util.spec_from_file_location(name, file)
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
print(*(set(heavy) & set(sys.modules)))
"""
CLOSE = 1e-4  # relative and absolute
SIMILAR = 0.02  # of what a backbone takes


def check_facts(backbone: Backbone) -> None:
    """Summary, reference and weights say what people need to know."""
    for name in ("summary", "reference"):
        text = getattr(backbone, name)
        assert text and text == " ".join(text.split()), f"{name} must be one line: {text!r}"
    names = [weights.name for weights in backbone.weights]
    assert len(set(names)) == len(names), f"weights must have distinct names: {names}"
    assert "none" not in names, "no weights can be called 'none', which means random ones"
    for weights in backbone.weights:
        for fact in ("name", "source", "licence", "trained_on"):
            assert getattr(weights, fact), f"the weights {weights.name!r} must state their {fact}"


def check_import_is_light(backbone: Backbone) -> None:
    """Importing the plugin loads no framework: listing backbones stays quick."""
    module = inspect.getmodule(inspect.unwrap(getattr(backbone.build, "func", backbone.build)))
    name, file = getattr(module, "__name__", ""), getattr(module, "__file__", None)
    if not file:
        raise SkipTest("the module of build has no file")
    done = subprocess.run(
        [sys.executable, "-c", ALONE, name, file, *HEAVY],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    assert done.returncode == 0, f"importing {file} alone failed: {done.stderr[-300:]}"
    loaded = done.stdout.split()
    assert not loaded, f"importing the plugin loads {', '.join(sorted(loaded))}; import it in build"


def check_smallest_size(backbone: Backbone) -> None:
    """It builds at its smallest size, as it promises."""
    _check_built(backbone, backbone.min_size)


def check_default_size(backbone: Backbone) -> None:
    """It builds at its default size, as it promises, and takes what it says."""
    _check_built(backbone, backbone.default_size)
    if backbone.workload is not None:
        actual = _workload(_built(backbone, backbone.default_size))
        near = np.allclose(astuple(backbone.workload), astuple(actual), rtol=SIMILAR)
        assert near, f"its workload is another: {actual}"


def _check_built(backbone: Backbone, size: int) -> None:
    base = _built(backbone, size).base
    shape, out = tuple(base.input.shape), tuple(base.output.shape)
    assert shape == (None, size, size, 3), f"the input's shape is {shape}, not {(size, size, 3)}"
    assert out[-1] == backbone.channels, (
        f"the output has {out[-1]} channels, and channels={backbone.channels} is promised"
    )
    kinds = {str(weight.dtype) for weight in base.trainable_weights}
    assert kinds <= {"float32"}, f"weights must be float32, not {', '.join(sorted(kinds))}"
    output = np.asarray(base(_preprocess(backbone, _pixels(size)), training=False))
    assert np.isfinite(output).all(), f"the output at {size} pixels is not finite"


def check_second_build(backbone: Backbone) -> None:
    """A second build in one process has the same boundaries, and the same weights by the seed."""
    first = _built(backbone, backbone.min_size)
    second = _network(backbone).built
    for one, other in zip(first.boundaries, second.boundaries, strict=True):
        assert one.tensor.shape == other.tensor.shape, (
            f"on a second build the boundary {one.name!r} has another shape: "
            f"{one.tensor.shape}, then {other.tensor.shape}"
        )
    assert first.digest == second.digest, (
        "a second build with the same seed has other weights or settings; initialise them by "
        "Keras's initialisers, which follow keras.utils.set_random_seed"
    )


def check_blocks(backbone: Backbone) -> None:
    """The boundaries part the layers into blocks, upwards, each with something to train."""
    built = _built(backbone, backbone.min_size)
    above = [built.layers_above(boundary) for boundary in built.boundaries] + [frozenset()]
    for boundary, (lower, higher) in zip(built.boundaries, itertools.pairwise(above), strict=True):
        assert higher < lower, f"the boundaries above {boundary.name!r} do not lie above it"
        block = [layer for layer in built.base.layers if layer.name in lower - higher]
        assert any(layer.weights for layer in block), (
            f"the block above {boundary.name!r} has no weights: unfreezing it would train nothing"
        )


def check_one_tensor_crosses(backbone: Backbone) -> None:
    """Exactly one tensor crosses each boundary: what is above needs nothing else from below."""
    from tlearn.keras_import import keras

    built = _built(backbone, backbone.min_size)
    tensors = [boundary.tensor for boundary in built.boundaries] + [built.base.output]
    whole = keras.Model(built.base.input, tensors)
    values = whole(_preprocess(backbone, _pixels(built.size)), training=False)
    for index, boundary in enumerate(built.boundaries):
        try:
            block = keras.Model(boundary.tensor, tensors[index + 1])
        except ValueError:
            raise AssertionError(
                f"more than one tensor crosses the boundary {boundary.position} {boundary.name!r}, "
                f"or it is not in order: the block above cannot be computed from it alone"
            ) from None
        alone = np.asarray(block(values[index], training=False))
        assert np.allclose(alone, np.asarray(values[index + 1]), CLOSE, CLOSE), (
            f"the block above {boundary.name!r} alone gives another output than in the network"
        )


def check_freezing(backbone: Backbone) -> None:
    """Unfreezing more blocks trains more; doing it twice changes nothing."""
    network = _network(backbone)
    counts = []
    for blocks in range(1, len(network.built.boundaries) + 1):
        trainable = network.built.layers_to_train(blocks)
        trained = []
        for _ in range(2):
            network.freeze(trainable)
            trained.append([id(weight) for weight in network.built.base.trainable_weights])
        assert trained[0] == trained[1], f"unfreezing {blocks} blocks twice trains something else"
        counts.append(len(trained[0]))
    assert counts == sorted(set(counts)), (
        f"unfreezing more blocks must train more weights; from 1 block upwards it trains {counts}"
    )


def check_training_step(backbone: Backbone) -> None:
    """Training changes what is unfrozen and nothing else, statistics included."""
    network = _network(backbone)
    weights = network.built.base.get_weights()
    try:
        for blocks in sorted({1, len(network.built.boundaries)}):
            _check_training(network, blocks)
    finally:
        network.built.base.set_weights(weights)


def _check_training(network: Any, blocks: int) -> None:
    """Train the top blocks of a network, which changes it."""
    from tlearn.keras_import import keras, tensorflow as tf
    from tlearn.training.compile import compile_for
    from tlearn.training.stage_fit import train_on_batch

    built = network.built
    pixels = _pixels(built.size)
    boundary = built.boundaries[-blocks]
    network.freeze(built.layers_above(boundary))
    model = network.suffix(boundary)
    below = len(network.columns_below(boundary))
    inputs = [pixels]
    if boundary.index:
        activation = keras.Model(built.base.input, boundary.tensor)
        inputs = [np.asarray(activation(_preprocess(built.backbone, pixels), training=False))]
    inputs += [np.ones((len(pixels), below), np.float32)] if below else []
    before = built.base.get_weights()
    compile_for(model, Stage(unfreeze=blocks, schedule="constant"), STEPS)
    model.optimizer.epsilon = TINY  # random weights may give gradients as small as anything
    # A stage traces its steps; here that would take longer than to compute them. What a layer does
    # in training must be traceable all the same.
    model.run_eagerly = True
    tf.function(model, autograph=False).get_concrete_function(inputs, training=True)
    layers = {layer for layer in built.base.layers if layer.trainable_weights}
    for _ in range(STEPS):  # several, because some networks leave out a block at random
        train_on_batch(model, inputs, np.eye(2, dtype=np.float32)[: len(pixels)])
        changes = zip(built.base.weights, before, built.base.get_weights(), strict=True)
        moved = {id(weight) for weight, old, new in changes if not np.array_equal(old, new)}
        still = [x.name for x in layers if not moved & {id(w) for w in x.trainable_weights}]
        if not still:
            break
    for layer in built.base.layers:
        frozen = {id(w) for w in layer.weights} - {id(w) for w in layer.trainable_weights}
        assert not moved & frozen, (
            f"training the top {blocks} blocks changes the layer {layer.name!r}, or statistics "
            f"in it, that must stay"
        )
    assert not still, (
        f"training the top {blocks} blocks does not change {', '.join(sorted(still))}, which "
        f"is in them"
    )


def check_saving(backbone: Backbone) -> None:
    """A model with it can be saved and loaded, in Keras's safe mode, and is the same then."""
    from tlearn.runs.classifier import Classifier, save

    network = _network(backbone)
    own = ("keras", *backbone.modules)
    for layer in network.built.base._flatten_layers():
        home = type(layer).__module__
        assert home.startswith(tuple(f"{name}." for name in own)) or home in own, (
            f"the layer {layer.name!r} is of {home}, which is not Keras's own: name that module in "
            f"modules, so that it is imported before a saved model is loaded"
        )
    pixels = _pixels(backbone.min_size)
    whole = np.asarray(network.whole(pixels, training=False))
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "model.keras"
        save(network.whole, path, ["a", "b"], backbone.min_size, "squash", backbone.name)
        for module in backbone.modules:
            importlib.import_module(module)
        again = np.asarray(Classifier.load(path).model(pixels, training=False))
    assert np.allclose(again, whole, CLOSE, CLOSE), (
        "the saved model gives something else when loaded"
    )


def check_preprocessing(backbone: Backbone) -> None:
    """The preprocessing equals the reference function that the plugin names."""
    if not backbone.preprocess_reference:
        raise SkipTest("it names no preprocess_reference to compare with")
    module, _, name = backbone.preprocess_reference.partition(":")
    try:
        reference = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise AssertionError(
            f"preprocess_reference must be 'module:function', and "
            f"{backbone.preprocess_reference!r} cannot be found: {error}"
        ) from None
    pixels = _pixels(8)
    expected = np.asarray(reference(pixels.copy()))
    actual = np.asarray(_preprocess(backbone, pixels))
    assert np.allclose(actual, expected, rtol=1e-4, atol=1e-3), (
        f"preprocess turns the pixel {pixels[0, 0, 0].tolist()} into "
        f"{actual[0, 0, 0].round(3).tolist()}, and {backbone.preprocess_reference} into "
        f"{expected[0, 0, 0].round(3).tolist()}"
    )


def check_feature_layers(backbone: Backbone) -> None:
    """The feature layers exist and give maps or tokens."""
    from tlearn.features.built_backbone import tensors_at

    built = _built(backbone, backbone.min_size)
    names = [layer.name for layer in built.base.layers]
    for name in backbone.feature_layers:
        assert name in names, f"there is no layer called {name!r}, which feature_layers names"
        tensors = tensors_at(built.base, name, "after")
        assert len(tensors) == 1 and len(tensors[0].shape) in (3, 4), (
            f"the feature layer {name!r} gives neither a map nor tokens"
        )


def check_engines_agree(backbone: Backbone) -> None:
    """OpenVINO computes the same features as TensorFlow."""
    if importlib.util.find_spec("openvino") is None:
        raise SkipTest("OpenVINO is not installed here")
    from tlearn.features.built_backbone import FEATURES
    from tlearn.features.engines import Choice, outputs_of

    built = _built(backbone, backbone.min_size)
    names, pixels = (FEATURES,), _pixels(built.size)
    prefix = built.prefix(names)
    engine = Choice("openvino", "float32").engine_for(lambda _: prefix, names, built.size)
    (actual,) = outputs_of(engine, list(pixels.astype(np.uint8)))
    expected = np.asarray(prefix(pixels, training=False))
    difference = float(np.linalg.norm(actual - expected) / np.linalg.norm(expected))
    assert difference < 1e-3, f"OpenVINO's features differ from TensorFlow's by {difference:.2%}"


CHECKS: tuple[Check, ...] = (
    check_facts,
    check_import_is_light,
    check_smallest_size,
    check_default_size,
    check_second_build,
    check_blocks,
    check_one_tensor_crosses,
    check_freezing,
    check_training_step,
    check_saving,
    check_preprocessing,
    check_feature_layers,
    check_engines_agree,
)


def _workload(built: Any) -> Workload:
    """Return what a built backbone takes."""
    from tlearn.training.costs import multiply_adds

    lowest = next((b for b in built.boundaries if b.name == built.backbone.finetune_from), None)
    above = built.layers_above(lowest) if lowest else frozenset()
    return Workload(
        multiply_adds(built, built.layers_above(built.boundaries[0])),
        multiply_adds(built, above),
        built.base.count_params(),
        sum(tap.width for tap in built.taps),
        int(np.prod(lowest.tensor.shape[1:])) if lowest else 0,
    )


@functools.lru_cache(maxsize=2)
def _built(backbone: Backbone, size: int) -> Any:
    """Return the built backbone that checks share; nothing in it may be changed."""
    from tlearn.features.built_backbone import load_backbone

    return load_backbone(backbone, size, "none", SEED)


@functools.lru_cache(maxsize=1)
def _network(backbone: Backbone) -> Any:
    """Return a second build at the smallest size, with a head for two classes.

    Checks may freeze layers of it, and leave its weights as they were.
    """
    from tlearn.config import Head
    from tlearn.training.network import Network

    built = _built.__wrapped__(backbone, backbone.min_size)
    return Network(built, built.taps, 2, Head(), SEED)


def _pixels(size: int) -> np.ndarray:
    """Return two images of noise, ``(2, size, size, 3)`` float32, whole numbers from 0 to 255."""
    noise = np.random.default_rng(SEED).integers(0, 256, (2, size, size, 3))
    return noise.astype(np.float32)


def _preprocess(backbone: Backbone, pixels: np.ndarray) -> Any:
    from tlearn.features.built_backbone import preprocess_pixels
    from tlearn.keras_import import keras

    return preprocess_pixels(keras.ops.convert_to_tensor(pixels), backbone.preprocess)
