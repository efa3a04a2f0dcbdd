"""Grad-CAM on a saved model: which parts of a photo speak for a class."""

import math
from functools import lru_cache
from typing import Any

import numpy as np
from scipy.ndimage import gaussian_filter

from tlearn.features.model_features import listed
from tlearn.keras_import import keras, tensorflow as tf

BATCH = 16  # photos that are explained together
SMOOTHING = 0.05  # of the side: the standard deviation of what maps are smoothed by
SMALLEST = 1e-12  # the smallest probability that is told from none


class GradCam:
    """Grad-CAM of a saved model, also where heads see several depths or there are several networks.

    The idea is that of Selvaraju et al., Grad-CAM (ICCV 2017). Here activations are multiplied by
    the gradients of a class's score place by place, as in HiResCAM (Draelos and Carin, 2020): for a
    linear head on pooled features that is what each place adds to the score. This is done where
    pooling makes vectors of maps or tokens; the maps of all depths are brought to one size, summed
    and smoothed. The score is the logit of the class above the mean of all logits. Of an ensemble
    it is the mean of its members' scores, by how much each adds to the probability of the class.

    Args:
        model: From pixels, 0 to 255, to probabilities, as a run saves it.
    """

    def __init__(self, model: Any) -> None:
        self._below, self._above = _split(model)
        pixels = model.input
        self.size = int(pixels.shape[1])
        signature = [tf.TensorSpec((None, *pixels.shape[1:])), tf.TensorSpec((None,), tf.int32)]
        self._compute = tf.function(self._contributions, signature)

    def heat_maps(self, pixels: np.ndarray, classes: np.ndarray) -> np.ndarray:
        """Return how much each place speaks for a class, ``(n, size, size)``, from 0 to 1.

        1 is the place of a photo that speaks for the class most, 0 are those that do so no more
        than its average place.

        Args:
            pixels: From 0 to 255, ``(n, size, size, 3)``.
            classes: The position of a class among the outputs, for each photo, ``(n,)``.
        """
        parts = [
            np.asarray(
                self._compute(tf.cast(pixels[k : k + BATCH], tf.float32), classes[k : k + BATCH])
            )
            for k in range(0, len(pixels), BATCH)
        ]
        heat = gaussian_filter(np.concatenate(parts), self.size * SMOOTHING, axes=(1, 2))
        heat = np.maximum(heat - heat.mean(axis=(1, 2), keepdims=True), 0)
        largest = heat.max(axis=(1, 2), keepdims=True)
        scaled: np.ndarray = heat / np.where(largest > 0, largest, 1)
        return scaled

    def _contributions(self, pixels: Any, classes: Any) -> Any:
        """Return what each place adds to the score of the class, ``(n, size, size)``."""
        places = self._below(pixels, training=False)
        places = listed(places)
        with tf.GradientTape() as tape:
            tape.watch(places)
            probabilities = self._above(places, training=False)
            score = tf.reduce_sum(tf.math.log(tf.gather(probabilities, classes, batch_dims=1)))
        gradients = tape.gradient(score, places)
        return tf.add_n([self._map(*pair) for pair in zip(places, gradients, strict=True)])

    def _map(self, activations: Any, gradients: Any) -> Any:
        values = tf.reduce_sum(gradients * activations, -1)
        if len(values.shape) == 2:  # tokens: those of patches are the last, in rows
            side = math.isqrt(int(values.shape[1]))
            values = tf.reshape(values[:, -side * side :], (-1, side, side))
        rows, columns = values.shape[1:]
        density = values * (rows * columns)  # a place of a finer map is a smaller part of the photo
        return tf.image.resize(density[..., None], (self.size, self.size))[..., 0]


@lru_cache(maxsize=1)
def grad_cam(model: Any) -> GradCam:
    """Return the Grad-CAM of a model; that of the last one is kept."""
    return GradCam(model)


def _split(model: Any) -> tuple[Any, Any]:
    """Divide a model where vectors are made of maps or tokens.

    The layers stay as they are, but for the softmax: see :func:`_softmax`.

    Returns:
        A model from pixels to the maps and tokens, a list, and one from those to probabilities.
    """
    spatial: list[Any] = []

    def apply(layer: Any, *inputs: Any, **options: Any) -> Any:
        if isinstance(layer, keras.layers.Softmax):
            return _softmax(inputs[0])
        given = [x for x in keras.tree.flatten(inputs) if isinstance(x, keras.KerasTensor)]
        is_spatial = [len(x.shape) > 2 for x in given]
        if isinstance(layer, keras.Model) and any(is_spatial) and _gives_vectors(layer):
            below, above = _split(layer)
            maps = below(*inputs)
            spatial.extend(maps)
            return above(maps)
        outputs = layer(*inputs, **options)
        if any(len(x.shape) == 2 for x in keras.tree.flatten(outputs)):
            spatial.extend(x for x, wide in zip(given, is_spatial, strict=True) if wide)
        return outputs

    pixels = keras.Input(model.input.shape[1:])
    whole = keras.models.clone_model(
        model, input_tensors=pixels, clone_function=lambda layer: layer, call_function=apply
    )
    places = list({id(tensor): tensor for tensor in spatial}.values())
    above = keras.Model(places, whole.output, name=f"{model.name}_above")
    return keras.Model(pixels, places, name=f"{model.name}_below"), above


def _gives_vectors(model: Any) -> bool:
    return all(len(x.shape) == 2 for x in model.outputs)


def _softmax(logits: Any) -> Any:
    """Return the softmax; its logarithm has the gradient of the logits above their mean."""
    ops = keras.ops
    above = logits - ops.mean(logits, axis=-1, keepdims=True)
    p = ops.maximum(ops.softmax(logits), SMALLEST)
    return ops.stop_gradient(p) * (1 + above - ops.stop_gradient(above))
