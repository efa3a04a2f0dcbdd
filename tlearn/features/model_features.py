"""The features that the heads of a saved model see, as an output beside the probabilities."""

from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np

from tlearn.keras_import import keras

STANDARDISE = "standardise"  # the layer that every head of a saved model begins with
HEAD = "head"  # the name of the head's model in an average of networks
MEMBER = "member_{}_"  # before the names of layers of the others of them, from 1
OWN = "with_features_"  # before the names of layers here: those of Keras may be in the model
WIDTH = 256  # features at most: more are projected


def with_features(model: Any) -> Any:
    """Return a model with two outputs, the probabilities and the features of an image.

    The features are what a head of the model sees, standardised, ``(n, m, k)``. In an average of
    networks, the first is the one before fine-tuning and the last the one after it: of these two,
    in this order, ``m`` is 2, else 1. Of several runs they are those of all, side by side. Of more
    than ``WIDTH``, random projections stand for them, which change distances by a few per cent
    (Johnson and Lindenstrauss, 1984). A model without such a head has its probabilities for
    features.

    Args:
        model: Functional, from pixels ``(n, size, size, 3)`` to probabilities ``(n, classes)``.
    """
    runs = _inputs_of_heads(model) or [[model.output]]
    networks = [joined([run[-1] for run in runs], f"{OWN}last")]
    if any(len(run) > 1 for run in runs):
        networks.insert(0, joined([run[0] for run in runs], f"{OWN}first"))
    width = int(networks[-1].shape[-1])
    if width > WIDTH:
        # RandomState gives the same numbers in every version of NumPy.
        kernel = np.random.RandomState(0).standard_normal((width, WIDTH)) / np.sqrt(WIDTH)
        project = keras.layers.Dense(
            WIDTH, use_bias=False, trainable=False, name=f"{OWN}projection"
        )
        networks = [project(features) for features in networks]
        project.set_weights([kernel.astype(np.float32)])
    both = joined(networks, f"{OWN}both")
    features = keras.layers.Reshape((len(networks), -1), name=f"{OWN}features")(both)
    return keras.Model(model.input, [model.output, features])


def _inputs_of_heads(model: Any) -> list[list[Any]]:
    """Return the standardised features of each run in a functional model, as its own tensors.

    Of an average of networks they are two, those of the first and of the last.
    """
    networks, runs = dict[str, Any](), list[list[Any]]()
    # Layers may be shared with other models: these are the calls of this one.
    nodes = chain.from_iterable(model._nodes_by_depth.values())
    for node in sorted(nodes, key=lambda node: node.operation.name):  # their order may change
        operation = node.operation
        if operation.name.endswith(STANDARDISE):
            networks[operation.name] = node.outputs[0]
        elif isinstance(operation, keras.Model) and (inner := _inputs_of_heads(operation)):
            tensors = listed(keras.Model(operation.input, inner)(*node.input_tensors))
            if operation.name.endswith(HEAD):
                networks[operation.name] = tensors[0][0]
            else:
                runs += tensors
    if networks:
        names = [MEMBER.format(1) + HEAD, HEAD]
        runs.append([networks[n] for n in names if n in networks] or list(networks.values()))
    return runs


def joined(tensors: Sequence[Any], name: str | None = None) -> Any:
    """Return tensors ``(n, k)`` side by side, by a layer of a name if there are several."""
    return keras.layers.Concatenate(name=name)(tensors) if len(tensors) > 1 else tensors[0]


def listed(outputs: Any) -> list[Any]:
    """Return what a Keras model gives as a list, also where it is one tensor."""
    return list(outputs) if isinstance(outputs, list | tuple) else [outputs]
