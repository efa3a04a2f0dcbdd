"""The layers of a head: those of the configuration, or of a user's own function."""

from pathlib import Path
from typing import Any

from tlearn.config import Head
from tlearn.errors import ConfigError, TlearnError, one_line
from tlearn.features.keras_build import random_numbers_from
from tlearn.keras_import import keras
from tlearn.python_files import object_of, split_reference, trust

OWN = "own_head"  # the name of a head of the user's own, a model


def head_layers(head: Head, width: int, classes: int, seed: int) -> list[Any]:
    """Return the layers from standardised features ``(n, width)`` to logits ``(n, classes)``.

    Raises:
        ConfigError: If a head of the user's own cannot be used.
    """
    if head.module:
        one = keras.layers.BatchNormalization(  # which divides by a temperature
            center=False, scale=False, epsilon=0.0, trainable=False, name="temperature"
        )
        return [own_head(head.module, width, classes, seed), one]
    layers, made = keras.layers, list[Any]()
    penalty = keras.regularizers.L1L2(head.l1, head.l2) if head.l1 or head.l2 else None
    options = {
        "kernel_initializer": keras.initializers.GlorotUniform(seed),
        "kernel_regularizer": penalty,
    }
    for i, units in enumerate(head.hidden):
        made.append(layers.Dropout(head.dropout, seed=seed + i))
        made.append(layers.Dense(units, name=f"hidden_{i + 1}", **options))
        if head.batch_norm:
            made.append(layers.BatchNormalization(name=f"hidden_{i + 1}_bn"))
        made.append(layers.Activation(head.activation, name=f"activation_{i + 1}"))
    made.append(layers.Dropout(head.dropout, seed=seed + len(head.hidden)))
    return [*made, layers.Dense(classes, name="logits", **options)]


def divide(logits: Any, temperature: float) -> None:
    """Divide what the last layer of a head gives."""
    weights = logits.get_weights()
    if isinstance(logits, keras.layers.BatchNormalization):
        mean, variance = weights
        logits.set_weights([mean, variance * temperature**2])
    else:
        logits.set_weights([array / temperature for array in weights])


def own_head(reference: str, width: int, classes: int, seed: int) -> Any:
    """Return the head that a user's function makes, as a model that can be saved.

    Args:
        reference: ``FILE.py:NAME`` of the function. It is given the features, a Keras tensor, and
            the number of classes, and returns logits, or a layer or layers that give them.
        width: Of the features.
        classes: Their number.
        seed: Decides the random weights.

    Raises:
        ConfigError: If the file or the function fails, what it returns are no logits, or it could
            not be loaded from a saved model.
    """
    file, name = split_reference(reference)
    features = keras.Input((width,), name="features")
    try:
        build = object_of(Path(file), name)
        trust(Path(file))
        with random_numbers_from(seed):
            given = build(features, classes)
            logits = _applied(given, features)
            model = keras.Model(features, logits, name=OWN)
            _check_logits(model, classes)
            _check_saving(model)
    except TlearnError as error:
        raise ConfigError(f"the head {name} of {file!r} {error}", "head.module") from error
    except (Exception, SystemExit) as error:
        raise ConfigError(
            f"the head {name} of {file!r} cannot be used ({type(error).__name__}: "
            f"{one_line(error)}); {name}(features, classes) makes logits of the features with the "
            f"layers of Keras",
            "head.module",
        ) from error
    return model


def _applied(given: Any, features: Any) -> Any:
    """Return the logits that were made, or that the layers which were made give."""
    if isinstance(given, keras.KerasTensor):
        return given
    layers = list(given) if isinstance(given, list | tuple) else [given]
    if not layers or not all(isinstance(layer, keras.Layer) for layer in layers):
        raise ConfigError(
            f"must return logits made of the features, a layer, or a list of layers. Received: "
            f"{one_line(TypeError(repr(given)))}"
        )
    for layer in layers:
        features = layer(features)
    return features


def _check_logits(model: Any, classes: int) -> None:
    if model.output_shape != (None, classes):
        raise ConfigError(
            f"returns the shape {model.output_shape}, not {(None, classes)}: one logit per class"
        )
    last = model.layers[-1]
    while hasattr(last, "layers"):
        last = last.layers[-1]
    softmax = keras.activations.softmax
    if isinstance(last, keras.layers.Softmax) or getattr(last, "activation", None) is softmax:
        raise ConfigError("ends in a softmax; leave it out: the head gives logits")


def _check_saving(model: Any) -> None:
    """Refuse layers that Keras cannot load in its safe mode."""
    saving = keras.saving
    try:
        again = saving.deserialize_keras_object(
            saving.serialize_keras_object(model), safe_mode=True
        )
        shapes = [[tuple(w.shape) for w in one.weights] for one in (model, again)]
        if shapes[0] != shapes[1]:
            raise ValueError("a layer that is loaded has other weights")
    except Exception as error:
        raise ConfigError(
            f"could not be loaded from a saved model ({one_line(error)}); put "
            f"@keras.saving.register_keras_serializable() above classes of layers, have get_config "
            f"return the arguments of __init__, and use no Lambda"
        ) from error
