"""Pooling: from the maps or tokens of a tap to vectors."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from tlearn.config import Pooling
from tlearn.keras_import import keras

EXPONENT = 3.0  # of the generalised mean
SMALLEST = 1e-6  # that is raised to it


def pool_taps(taps: Sequence[Any], leading_tokens: int = 0, pooling: Pooling = "both") -> list[Any]:
    """Return the vectors of each tap, in order, each as wide as it has channels.

    With ``both``, a map has its global average and maximum, and tokens the class token and the
    average of the patches, as DINOv2 is evaluated (Oquab et al., 2023), or, without a class token,
    average and maximum. Else it is one vector, of tokens that of the patches.

    Args:
        taps: Maps ``(n, height, width, channels)`` or tokens ``(n, tokens, channels)``.
        leading_tokens: How many of the tokens are not of patches; the first is the class token.
        pooling: What is pooled.
    """
    return [vector for tap in taps for vector in _pool(tap, leading_tokens, pooling)]


def _pool(tap: Any, leading_tokens: int, pooling: Pooling) -> list[Any]:
    layers, patches = keras.layers, tap
    is_map = len(tap.shape) == 4
    if leading_tokens and not is_map:
        patches = layers.Cropping1D((leading_tokens, 0))(tap)
    average = layers.GlobalAveragePooling2D if is_map else layers.GlobalAveragePooling1D
    maximum = layers.GlobalMaxPooling2D if is_map else layers.GlobalMaxPooling1D
    if pooling == "average":
        return [average()(patches)]
    if pooling == "max":
        return [maximum()(patches)]
    if pooling == "gem":
        return [generalised_mean(patches)]
    if patches is not tap:
        return [tap[:, 0], average()(patches)]
    return [average()(tap), maximum()(tap)]


def generalised_mean(maps: Any) -> Any:
    """Return the generalised mean of each channel: between average and maximum.

    GeM of Radenović et al., Fine-tuning CNN image retrieval with no human annotation (TPAMI 2019),
    with the exponent fixed at 3, where training it begins there. What is not positive counts as
    almost nothing.
    """
    ops = keras.ops
    powers = ops.power(ops.maximum(ops.cast(maps, "float32"), SMALLEST), EXPONENT)
    return ops.power(ops.mean(powers, axis=tuple(range(1, len(maps.shape) - 1))), 1 / EXPONENT)


def cached_pooling(pooling: Pooling, leading_tokens: int) -> Pooling:
    """Return what the cached features of a backbone hold: ``both``, if the wanted is part of it."""
    return pooling if pooling == "gem" or (pooling == "max" and leading_tokens) else "both"


def columns_of(pooling: Pooling, channels: Sequence[int], leading_tokens: int) -> np.ndarray:
    """Return the columns that a pooling has among cached features.

    Args:
        pooling: What the head sees.
        channels: Of each tap, upwards.
        leading_tokens: As of :func:`pool_taps`.
    """
    every, start = [], 0
    whole = cached_pooling(pooling, leading_tokens) == pooling
    second = pooling == "max" or leading_tokens > 0  # of the two vectors
    for width in channels:
        first = start + (width if second and not whole else 0)
        size = 2 * width if pooling == "both" else width
        every.append(np.arange(first, first + size))
        start += size if whole else 2 * width
    return np.concatenate(every)
