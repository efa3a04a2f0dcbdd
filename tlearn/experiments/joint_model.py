"""Several saved models as one: each sees the same pixels, and their probabilities are averaged."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from tlearn.keras_import import keras

OUTPUT = "probabilities"
LEAST = 1e-7  # the smallest probability that is counted


def join(models: Sequence[Any], orders: Sequence[Sequence[int]]) -> tuple[Any, list[Any]]:
    """Return an input of pixels as large as the largest model's, and each one's probabilities.

    What a smaller model sees are those pixels, scaled down: see :func:`scale_down`. A photo is then
    scaled twice, which blurs it slightly, instead of once from its file.

    Args:
        models: From pixels, 0 to 255, to probabilities. They are renamed.
        orders: For each, the position of every class among its outputs.
    """
    sizes = [int(model.inputs[0].shape[1]) for model in models]
    pixels = keras.Input((max(sizes), max(sizes), 3), name="pixels")
    scaled = {size: scale_down(pixels, size) for size in sizes}
    outputs = []
    for number, (model, order, size) in enumerate(zip(models, orders, sizes, strict=True), start=1):
        model.name = f"member_{number}"  # two may be called the same
        p = model(scaled[size])
        in_order = list(order) == sorted(order)
        outputs.append(p if in_order else keras.ops.take(p, list(order), axis=-1))
    return pixels, outputs


def scale_down(pixels: Any, size: int) -> Any:
    """Return square pixels ``(n, large, large, 3)`` as ``(n, size, size, 3)``, antialiased.

    The filter is that of :func:`tlearn.data.views.resample`, and of ``keras.layers.Resizing`` with
    ``antialias``, whose operation TensorFlow alone has: here it is a product with a matrix for each
    direction, which every format of :func:`tlearn.export` knows.
    """
    large = int(pixels.shape[1])
    if size == large:
        return pixels
    unit = np.eye(large, dtype=np.float32)[None, :, :, None]
    matrix = keras.ops.image.resize(unit, (size, large), antialias=True)
    kernel = keras.ops.convert_to_numpy(matrix)[0, :, :, 0].T
    pixels = keras.layers.Permute((2, 3, 1))(pixels)
    for what, order in (("rows", (3, 2, 1)), ("columns", (1, 3, 2))):
        layer = keras.layers.Dense(size, use_bias=False, name=f"{what}_{size}", trainable=False)
        pixels = keras.layers.Permute(order)(layer(pixels))
        layer.set_weights([kernel])
    return pixels


def side_by_side(pixels: Any, outputs: Sequence[Any]) -> Any:
    """Return a model that gives the probabilities of all members, one after the other."""
    return keras.Model(pixels, keras.layers.Concatenate(name=OUTPUT)(list(outputs)))


def average(pixels: Any, outputs: Sequence[Any], shares: Sequence[float]) -> Any:
    """Return a model that gives the weighted mean of probabilities, ``keras.layers.average``.

    It has no temperature of its own: the probabilities of each member were fitted to the validation
    photos already.

    Args:
        pixels: The input.
        outputs: The probabilities of each member.
        shares: How much each counts; one without a share is not in the model. The sum is 1.
    """
    parts = [
        keras.layers.Rescaling(share, name=f"share_{number}")(p)
        for number, (p, share) in enumerate(zip(outputs, shares, strict=True), start=1)
        if share
    ]
    mean = keras.layers.Add(name="mean")(parts) if len(parts) > 1 else parts[0]
    output = keras.layers.Activation("linear", name=OUTPUT)(mean)
    return keras.Model(pixels, output, name="classifier")
