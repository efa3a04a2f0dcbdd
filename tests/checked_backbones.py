"""Backbones for the tests of the checks: correct ones, and one for every fault.

Nothing heavy is imported at the top: the backbones here must pass the check for light imports.
"""

import functools
from dataclasses import replace

import numpy as np

from tlearn.backbones import Backbone, Blocks, Preprocess, Weights

TF = "keras.applications.mobilenet_v2:preprocess_input"


def plain(input_shape, weights, first=None):
    """Build three convolutions, with normalisation and a sum that stays inside its block."""
    import keras

    layers = keras.layers
    x = inputs = keras.Input(input_shape)
    if first:
        x = first(name="first")(x)
    for k in (1, 2, 3):
        x = layers.Conv2D(8, 3, strides=2, padding="same", name=f"conv{k}")(x)
        x = layers.BatchNormalization(name=f"bn{k}")(x)
        y = layers.Conv2D(8, 1, name=f"side{k}")(x)
        x = layers.ReLU(name=f"relu{k}")(layers.Add(name=f"add{k}")([x, y]))
    return keras.Model(inputs, x)


GOOD = Backbone(
    name="good",
    summary="three convolutions",
    reference="none",
    build=plain,
    default_size=32,
    min_size=16,
    channels=8,
    preprocess=Preprocess.TF,
    preprocess_reference=TF,
    blocks=Blocks.after("relu1", "relu2"),
    weights=(Weights("first", "here", "MIT", "noise"),),
    feature_layers=("relu3",),
)


