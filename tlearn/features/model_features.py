"""The features that the head of a saved model sees, as a second output beside the probabilities."""

from itertools import chain
from typing import Any

import numpy as np

from tlearn.keras_import import keras

STANDARDISE = "standardise"  # the layer that every head of a saved model begins with
WIDTH = 256  # features at most: more are projected


def with_features(model: Any) -> Any:
    """Return a model with two outputs, the probabilities and the features of an image.

    The features are what the head of the model sees, standardised; of an average of networks that
    were trained one after the other, that of the last; of several runs, those of all, side by side.
    Of more than ``WIDTH``, random projections stand for them, which change distances by a few per
    cent (Johnson and Lindenstrauss, 1984). A model without such a head has its probabilities for
    features.

    Args:
        model: Functional, from pixels ``(n, size, size, 3)`` to probabilities ``(n, classes)``.
    """
    parts = _heads_input(model) or [model.output]
    features = keras.layers.Concatenate()(parts) if len(parts) > 1 else parts[0]
    width = int(features.shape[-1])
    if width > WIDTH:
        # RandomState gives the same numbers in every version of NumPy.
        kernel = np.random.RandomState(0).standard_normal((width, WIDTH)) / np.sqrt(WIDTH)
        project = keras.layers.Dense(WIDTH, use_bias=False, trainable=False, name="projection")
        features = project(features)
        project.set_weights([kernel.astype(np.float32)])
    return keras.Model(model.input, [model.output, features], name="with_features")


def _heads_input(model: Any) -> list[Any]:
    """Return the standardised features in a functional model, as tensors that its inputs reach."""
    tensors = []
    # Layers may be shared with other models: these are the calls of this one.
    nodes = chain.from_iterable(model._nodes_by_depth.values())
    for node in sorted(nodes, key=lambda node: node.operation.name):  # their order may change
        operation = node.operation
        if operation.name == STANDARDISE:
            tensors += node.outputs
        elif isinstance(operation, keras.Model) and (inner := _heads_input(operation)):
            tensors += listed(keras.Model(operation.input, inner)(*node.input_tensors))
    return tensors


def listed(outputs: Any) -> list[Any]:
    """Return what a Keras model gives as a list, also where it is one tensor."""
    return list(outputs) if isinstance(outputs, list | tuple) else [outputs]
