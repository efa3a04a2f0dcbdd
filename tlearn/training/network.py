"""The trainable network: taps and head on a backbone, or what is above a boundary of it."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from tlearn.config import Head
from tlearn.features.built_backbone import (
    BuiltBackbone,
    BuiltBoundary,
    Tap,
    preprocess_pixels,
)
from tlearn.features.keras_build import random_numbers_from
from tlearn.features.model_features import HEAD, MEMBER, STANDARDISE, joined, listed
from tlearn.keras_import import keras
from tlearn.training.head import divide, head_layers
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
    learns, so that the probe's standardisation is part of the model), and makes logits of them.

    Attributes:
        whole: The model users get, of this network alone.
        classifier: The model users get: ``whole``, or an ensemble of it and others.

    Args:
        taps: The taps the head sees, upwards.
        seed: Decides dropout and random weights of the head.
    """

    def __init__(
        self, built: BuiltBackbone, taps: Sequence[Tap], classes: int, head: Head, seed: int
    ) -> None:
        self.built, self.taps, self.seed = built, tuple(taps), seed
        self.standardise = keras.layers.BatchNormalization(
            center=False, scale=False, epsilon=0.0, trainable=False, name=STANDARDISE
        )
        layers = head_layers(head, len(self.columns), classes, seed)
        self._head, self.logits = [self.standardise, *layers], layers[-1]
        self._heads = [self.logits]
        self.whole = self.classifier = self._whole()

    @property
    def head(self) -> tuple[Any, ...]:
        """The layers of the head, upwards."""
        return tuple(self._head)

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

    def suffix(
        self, boundary: BuiltBoundary | None, kind: Any = keras.Model, to_logits: bool = True
    ) -> Any:
        """Return the model above a boundary, of a class, to logits or to what their layer is given.

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
        layers = self._head if to_logits else self._head[:-1]
        return kind(inputs, _chain(joined(parts), layers), name="suffix")

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
        """Make the probe the head, which must be logits alone.

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
        for head in self._heads:
            divide(head, temperature)

    def average_with(
        self,
        members: Sequence[Sequence[np.ndarray]],
        shares: Sequence[float],
        variables: Sequence[Any],
        boundary: BuiltBoundary | None,
    ) -> None:
        """Make the classifier the weighted mean of the probabilities of other networks and this.

        All share what is below the boundary; what is above it is copied for each of the others.

        Args:
            members: The others, as values of the variables.
            shares: How much each of them counts, and last this network; the sum is 1.
            variables: Those that change in any stage.
            boundary: The lowest from which upwards the backbone was trained; ``None`` for the head.
        """
        pixels, activation, low, high = self._up_to(boundary)
        outputs = [tap.tensor for tap in high]
        part = keras.Model(boundary.tensor, outputs, name="suffix") if boundary else None
        features = keras.Input((len(self.columns),), name="features")
        head = keras.Model(features, self._apply_head([features]), name=HEAD)
        parts, present = [(part, head)], copies(variables)
        for number, weights in enumerate(members, start=1):
            assign(variables, weights)
            prefix = MEMBER.format(number)
            with random_numbers_from(self.seed):
                parts.append((part and _copy(part, prefix), _copy(head, prefix)))
        assign(variables, present)
        each = []
        for (part, head), share in zip(parts, [shares[-1], *shares[:-1]], strict=True):
            logits = head(joined(self._pools(part, activation, low)))
            each.append(keras.layers.Rescaling(share)(keras.layers.Softmax()(logits)))
        self._heads = [head.layers[-1] for _, head in parts]
        mean = keras.layers.Add(name="probabilities")(each)
        self.classifier = keras.Model(pixels, mean, name="classifier")

    def _pools(self, part: Any, activation: Any, low: list[Any]) -> list[Any]:
        """Return all pooled taps: those up to a boundary, and those that a part above it gives."""
        if part is None:
            return low
        outputs = listed(part(activation))
        return [*low, *self.built.pool(outputs)]

    def _up_to(self, boundary: BuiltBoundary | None) -> tuple[Any, Any, list[Any], list[Tap]]:
        """Return pixels, the activation there, the pooled taps up to it, and the taps above.

        Without a boundary these are all the pooled taps.
        """
        pixels, start = self._pixels()
        if boundary is None:
            return pixels, None, self._apply_to_taps(self.built.base.input, self.taps, start), []
        if boundary.index == 0:
            return pixels, start, [], list(self.taps)
        low = [tap for tap in self.taps if tap.index <= boundary.index]
        tensors = [tap.tensor for tap in low] + [boundary.tensor]
        prefix = keras.Model(self.built.base.input, tensors, name="prefix")
        *outputs, activation = listed(prefix(start))
        pools = self.built.pool(outputs)
        return pixels, activation, pools, [tap for tap in self.taps if tap.index > boundary.index]

    def _pixels(self) -> tuple[Any, Any]:
        """Return an input of pixels from 0 to 255, and the same preprocessed."""
        size = self.built.size
        pixels = keras.Input((size, size, 3), name="pixels")
        return pixels, preprocess_pixels(pixels, self.built.backbone.preprocess)

    def changing(self, trainable: Iterable[frozenset[str]]) -> list[Any]:
        """Return the variables of the whole model that change in stages.

        Args:
            trainable: For each stage, names of the backbone's layers trained beside the head.
        """
        layers, trained = self.built.base.layers, frozenset().union(*trainable)
        frozen = {id(w) for layer in layers for w in layer.weights}
        frozen -= {id(w) for layer in layers if layer.name in trained for w in layer.weights}
        return [w for w in self.whole.weights if id(w) not in frozen]

    def rate_factors(self, factor: float) -> dict[str, float]:
        """Return factors of the learning rate by the path of a variable of the backbone.

        The top block has 1, each below it ``factor`` times that of the block above (Howard and
        Ruder, Universal language model fine-tuning, ACL 2018).
        """
        if factor == 1:
            return {}
        above = [self.built.layers_above(boundary) for boundary in self.built.boundaries]
        return {
            variable.path: factor ** sum(layer.name not in layers for layers in above)
            for layer in self.built.base.layers
            for variable in layer.trainable_variables
        }

    def view(self) -> Any:
        """Return another model of the same layers as ``whole``, to be compiled for callbacks."""
        return keras.Model(self.whole.input, self.whole.output, name=self.whole.name)

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
        pixels, start = self._pixels()
        parts = self._apply_to_taps(self.built.base.input, list(self.taps), start)
        probabilities = keras.layers.Softmax(name="probabilities")(self._apply_head(parts))
        return keras.Model(pixels, probabilities, name="classifier")

    def _apply_to_taps(self, source: Any, taps: Sequence[Tap], start: Any) -> list[Any]:
        """Apply the layers from ``source`` to the taps to ``start``, and pool."""
        part = keras.Model(source, [tap.tensor for tap in taps], name=self.built.backbone.name)
        return self.built.pool(listed(part(start)))

    def _apply_head(self, parts: list[Any]) -> Any:
        return _chain(joined(parts), self._head)


def _chain(x: Any, layers: Iterable[Any]) -> Any:
    for layer in layers:
        x = layer(x)
    return x


def _copy(model: Any, prefix: str) -> Any:
    """Return a copy of a model, with the same weights and a prefix before the names of layers."""

    def renamed(layer: Any) -> Any:
        return type(layer).from_config(layer.get_config() | {"name": prefix + layer.name})

    copy = keras.models.clone_model(model, clone_function=renamed)
    copy.name = prefix + model.name
    for layer in model.layers:
        if layer.weights:
            copy.get_layer(prefix + layer.name).set_weights(layer.get_weights())
    return copy
