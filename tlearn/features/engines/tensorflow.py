"""The engine that is always there, and the one for a GPU."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from tlearn.config import Precision
from tlearn.features.engines import T, batch_for
from tlearn.features.precision import computing_in
from tlearn.keras_import import tensorflow as tf

# Its operations cost a fixed time each, so larger batches than OpenVINO's pay.
LIMIT = 2**27  # bytes that the largest activation of a batch may take


def trace(
    model: Any,
    names: Sequence[str],
    size: int,
    precision: Precision = "float32",
    constant: bool = False,
) -> Any:
    """Return the model as a traced function of any number of uint8 pixels, ``(n, size, size, 3)``.

    Args:
        model: A Keras model from float pixels, 0 to 255, to as many outputs as names.
        names: What the outputs are called.
        size: Side of the input in pixels.
        precision: ``bfloat16`` is for the backbone's convolutions and dense layers.
        constant: Whether the weights as they are now become constants of the function.
    """
    weights = [
        [np.asarray(variable) for variable in variables] if constant else variables
        for variables in (model.trainable_variables, model.non_trainable_variables)
    ]

    def run(pixels: Any) -> dict[str, Any]:
        values = [list(map(tf.constant, part)) if constant else part for part in weights]
        out, _ = model.stateless_call(*values, tf.cast(pixels, tf.float32), training=False)
        return dict(zip(names, out if isinstance(out, list | tuple) else [out], strict=True))

    spec = tf.TensorSpec((None, size, size, 3), tf.uint8, name="pixels")
    with computing_in(precision, model):
        return tf.function(run, autograph=False).get_concrete_function(spec)


class TensorFlowEngine:
    """A Keras model, traced once and always called with one batch shape.

    Args:
        model: From float pixels, 0 to 255, ``(n, size, size, 3)``, to as many outputs as names.
        names: What the outputs are called.
        size: Side of the input in pixels.
        precision: ``bfloat16`` is for the backbone's convolutions and dense layers.
    """

    def __init__(self, model: Any, names: Sequence[str], size: int, precision: Precision) -> None:
        self._names, self._size = list(names), size
        self._run = trace(model, names, size, precision)
        self.batch = batch_for(4 * max(_sizes(self._run.graph), default=1), LIMIT)

    def map(
        self, batches: Iterable[tuple[T, Sequence[np.ndarray]]]
    ) -> Iterator[tuple[T, list[np.ndarray]]]:
        """Yield the outputs of each batch; see :class:`tlearn.features.engines.Engine`."""
        for tag, images in batches:
            pixels = np.zeros((self.batch, self._size, self._size, 3), np.uint8)
            for row, image in zip(pixels, images, strict=False):
                row[:] = image
            outputs = self._run(tf.constant(pixels))
            yield tag, [np.asarray(outputs[name])[: len(images)] for name in self._names]


def _sizes(graph: Any) -> Iterator[int]:
    """Yield how many numbers each operation gives for one image."""
    for operation in graph.get_operations():
        for tensor in operation.outputs:
            shape = tensor.shape
            if shape.rank and shape[0] is None and shape[1:].is_fully_defined():
                yield int(np.prod(shape[1:]))
