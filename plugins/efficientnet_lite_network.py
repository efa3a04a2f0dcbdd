"""The layers of EfficientNet-Lite, and their weights in a file of torch."""

from collections.abc import Iterator
from functools import partial
from math import ceil
from typing import Any, NamedTuple

from tlearn.backbones import read_torch_weights


class Block(NamedTuple):
    """An inverted residual; the name is its stage and a letter, as ``block2a``."""

    name: str
    kernel: int
    stride: int
    expansion: int
    channels: int


# Of EfficientNet-B0: repeats, kernel, stride, expansion and channels of each stage.
STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)


def blocks_of(width: float, depth: float) -> Iterator[Block]:
    """Yield the blocks, upwards, of a version with factors on the channels and the repeats."""
    for number, (repeats, kernel, stride, expansion, channels) in enumerate(STAGES, start=1):
        if 1 < number < len(STAGES):  # the lite versions leave the first and the last as they are
            repeats = ceil(repeats * depth)
        channels = 8 * round(channels * width / 8)
        for letter in "abcdefgh"[:repeats]:
            name = f"block{number}{letter}"
            yield Block(name, kernel, stride if letter == "a" else 1, expansion, channels)


def network(input_shape: tuple[int, int, int], width: float, depth: float) -> Any:
    """Return the network without its top, a ``keras.Model`` with random weights."""
    from keras import Input, Model, layers

    convolution = partial(layers.Conv2D, padding="same", use_bias=False)
    depthwise = partial(layers.DepthwiseConv2D, padding="same", use_bias=False)

    def normalised(x: Any, layer: Any, activation: bool = True) -> Any:
        name = layer.name.removesuffix("_conv")
        x = layers.BatchNormalization(epsilon=1e-3, name=f"{name}_bn")(layer(x))
        return layers.ReLU(6.0, name=f"{name}_relu")(x) if activation else x

    inputs = Input(input_shape)
    x = normalised(inputs, convolution(32, 3, strides=2, name="stem_conv"))
    for name, kernel, stride, expansion, channels in blocks_of(width, depth):
        before, x_channels = x, x.shape[-1]
        if expansion > 1:
            x = normalised(x, convolution(expansion * x_channels, 1, name=f"{name}_expand_conv"))
        x = normalised(x, depthwise(kernel, strides=stride, name=f"{name}_dwconv"))
        x = normalised(x, convolution(channels, 1, name=f"{name}_project_conv"), False)
        if stride == 1 and x_channels == channels:
            x = layers.Add(name=f"{name}_add")([x, before])
    return Model(inputs, normalised(x, convolution(1280, 1, name="top_conv")))


def torch_arrays(data: bytes) -> list[Any]:
    """Return the weights in the network's order, from the content of a file of torch.

    A kernel of torch is ``(out, in, height, width)``, or ``(channels, 1, height, width)``.
    """
    return [
        array.transpose(2, 3, *((0, 1) if "depthwise" in name else (1, 0)))
        if array.ndim == 4
        else array
        for name, array in read_torch_weights(data).items()
        if not name.startswith("_fc.") and not name.endswith(".num_batches_tracked")
    ]
