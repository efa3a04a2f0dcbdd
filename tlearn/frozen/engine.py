"""Runs a frozen network over pixels at hardware speed."""

from typing import Any

import numpy as np
import tensorflow as tf

BATCH = 32


class TensorFlowEngine:
    """A Keras model from pixels to one or several outputs, traced once for one batch shape.

    Every call computes full batches, the last one padded: a row's result does not depend on how
    many rows came with it, and nothing is traced twice.

    Args:
        model: A Keras model that takes float pixels from 0 to 255, ``(n, size, size, 3)``.
        size: Side of its input in pixels.
    """

    def __init__(self, model: Any, size: int) -> None:
        signature = [tf.TensorSpec((BATCH, size, size, 3), tf.uint8)]

        def run(pixels: Any) -> list[Any]:
            out = model(tf.cast(pixels, tf.float32), training=False)
            return list(out) if isinstance(out, list | tuple) else [out]

        self._run = tf.function(run, input_signature=signature, autograph=False)

    def __call__(self, pixels: np.ndarray) -> list[np.ndarray]:
        """Return the outputs, ``(n, ...)`` float32, for uint8 pixels ``(n, size, size, 3)``."""
        parts = [self._batch(pixels[i : i + BATCH]) for i in range(0, len(pixels), BATCH)]
        return [np.concatenate(outputs) for outputs in zip(*parts, strict=True)]

    def _batch(self, pixels: np.ndarray) -> list[np.ndarray]:
        n = len(pixels)
        if n < BATCH:
            pixels = np.concatenate([pixels, np.zeros((BATCH - n, *pixels.shape[1:]), np.uint8)])
        return [np.asarray(out)[:n] for out in self._run(pixels)]
