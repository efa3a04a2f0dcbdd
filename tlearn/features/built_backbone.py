"""A built backbone with its boundaries and taps."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from tlearn.backbones import Backbone, Boundary, Preprocess
from tlearn.config import Pooling
from tlearn.errors import BackboneError, nearest
from tlearn.features.keras_build import build, check_keras, digest_of, random_numbers_from
from tlearn.features.pooling import cached_pooling, columns_of, pool_taps
from tlearn.keras_import import keras

PIXELS = "pixels"  # the name of the boundary below everything
FEATURES = "features"  # the output that holds all pooled taps, side by side
HALF = 65504.0  # the largest number of float16


@dataclass(frozen=True)
class BuiltBoundary:
    """A boundary of a built backbone: ``before`` or ``after`` the layer it is named after.

    Attributes:
        index: 0 for the boundary ``pixels``, then 1 and up towards the top.
        tensor: The one tensor that crosses it: the preprocessed pixels at index 0.
    """

    index: int
    name: str
    position: str
    tensor: Any


@dataclass(frozen=True)
class Tap:
    """A depth at which features are pooled for the head: a boundary's tensor, or the ``top``.

    The index is that of the boundary; the top's is one above the last boundary.
    """

    index: int
    name: str
    tensor: Any
    pooling: Pooling = "both"

    @property
    def channels(self) -> int:
        """Number of channels."""
        return int(self.tensor.shape[-1])

    @property
    def width(self) -> int:
        """Number of features that the head sees: one or two for each channel."""
        return self.channels * (2 if self.pooling == "both" else 1)


@dataclass(frozen=True)
class BuiltBackbone:
    """A backbone built for one input size with one set of weights.

    Attributes:
        backbone: The facts.
        base: The Keras model, from preprocessed pixels to the topmost maps.
        size: Side of the input in pixels.
        digest: Hash of the layers' settings and of all weights as they were loaded.
        boundaries: The pixels and every boundary, upwards.
        taps: What can be pooled, upwards; the last is the top.
        seconds: How long it took to build.
        weights: What was asked for: a name, a file, or ``none`` for random weights.
        left_out: Layers that keep random weights, because the file does not have them.
        pooling: How the taps become features.
    """

    backbone: Backbone
    base: Any
    size: int
    digest: str
    boundaries: tuple[BuiltBoundary, ...]
    taps: tuple[Tap, ...]
    seconds: float = 0.0
    weights: str = "none"
    left_out: tuple[str, ...] = ()
    pooling: Pooling = "both"

    @property
    def cached_pooling(self) -> Pooling:
        """What the cached features hold: those of the head are among them."""
        return cached_pooling(self.pooling, self.backbone.leading_tokens)

    @property
    def feature_columns(self) -> np.ndarray:
        """The columns of the head's features among the cached ones."""
        channels = [tap.channels for tap in self.taps]
        return columns_of(self.pooling, channels, self.backbone.leading_tokens)

    def pool(self, tensors: Sequence[Any]) -> list[Any]:
        """Return the features of taps for the head, one or two vectors for each."""
        return pool_taps(tensors, self.backbone.leading_tokens, self.pooling)

    def layers_to_train(self, unfreeze: int | str) -> frozenset[str]:
        """Return the names of the layers of the top blocks, or from one of a name upwards.

        A boundary's name stands for the layers above that boundary.

        Args:
            unfreeze: As of :class:`tlearn.config.Stage`.

        Raises:
            BackboneError: If the backbone has fewer blocks, or no such layer.
        """
        boundaries = {boundary.name: boundary for boundary in self.boundaries}
        names = [layer.name for layer in self.base.layers]
        if unfreeze in (0, "none"):
            return frozenset()
        if unfreeze == "all":
            return self.layers_above(self.boundaries[0])
        if isinstance(unfreeze, int):
            if unfreeze > len(boundaries):
                raise BackboneError(
                    f"cannot unfreeze {unfreeze} blocks of {self.backbone.name}: it has "
                    f"{len(boundaries)}; give a number up to that, 'all', 'none' or a layer name"
                )
            return self.layers_above(self.boundaries[-unfreeze])
        if unfreeze in boundaries:
            return self.layers_above(boundaries[unfreeze])
        if unfreeze not in names:
            raise BackboneError(
                f"{self.backbone.name} has no layer {unfreeze!r}{nearest(unfreeze, names)}; its "
                f"boundaries are {', '.join(boundary.name for boundary in self.boundaries[1:])}"
            )
        return frozenset(names[names.index(unfreeze) :])

    def prefix(self, names: Sequence[str]) -> Any:
        """Return the prefix: a Keras model from RGB pixels, 0 to 255, to some outputs.

        Activations at boundaries come as float16, as the cache has them; features as float32.

        Args:
            names: Names of boundaries above the pixels, and ``features`` for all pooled taps, as
                they are cached.
        """
        tensors = {boundary.name: boundary.tensor for boundary in self.boundaries}
        if FEATURES in names:
            every, tokens = [tap.tensor for tap in self.taps], self.backbone.leading_tokens
            pools = pool_taps(every, tokens, self.cached_pooling)
            tensors[FEATURES] = keras.layers.Concatenate()(pools)
        part = keras.Model(self.base.input, [tensors[name] for name in names])
        pixels = keras.Input((self.size, self.size, 3))
        results = part(preprocess_pixels(pixels, self.backbone.preprocess))
        outputs = [
            out if name == FEATURES else keras.ops.cast(keras.ops.clip(out, -HALF, HALF), "float16")
            for name, out in zip(names, results, strict=True)
        ]
        return keras.Model(pixels, outputs)

    def layers_above(self, boundary: BuiltBoundary) -> frozenset[str]:
        """Return the names of the layers that lie above a boundary."""
        if boundary.index not in self._above:
            below = keras.Model(self.base.input, boundary.tensor).layers
            every = frozenset(layer.name for layer in self.base.layers)
            self._above[boundary.index] = every - {layer.name for layer in below}
        return self._above[boundary.index]

    @cached_property
    def _above(self) -> dict[int, frozenset[str]]:
        """The layers above the boundaries that were asked for, by their index."""
        return {}

    def check_crossing(self, boundary: BuiltBoundary) -> None:
        """Refuse a boundary that more than one tensor crosses.

        Raises:
            BackboneError: If what is above it cannot be computed from its tensor alone.
        """
        try:
            keras.Model(boundary.tensor, self.base.output)
        except ValueError:
            raise BackboneError(
                f"more than one tensor crosses the boundary {boundary.position} {boundary.name!r} "
                f"of {self.backbone.name}: what is above it cannot be computed from it alone; "
                f"plugin authors: run 'tlearn plugins check {self.backbone.name}' for details"
            ) from None

    def highest_boundary_below(self, layers: frozenset[str]) -> BuiltBoundary:
        """Return the highest boundary that has all weights of ``layers`` above it."""
        weighted = {
            layer.name for layer in self.base.layers if layer.weights and layer.name in layers
        }
        for boundary in reversed(self.boundaries):
            if weighted <= self.layers_above(boundary):
                return boundary
        return self.boundaries[0]


