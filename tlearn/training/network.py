"""The trainable network: taps and head on a backbone, cut where a stage cuts it."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from tlearn.config import Head
from tlearn.features.built_backbone import BuiltBackbone, BuiltBoundary, Tap, pooled, preprocessed
from tlearn.keras_import import keras
from tlearn.training.probe import Probe


def copies(variables: Iterable[Any]) -> list[np.ndarray]:
    """Return copies of the values of some variables."""
    return [np.array(keras.ops.convert_to_numpy(variable)) for variable in variables]


class Network:
    """Backbone, taps and head, sharing layers between the whole and its suffixes.

    The head pools the taps, standardises the pooled features (a batch normalisation that never
    learns, so that the probe's standardisation is part of the model), drops some, and ends in
    logits.

    Args:
        built: The built backbone.
        taps: The taps the head sees, upwards.
        classes: Number of classes.
        head: Dropout and hidden layers.
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
        """Where the taps' features stand among those of all the backbone's taps."""
        columns, start = [], 0
        for tap in self.built.taps:
            if tap in self.taps:
                columns.append(np.arange(start, start + tap.width))
            start += tap.width
        return np.concatenate(columns)

    def columns_below(self, boundary: BuiltBoundary | None) -> np.ndarray:
        """Return the columns of the taps at or below a cut, which its prefix computes."""
        below = sum(
            tap.width for tap in self.taps if boundary is None or tap.index <= boundary.index
        )
        return self.columns[:below] if boundary is None or boundary.index else self.columns[:0]

    def suffix(self, boundary: BuiltBoundary | None) -> Any:
        """Return the model above a cut, to logits.

        Its inputs are the activation at the cut and the pooled features of the taps at or below
        it; those without any part are left out. With no cut it is the head alone.
        """
        inputs, parts = [], []
        low = len(self.columns_below(boundary))
        if boundary is not None:
            activation = keras.Input(boundary.tensor.shape[1:], name="activation")
            inputs.append(activation)
            start = activation
            if boundary.index == 0:
                start = preprocessed(activation, self.built.backbone.preprocess)
            high = [tap for tap in self.taps if tap.index > boundary.index or boundary.index == 0]
            parts = self._tapped(boundary.tensor, high, start)
        if low:
            features = keras.Input((low,), name="features")
            inputs.append(features)
            parts = [features, *parts]
        return keras.Model(inputs, self._apply_head(parts), name="suffix")

    def freeze(self, trainable: frozenset[str]) -> None:
        """Set every layer of the backbone: trainable if named, batch normalisation never.

        A frozen batch normalisation runs on the statistics it was trained with (Keras, transfer
        learning guide), which a few hundred photos would only spoil.
        """
        for layer in self.built.base.layers:
            layer.trainable = layer.name in trainable
            for part in layer._flatten_layers():  # blocks of a stranger's are layers of layers
                if isinstance(part, keras.layers.BatchNormalization):
                    part.trainable = False

    def standardise_by(self, mean: np.ndarray, scale: np.ndarray) -> None:
        """Set what the pooled features are standardised by."""
        self.standardise.set_weights([mean, scale**2])

    def start_from(self, probe: Probe) -> None:
        """Make the probe the head, which must be without hidden layers.

        Features are scaled down to vectors of about unit length and the kernel up by as much: the
        logits are the same, but a step of the optimizer moves them less the more features there
        are. With thousands of them, plain standardised ones would throw the head off the probe in
        the first few steps.
        """
        length = np.sqrt(len(probe.mean))
        self.standardise_by(probe.mean, probe.scale * length)
        self.logits.set_weights([probe.kernel * length, probe.bias])

    def snapshot(self) -> list[np.ndarray]:
        """Return a copy of all weights."""
        return [np.array(value) for value in self.whole.get_weights()]

    def restore(self, weights: list[np.ndarray]) -> None:
        """Set all weights to a snapshot."""
        self.whole.set_weights(weights)

    def places(self, trained: frozenset[str]) -> list[int]:
        """Return where in a snapshot the weights stand that change in training.

        Args:
            trained: Names of the backbone's layers that are trained beside the head.
        """
        layers = self.built.base.layers
        pristine = {id(w) for layer in layers for w in layer.weights}
        pristine -= {id(w) for layer in layers if layer.name in trained for w in layer.weights}
        return [i for i, w in enumerate(self.whole.weights) if id(w) not in pristine]

    def filled(self, places: Sequence[int], weights: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Return a snapshot with the weights at some places put in."""
        snapshot = self.snapshot()
        for i, new in zip(places, weights, strict=True):
            snapshot[i] = new
        return snapshot

    @property
    def seeds(self) -> list[np.ndarray]:
        """The states of all generators of random numbers, as of dropout."""
        return copies(self._seeds())

    @seeds.setter
    def seeds(self, states: Sequence[np.ndarray]) -> None:
        for state, value in zip(self._seeds(), states, strict=True):
            state.assign(value)

    def _seeds(self) -> list[Any]:
        weights = {id(w) for w in self.whole.weights}
        return [v for v in self.whole.variables if id(v) not in weights]

    def _whole(self) -> Any:
        """Return the model users get: pixels from 0 to 255 in, probabilities out."""
        size = self.built.size
        pixels = keras.Input((size, size, 3), name="pixels")
        start = preprocessed(pixels, self.built.backbone.preprocess)
        parts = self._tapped(self.built.base.input, list(self.taps), start)
        probabilities = keras.layers.Softmax(name="probabilities")(self._apply_head(parts))
        return keras.Model(pixels, probabilities, name="classifier")

    def _tapped(self, source: Any, taps: list[Tap], start: Any) -> list[Any]:
        """Apply the layers from ``source`` to the taps to ``start``, and pool."""
        part = keras.Model(source, [tap.tensor for tap in taps], name=self.built.backbone.name)
        out = part(start)
        found = list(out) if isinstance(out, list | tuple) else [out]
        return pooled(found, self.built.backbone.leading_tokens)

    def _apply_head(self, parts: list[Any]) -> Any:
        x = keras.layers.Concatenate()(parts) if len(parts) > 1 else parts[0]
        for layer in self._head:
            x = layer(x)
        return x
