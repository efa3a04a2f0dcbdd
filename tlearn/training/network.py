"""The trainable network: taps and head on a backbone, or what is above a boundary of it."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from tlearn.config import Head
from tlearn.features.built_backbone import (
    BuiltBackbone,
    BuiltBoundary,
    Tap,
    pool_taps,
    preprocess_pixels,
)
from tlearn.keras_import import keras
from tlearn.training.probe import Probe

HEAD_RATE = 0.2  # of a stage's learning rate, for a head that starts from the probe


def copies(variables: Iterable[Any]) -> list[np.ndarray]:
    """Return copies of the values of variables."""
    return [np.array(keras.ops.convert_to_numpy(variable)) for variable in variables]


def assign(variables: Iterable[Any], values: Iterable[np.ndarray]) -> None:
    """Set the values of variables."""
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)


class Network:
    """Backbone, taps and head, sharing layers between the whole and its suffixes.

    The head pools the taps, standardises the pooled features (a batch normalisation that never
    learns, so that the probe's standardisation is part of the model), drops some, and ends in
    logits.

    Args:
        taps: The taps the head sees, upwards.
        seed: Decides dropout and random weights of the head.
    """

    def __init__(
        self, built: BuiltBackbone, taps: Sequence[Tap], classes: int, head: Head, seed: int
    ) -> None:
        self.built, self.taps, self.seed = built, tuple(taps), seed
        layers = keras.layers
        self.standardise = layers.BatchNormalization(
            center=False, scale=False, epsilon=0.0, trainable=False, name="standardise"
        )
        self._head = [self.standardise]
        initializer = keras.initializers.GlorotUniform(seed)
        for i, width in enumerate(head.hidden):
            self._head.append(layers.Dropout(head.dropout, seed=seed + i))
            self._head.append(
                layers.Dense(width, "relu", kernel_initializer=initializer, name=f"hidden_{i + 1}")
            )
        self._head.append(layers.Dropout(head.dropout, seed=seed + len(head.hidden)))
        self.logits = layers.Dense(classes, kernel_initializer=initializer, name="logits")
        self._head.append(self.logits)
        self.whole = self._whole()

    @property
    def columns(self) -> np.ndarray:
        """The columns of the taps' features among those of all the backbone's taps."""
        columns, start = [], 0
        for tap in self.built.taps:
            if tap in self.taps:
                columns.append(np.arange(start, start + tap.width))
            start += tap.width
        return np.concatenate(columns)

    def columns_below(self, boundary: BuiltBoundary | None) -> np.ndarray:
        """Return the columns of the taps at or below a boundary, which its prefix computes."""
        if boundary is None:
            return self.columns
        if boundary.index == 0:  # it has no prefix: all taps are computed from the pixels
            return self.columns[:0]
        return self.columns[: sum(t.width for t in self.taps if t.index <= boundary.index)]

    def suffix(self, boundary: BuiltBoundary | None) -> Any:
        """Return the model above a boundary, to logits.

        Its inputs are the activation there and the pooled features of the taps at or below
        it, each only if it is used. Without a boundary it is the head alone.
        """
        inputs, parts = [], []
        low = len(self.columns_below(boundary))
        if boundary is not None:
            activation = keras.Input(boundary.tensor.shape[1:], name="activation")
            inputs.append(activation)
            start = activation
            if boundary.index == 0:
                start = preprocess_pixels(activation, self.built.backbone.preprocess)
            high = [tap for tap in self.taps if tap.index > boundary.index or boundary.index == 0]
            parts = self._apply_to_taps(boundary.tensor, high, start)
        if low:
            features = keras.Input((low,), name="features")
            inputs.append(features)
            parts = [features, *parts]
        return keras.Model(inputs, self._apply_head(parts), name="suffix")

    def freeze(self, trainable: frozenset[str], batch_norm: bool = False) -> None:
        """Set every layer of the backbone: trainable if named.

        A frozen batch normalisation runs on the statistics it was trained with (Keras, transfer
        learning guide), which a few hundred photos would only spoil.

        Args:
            trainable: Names of layers.
            batch_norm: Whether batch normalisations among them learn too, statistics included.
        """
        for layer in self.built.base.layers:
            layer.trainable = layer.name in trainable
            for part in layer._flatten_layers():  # a plugin's block may be a layer of layers
                if isinstance(part, keras.layers.BatchNormalization) and not batch_norm:
                    part.trainable = False

    def standardise_by(self, mean: np.ndarray, scale: np.ndarray) -> None:
        """Set what the pooled features are standardised by."""
        self.standardise.set_weights([mean, scale**2])

    def start_from(self, probe: Probe) -> None:
        """Make the probe the head, which must be without hidden layers.

        Features are scaled down and the kernel up by as much: the logits are the same, but a step
        of an optimizer such as Adam, which changes all weights alike, moves them less. Vectors of
        unit length make that step independent of the number of features; the head is moved less
        still than the body below it, or the first steps would throw away what the probe has learnt
        (Kumar et al., Fine-tuning can distort pretrained features, ICLR 2022).
        """
        length = np.sqrt(len(probe.mean)) / HEAD_RATE
        self.standardise_by(probe.mean, probe.scale * length)
        self.logits.set_weights([probe.kernel * length, probe.bias])

    def divide_logits(self, temperature: float) -> None:
        """Divide the logits: probabilities become less certain above 1, more certain below."""
        self.logits.set_weights([array / temperature for array in self.logits.get_weights()])

    def changing(self, trainable: Iterable[frozenset[str]]) -> list[Any]:
        """Return the variables of the whole model that change in stages.

        Args:
            trainable: For each stage, names of the backbone's layers trained beside the head.
        """
        layers, trained = self.built.base.layers, frozenset().union(*trainable)
        frozen = {id(w) for layer in layers for w in layer.weights}
        frozen -= {id(w) for layer in layers if layer.name in trained for w in layer.weights}
        return [w for w in self.whole.weights if id(w) not in frozen]

    @property
    def seeds(self) -> list[np.ndarray]:
        """The states of all generators of random numbers, as of dropout."""
        return copies(self._seeds())

    @seeds.setter
    def seeds(self, states: Sequence[np.ndarray]) -> None:
        assign(self._seeds(), states)

    def _seeds(self) -> list[Any]:
        weights = {id(w) for w in self.whole.weights}
        return [v for v in self.whole.variables if id(v) not in weights]

    def _whole(self) -> Any:
        """Return the model users get: pixels from 0 to 255 in, probabilities out."""
        size = self.built.size
        pixels = keras.Input((size, size, 3), name="pixels")
        start = preprocess_pixels(pixels, self.built.backbone.preprocess)
        parts = self._apply_to_taps(self.built.base.input, list(self.taps), start)
        probabilities = keras.layers.Softmax(name="probabilities")(self._apply_head(parts))
        return keras.Model(pixels, probabilities, name="classifier")

    def _apply_to_taps(self, source: Any, taps: list[Tap], start: Any) -> list[Any]:
        """Apply the layers from ``source`` to the taps to ``start``, and pool."""
        part = keras.Model(source, [tap.tensor for tap in taps], name=self.built.backbone.name)
        out = part(start)
        outputs = list(out) if isinstance(out, list | tuple) else [out]
        return pool_taps(outputs, self.built.backbone.leading_tokens)

    def _apply_head(self, parts: list[Any]) -> Any:
        x = keras.layers.Concatenate()(parts) if len(parts) > 1 else parts[0]
        for layer in self._head:
            x = layer(x)
        return x
