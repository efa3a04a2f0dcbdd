"""The things in the sample data set, as distances: how far a point is from their surface.

Each is about 1 high, stands on the plane z = 0, and is negative inside. The distances and their
combinations are those of https://iquilezles.org/articles/distfunctions.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Points = np.ndarray  # float32, shape (n, 3): x, y, z
Distances = np.ndarray  # float32, shape (n,)


@dataclass(frozen=True)
class Shape:
    """A thing of random proportions.

    Attributes:
        distance: How far points are from its surface.
        paint: Which of the colours of the thing the points on its surface have: 0 or 1.
        height: Of its middle above the plane.
        radius: Of a sphere around its middle that holds all of it.
    """

    distance: Callable[[Points], Distances]
    paint: Callable[[Points], np.ndarray]
    height: float = 0.5
    radius: float = 0.95


def apple(rng: np.random.Generator) -> Shape:
    """Return an apple: round, with a hollow at the stalk."""
    flat, hollow = rng.uniform(0.85, 1.0), rng.uniform(0.16, 0.24)

    def fruit(p: Points) -> Distances:
        r, z = np.hypot(p[:, 0], p[:, 1]), (p[:, 2] - 0.45) / flat
        angle = np.arctan2(z, r)
        top = np.exp(-(((angle - np.pi / 2) / 0.5) ** 2)) + 0.6 * np.exp(
            -(((angle + np.pi / 2) / 0.45) ** 2)
        )
        return np.asarray((np.hypot(r, z) - 0.5 * (1.04 - hollow * 2 * top)) * 0.7)

    def stalk(p: Points) -> Distances:
        bent = p - _floats([0.06, 0, 0]) * np.clip(p[:, 2:3] * 3 - 1, 0, 2)
        return _capsule(bent, 0.55, 0.98, 0.025)

    return Shape(lambda p: np.minimum(fruit(p), stalk(p)), lambda p: stalk(p) < fruit(p), 0.5, 0.75)


def bottle(rng: np.random.Generator) -> Shape:
    """Return a bottle with a cap."""
    width, shoulder = rng.uniform(0.17, 0.24), rng.uniform(0.6, 0.72)
    neck = rng.uniform(0.06, 0.08)

    def glass(p: Points) -> Distances:
        body = _cylinder(p, 0.0, shoulder, width, 0.05)
        return _smooth_union(body, _cylinder(p, shoulder, 1.0, neck, 0.01), 0.12)

    def cap(p: Points) -> Distances:
        return _cylinder(p, 0.97, 1.07, neck + 0.025, 0.015)

    label = rng.uniform(0.2, 0.3)

    def paint(p: Points) -> np.ndarray:
        band = (p[:, 2] > label) & (p[:, 2] < label + 0.25)
        return band | (cap(p) < glass(p))

    return Shape(lambda p: np.minimum(glass(p), cap(p)), paint, 0.53, 0.62)


def cup(rng: np.random.Generator) -> Shape:
    """Return a cup with a handle."""
    width, height = rng.uniform(0.28, 0.36), rng.uniform(0.55, 0.75)
    stripe = rng.uniform(0.3, 0.6) * height

    def distance(p: Points) -> Distances:
        outer = _cylinder(p, 0.0, height, width, 0.03)
        inner = _cylinder(p, 0.06, height + 0.3, width - 0.045, 0.02)
        q = p - _floats([width + 0.02, 0, height * 0.52])
        ring = np.hypot(np.hypot(q[:, 0], q[:, 2]) - 0.17, q[:, 1]) - 0.035
        handle = np.maximum(ring, -outer - 0.02)
        return np.asarray(np.minimum(np.maximum(outer, -inner), np.maximum(handle, -inner)) * 0.9)

    return Shape(distance, lambda p: np.abs(p[:, 2] - stripe) < 0.07, height / 2, 0.72)


def die(rng: np.random.Generator) -> Shape:
    """Return a die with its points."""
    half = rng.uniform(0.3, 0.36)
    spots = half * 0.5 * _floats([[0, 0], [1, 1], [-1, -1], [1, -1], [-1, 1], [1, 0], [-1, 0]])
    faces = {1: spots[:1], 2: spots[1:3], 3: spots[:3], 4: spots[1:5], 5: spots[:5], 6: spots[1:]}
    order = [int(n) for n in rng.permutation(6) + 1]

    def distance(p: Points) -> Distances:
        q = np.abs(p - _floats([0, 0, half])) - (half - 0.07)
        outside = np.linalg.norm(np.maximum(q, 0), axis=1)
        return np.asarray(outside + np.minimum(q.max(axis=1), 0) - 0.07)

    def paint(p: Points) -> np.ndarray:
        q = p - _floats([0, 0, half])
        axis = np.abs(q).argmax(axis=1)
        dark = np.zeros(len(p), bool)
        for side in range(3):
            others = [k for k in range(3) if k != side]
            for positive in (False, True):
                here = (axis == side) & ((q[:, side] > 0) == positive)
                flat = q[here][:, others]
                away = np.linalg.norm(flat[:, None] - faces[order[side * 2 + positive]], axis=2)
                dark[here] = (away < half * 0.19).any(axis=1)
        return dark

    return Shape(distance, paint, half, 0.62)


def doughnut(rng: np.random.Generator) -> Shape:
    """Return a doughnut with icing."""
    tube, ring = rng.uniform(0.16, 0.2), rng.uniform(0.3, 0.36)
    phase, waves = rng.uniform(0, 6), int(rng.integers(4, 8))

    def distance(p: Points) -> Distances:
        return np.asarray(np.hypot(np.hypot(p[:, 0], p[:, 1]) - ring, p[:, 2] - tube) - tube)

    def paint(p: Points) -> np.ndarray:
        edge = 0.02 * np.sin(waves * np.arctan2(p[:, 1], p[:, 0]) + phase)
        return np.asarray(p[:, 2] > tube * 1.05 + edge)

    return Shape(distance, paint, tube, 0.6)


def mushroom(rng: np.random.Generator) -> Shape:
    """Return a mushroom: a cap on a stem."""
    width, thick = rng.uniform(0.32, 0.45), rng.uniform(0.09, 0.14)
    height = rng.uniform(0.5, 0.62)

    def cap(p: Points) -> Distances:
        q = (p - _floats([0, 0, height])) / _floats([1, 1, 0.75])
        ball = np.linalg.norm(q, axis=1) - width
        under = (height - 0.02 - p[:, 2]) + 0.25 * np.maximum(0, 0.2 - np.hypot(p[:, 0], p[:, 1]))
        return np.asarray(np.maximum(ball, under) * 0.75)

    def stem(p: Points) -> Distances:
        bulge = thick * (1 + 0.35 * np.clip(0.25 - p[:, 2], 0, 0.25) * 4)
        r = np.hypot(p[:, 0], p[:, 1]) - bulge
        return np.asarray(np.maximum(r, np.maximum(-p[:, 2], p[:, 2] - height)) * 0.8)

    return Shape(
        lambda p: _smooth_union(cap(p), stem(p), 0.04),
        lambda p: stem(p) < cap(p),
        0.45,
        0.7,
    )


SHAPES: dict[str, Callable[[np.random.Generator], Shape]] = {
    "apple": apple,
    "bottle": bottle,
    "cup": cup,
    "die": die,
    "doughnut": doughnut,
    "mushroom": mushroom,
}


def _floats(values: Sequence[Any]) -> np.ndarray:
    return np.array(values, np.float32)


def _cylinder(p: Points, low: float, high: float, radius: float, rounded: float) -> Distances:
    """An upright cylinder with rounded edges."""
    r = np.hypot(p[:, 0], p[:, 1]) - radius + rounded
    z = np.abs(p[:, 2] - (low + high) / 2) - (high - low) / 2 + rounded
    return np.asarray(
        np.minimum(np.maximum(r, z), 0) + np.hypot(np.maximum(r, 0), np.maximum(z, 0)) - rounded
    )


def _capsule(p: Points, low: float, high: float, radius: float) -> Distances:
    """An upright stick with round ends."""
    z = p[:, 2] - np.clip(p[:, 2], low, high)
    return np.asarray(np.sqrt(p[:, 0] ** 2 + p[:, 1] ** 2 + z**2) - radius)


def _smooth_union(a: Distances, b: Distances, width: float) -> Distances:
    """The union of two things with a fillet between them."""
    h = np.clip(0.5 + 0.5 * (b - a) / width, 0, 1)
    return np.asarray(b + (a - b) * h - width * h * (1 - h))