def preprocess_pixels(pixels: Any, preprocess: Preprocess) -> Any:
    """Apply the preprocessing to a tensor of RGB pixels from 0 to 255, with built-in layers."""
    if preprocess.channel_order == "bgr":
        pixels = _reversed_channels(pixels)
    factor, summand = preprocess.factors()
    return keras.layers.Rescaling(factor, summand, name="preprocess")(pixels)


def _reversed_channels(pixels: Any) -> Any:
    """Return BGR for RGB, by layers alone: the HDF5 files of older Keras hold no operations."""
    layers = keras.layers
    channels = layers.Permute((3, 1, 2))(pixels)
    each = [layers.Cropping2D(((i, 2 - i), (0, 0)))(channels) for i in (2, 1, 0)]
    return layers.Permute((2, 3, 1))(layers.Concatenate(axis=1)(each))


def load_backbone(
    backbone: Backbone,
    size: int | None,
    weights: str,
    seed: int,
    skip_mismatch: bool = False,
    pooling: Pooling = "both",
) -> BuiltBackbone:
    """Build a backbone and load its weights.

    Args:
        backbone: The facts.
        size: Side of the input in pixels, or ``None`` for the backbone's default.
        weights: A name the backbone offers, ``none`` for random ones by the seed, or a file.
        seed: Where random numbers begin.
        skip_mismatch: Whether layers that a file does not have keep random weights.
        pooling: How the taps become features.

    Raises:
        BackboneError: If the size is too small, the weights cannot be loaded or do not fit.
    """
    start = time.monotonic()
    check_keras()
    size, left_out = backbone.checked_size(size), list[str]()
    with random_numbers_from(seed):
        base = build(backbone, size, weights, left_out if skip_mismatch else None)
    boundaries = [BuiltBoundary(0, PIXELS, "before", base.input)]
    for index, b in enumerate(backbone.blocks.boundaries, start=1):
        tensor = _crossing(backbone, base, b)
        boundaries.append(BuiltBoundary(index, b.layer, b.position, tensor))
    inner = [b for b in boundaries if b.name in backbone.tap_layers]
    taps = [Tap(b.index, b.name, b.tensor, pooling) for b in inner]
    taps.append(Tap(len(boundaries), "top", base.output, pooling))
    digest, seconds = digest_of(base), time.monotonic() - start
    return BuiltBackbone(
        backbone,
        base,
        size,
        digest,
        tuple(boundaries),
        tuple(taps),
        seconds,
        weights,
        tuple(left_out),
        pooling,
    )


def _crossing(backbone: Backbone, base: Any, boundary: Boundary) -> Any:
    """Return the tensor at a boundary.

    Raises:
        BackboneError: If the network has no such layer, or several tensors cross there.
    """
    names = [layer.name for layer in base.layers]
    if boundary.layer not in names:
        raise BackboneError(
            f"the plugin of {backbone.name} names the boundary {boundary.layer!r}, and its network "
            f"has no such layer{nearest(boundary.layer, names)}; plugin authors: run "
            f"'tlearn plugins check {backbone.name}' for details"
        )
    tensors = tensors_at(base, boundary.layer, boundary.position)
    if len(tensors) != 1 or len(tensors[0].shape) not in (3, 4):
        raise BackboneError(
            f"the plugin of {backbone.name} has a boundary {boundary.position} {boundary.layer!r}, "
            f"where not one map or one sequence of tokens crosses; plugin authors: run "
            f"'tlearn plugins check {backbone.name}' for details"
        )
    return tensors[0]


def tensors_at(base: Any, layer: str, position: str) -> list[Any]:
    """Return the tensors before or after a layer of a network.

    A layer may also be part of another network, where a plugin took a library's network apart; so
    its own ``input`` and ``output`` may be those of the other.
    """
    of_this = {id(node) for nodes in base._nodes_by_depth.values() for node in nodes}
    nodes = [node for node in base.get_layer(layer)._inbound_nodes if id(node) in of_this]
    return [x for n in nodes for x in (n.input_tensors if position == "before" else n.outputs)]