def tokens(input_shape, weights):
    """Build patches, a class token in front, and two blocks over them."""
    import keras

    layers, size = keras.layers, input_shape[0]
    inputs = keras.Input(input_shape)
    x = layers.Conv2D(12, 8, strides=8, name="patches")(inputs)
    x = layers.Reshape(((size // 8) ** 2, 12), name="tokens")(x)
    x = layers.ZeroPadding1D((1, 0), name="class_token")(x)
    for k in (1, 2):
        y = layers.LayerNormalization(name=f"norm{k}")(x)
        y = layers.MultiHeadAttention(2, 6, name=f"attention{k}")(y, y)
        x = layers.Add(name=f"block{k}")([x, layers.Dense(12, name=f"mlp{k}")(y)])
    return keras.Model(inputs, x)


TOKENS = replace(
    GOOD,
    name="tokens",
    build=tokens,
    channels=12,
    size_multiple=8,
    leading_tokens=1,
    blocks=Blocks.after("class_token", "block1"),
    feature_layers=("block1",),
)


def sequential(input_shape, weights):
    import keras

    layers = [keras.layers.Conv2D(8, 3, strides=2, name=f"relu{k}") for k in (1, 2, 3)]
    return keras.Sequential([keras.Input(input_shape), *layers])


SEQUENTIAL = replace(GOOD, name="sequential", build=sequential)


def rebuilt(change):
    """Return a build that changes the plain one: ``change(x, keras)`` is put on its top."""

    def build(input_shape, weights):
        import keras

        base = plain(input_shape, weights)
        return keras.Model(base.input, change(base.output, keras))

    return build


def crossing(input_shape, weights):
    """Build a network in which a shortcut passes a boundary beside the boundary's own tensor."""
    import keras

    base = plain(input_shape, weights)
    past = keras.layers.Conv2D(8, 3, strides=4, padding="same", name="past")(
        base.get_layer("relu1").output
    )
    return keras.Model(base.input, keras.layers.Add(name="top")([base.output, past]))


def two_outputs(input_shape, weights):
    import keras

    base = plain(input_shape, weights)
    return keras.Model(base.input, [base.output, base.get_layer("relu2").output])


def idle(input_shape, weights):
    """Build a network whose boundaries have nothing to train between them."""
    import keras

    base = plain(input_shape, weights)
    x = keras.layers.ReLU(name="idle")(base.output)
    return keras.Model(base.input, keras.layers.Conv2D(8, 1, name="top")(x))


def renamed(input_shape, weights):
    """Build a network in which one boundary has an automatic name."""
    import keras

    base = plain(input_shape, weights)
    x = keras.layers.ReLU()(base.output)
    return keras.Model(base.input, keras.layers.Conv2D(8, 1, name="top")(x))


def unseeded(input_shape, weights):
    base = plain(input_shape, weights)
    layer = base.get_layer("conv1")
    layer.kernel.assign(np.random.default_rng().normal(size=layer.kernel.shape))
    return base


def subclassed(input_shape, weights):
    import keras

    return type("Own", (keras.Model,), {"call": lambda self, x: x})()


def reshaped(input_shape, weights, calls=[]):  # noqa: B006 (it must remember)
    import keras

    calls.append(1)
    base = plain(input_shape, weights)
    x = keras.layers.Conv2D(8 + len(calls), 1, name="wide")(base.output)
    return keras.Model(base.input, keras.layers.Conv2D(8, 1, name="top")(x))


def learning_statistics(input_shape, weights):
    """Build a network with a layer that counts its batches, frozen or not."""
    import keras

    class Counting(keras.layers.Layer):
        def build(self, shape):
            self.count = self.add_weight(shape=(), initializer="zeros", trainable=False)

        def call(self, x):
            self.count.assign(self.count + 1)
            return x

    return plain(input_shape, weights, Counting)


def nested_normalisation(input_shape, weights):
    """Build a network in which normalisation hides inside a layer of layers."""
    import keras

    class Block(keras.layers.Layer):
        def __init__(self, **options):
            super().__init__(**options)
            self.convolution = keras.layers.Conv2D(3, 3, padding="same")
            self.normalisation = keras.layers.BatchNormalization()

        def build(self, shape):
            self.convolution.build(shape)
            self.normalisation.build(shape)

        def call(self, x, training=None):
            return self.normalisation(self.convolution(x), training=training)

    return plain(input_shape, weights, Block)


def with_layer(call):
    """Return a build of a network with a layer of its own that computes ``call(self, x)``."""

    def build(input_shape, weights):
        import keras

        return plain(input_shape, weights, type("Own", (keras.layers.Layer,), {"call": call}))

    return build


def unchanged(self, x):
    return x * 1.0


def noisy(self, x):
    import keras

    return x + keras.random.normal(keras.ops.shape(x), stddev=200.0)


def deciding(self, x, training=None):
    """Decide in Python, which cannot be traced, what to do in training."""
    import keras

    return x * 1.0 if training and keras.ops.max(x) > 0 else x


def forgetful(input_shape, weights):
    """Build a network with a layer that is registered and does not save what it is set to."""
    import keras

    @keras.saving.register_keras_serializable("checked_backbones")
    class Forgetful(keras.layers.Layer):
        def __init__(self, power=1, **options):
            super().__init__(**options)
            self.power = power

        def get_config(self):
            return super().get_config() | {"power": 1}

        def call(self, x):
            return x**self.power

    return plain(input_shape, weights, functools.partial(Forgetful, 2))


def reluctant(input_shape, weights):
    """Build a network with a layer that must be told twice to learn."""
    import keras

    class Reluctant(keras.layers.Conv2D):
        told = 0

        @property
        def trainable(self):
            return super().trainable

        @trainable.setter
        def trainable(self, value):
            self.told += value
            keras.layers.Layer.trainable.fset(self, value and self.told > 1)

    return plain(input_shape, weights, functools.partial(Reluctant, 3, 1))


def of_any_size(input_shape, weights):
    return plain((None, None, 3), weights)


def leaving(input_shape, weights):
    raise SystemExit("no licence")


def not_so_small(input_shape, weights):
    if input_shape[0] < 20:
        raise ValueError(f"{input_shape[0]} pixels are too few")
    return plain(input_shape, weights)


def small_numbers(x, keras):
    return keras.layers.Rescaling(np.inf, name="huge")(x) * 0.0


def vector(x, keras):
    return keras.layers.GlobalAveragePooling2D(name="vector")(x)


def in_halves(x, keras):
    return keras.layers.Conv2D(8, 1, dtype="float16", name="half")(x)


def stopped(x, keras):
    return keras.layers.Conv2D(8, 1, name="top")(keras.ops.stop_gradient(x))


def squeezed(x, keras):
    share = keras.layers.Dense(8, "sigmoid", name="share")(vector(x, keras))
    return keras.layers.Multiply(name="top")([x, keras.layers.Reshape((1, 1, 8))(share)])
