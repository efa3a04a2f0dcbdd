"""The head of a run that is continued, its rows carried over by the names of classes."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from tlearn.features.keras_build import leaves
from tlearn.keras_import import keras
from tlearn.runs.run import Run
from tlearn.training.head import OWN
from tlearn.training.network import Network
from tlearn.training.probe import LinearHead


@dataclass(frozen=True)
class CarriedHead:
    """The layers of a trained head.

    Attributes:
        labels: The classes of its logits.
        layers: The arrays of each layer of the saved model by the layer's name.
        own: The arrays of each layer of a head of the user's own, upwards.
    """

    labels: tuple[str, ...]
    layers: dict[str, list[np.ndarray]]
    own: list[list[np.ndarray]]

    @classmethod
    def of(cls, run: Run) -> "CarriedHead":
        """Read it from the model of a run; of an ensemble that of its last network.

        Raises:
            RunError: If the model cannot be loaded.
        """
        layers = {layer.name: layer.get_weights() for layer in leaves(run.model)}
        own = [layer for layer in _models(run.model) if layer.name == OWN]
        return cls(run.labels, layers, [x.get_weights() for model in own for x in leaves(model)])

    def linear(self, labels: tuple[str, ...]) -> LinearHead:
        """Return it as a linear head for other classes; rows of new ones are zero."""
        mean, variance = self.layers["standardise"]
        kernel, bias = self.layers["logits"]
        shape = (len(kernel), len(labels))
        kernel, bias = self._by_class(labels, [kernel, bias], [np.zeros(shape), np.zeros(shape[1])])
        return LinearHead(mean, np.sqrt(variance), kernel, bias)

    def into(self, network: Network, labels: tuple[str, ...]) -> None:
        """Set the layers of a network's head; what is new or of another shape stays as it is."""
        for layer in network.head:
            source, present = self.layers.get(layer.name, []), layer.get_weights()
            if layer.name == OWN:
                self._into_own(list(leaves(layer)), labels)
            elif layer.name == "logits" and source and source[0].shape[:1] == present[0].shape[:1]:
                layer.set_weights(self._by_class(labels, source, present))
            elif [a.shape for a in source] == [a.shape for a in present]:
                layer.set_weights(source)

    def _into_own(self, layers: list[Any], labels: tuple[str, ...]) -> None:
        """Set layers of the user's own; the last with weights has an axis of classes, or none."""
        pairs = [(x, w) for x, w in zip(layers, self.own, strict=False) if x.weights]
        for number, (layer, source) in enumerate(pairs, start=1):
            present = layer.get_weights()
            for i, (old, new) in enumerate(zip(source, present, strict=False)):
                ends = old.shape[-1:] + new.shape[-1:] == (len(self.labels), len(labels))
                if number == len(pairs) and ends and old.shape[:-1] == new.shape[:-1]:
                    (present[i],) = self._by_class(labels, [old], [new])
                elif old.shape == new.shape:
                    present[i] = old
            layer.set_weights(present)

    def _by_class(
        self, labels: tuple[str, ...], source: list[np.ndarray], present: list[np.ndarray]
    ) -> Any:
        """Return arrays with a last axis of ``labels``, those of known classes from ``source``."""
        known = [label for label in labels if label in self.labels]
        here, there = (list(map(some.index, known)) for some in (labels, self.labels))
        carried = [array.copy() for array in present]
        for array, given in zip(carried, source, strict=True):
            array[..., here] = given[..., there]
        return carried


def _models(model: Any) -> Iterator[Any]:
    """Yield the models among the layers of a model, and those in them."""
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield layer
            yield from _models(layer)
