"""A small sample data set: rendered pictures of six kinds of things, as photos of them would be.

Each picture is ray-marched (Hart 1996, "Sphere tracing") with NumPy: a thing of random proportions,
colours and position on a table of random material, seen from a random side in light from a random
direction, with its shadow, the noise of a sensor, and a background out of focus.
"""

import colorsys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageFilter

from tlearn.data.sample_shapes import SHAPES, Shape
from tlearn.progress import Progress, Silent

SIZE, PER_CLASS = 160, 40
STEPS, NEAR = 56, 0.004  # of a ray, and the distance at which it has met a surface
SHADOW_STEPS = 20


def draw_sample(folder: Path, progress: Progress | None = None) -> Path:
    """Draw class folders of pictures into a folder and return it."""
    with (progress or Silent()).task("drawing", len(SHAPES) * PER_CLASS, "pictures") as task:
        for k, (name, shape) in enumerate(SHAPES.items()):
            (folder / name).mkdir(parents=True)
            for i in range(PER_CLASS):
                picture = draw_picture(shape, np.random.default_rng((0, k, i)))
                picture.save(folder / name / f"{name} {i + 1}.jpg", quality=88)
                task.advance()
    return folder


@dataclass(frozen=True)
class _Scene:
    """What is drawn, with all that is chosen at random.

    Attributes:
        shape: The thing, upright at the origin.
        turn: The rotation of the thing about its axis, in radians.
        eye: Where it is seen from.
        target: What is in the middle of the picture.
        light: The direction of the light, of length 1.
        colours: Of the thing, two of red, green and blue from 0 to 1.
        shine: How much it shines.
    """

    shape: Shape
    turn: float
    eye: np.ndarray
    target: np.ndarray
    light: np.ndarray
    colours: np.ndarray
    shine: float

    def distance(self, points: np.ndarray) -> np.ndarray:
        return self.shape.distance(self.turned(points))

    def turned(self, points: np.ndarray) -> np.ndarray:
        """Return points as the thing sees them, which is turned."""
        cos, sin = np.cos(self.turn), np.sin(self.turn)
        x, y = points[:, 0], points[:, 1]
        return np.stack([x * cos + y * sin, y * cos - x * sin, points[:, 2]], axis=1)


def draw_picture(
    shape: Callable[[np.random.Generator], Shape], rng: np.random.Generator
) -> Image.Image:
    """Return one picture of a thing."""
    scene = _scene(shape(rng), rng)
    rays = _rays(scene).astype(np.float32)
    pixels = _background(rays, rng)
    ground = rays[:, 2] < -0.02
    along = np.full(len(rays), np.inf, np.float32)
    along[ground] = -scene.eye[2] / rays[ground, 2]
    on_table = along < 12
    points = scene.eye + rays[on_table] * along[on_table, None]
    table = _table(points, rng) * _light(scene, points, _floats([0, 0, 1]))[:, None]
    fade = np.clip((along[on_table] - 4) / 8, 0, 1)[:, None] ** 2
    pixels[on_table] = table * (1 - fade) + pixels[on_table] * fade
    blurred = _as_image(pixels).filter(ImageFilter.GaussianBlur(rng.uniform(0.4, 1.6)))
    pixels = np.asarray(blurred, np.float32).reshape(-1, 3) / 255
    hit, where = _march(scene, scene.eye, rays)
    pixels[hit] = _surface(scene, where, rays[hit])
    if rng.random() < 0.7:
        _cover(pixels, rng)
    return _photograph(pixels, rng)


def _scene(shape: Shape, rng: np.random.Generator) -> _Scene:
    side, up = rng.uniform(0, 2 * np.pi), rng.uniform(0.2, 0.75)
    away = shape.radius * rng.uniform(3.0, 9.0)
    middle = _floats([*rng.uniform(-0.6, 0.6, 2) * shape.radius, shape.height])
    eye = middle + away * _direction(side, up)
    light = _direction(rng.uniform(0, 2 * np.pi), rng.uniform(0.5, 1.2))
    colours = _floats([_colour(rng), _colour(rng)])
    return _Scene(shape, rng.uniform(0, 6.28), eye, middle, light, colours, rng.uniform(0.1, 0.7))


def _direction(side: float, up: float) -> np.ndarray:
    """Return the direction of two angles in radians, of length 1."""
    return _floats([np.cos(side) * np.cos(up), np.sin(side) * np.cos(up), np.sin(up)])


def _colour(rng: np.random.Generator, purest: float = 0.75) -> np.ndarray:
    """Return a colour as things have them: rarely pure."""
    hue, purity, value = rng.uniform(), rng.uniform(0.05, purest), rng.uniform(0.25, 0.95)
    return _floats(colorsys.hsv_to_rgb(hue, purity, value))


def _floats(values: Sequence[Any]) -> np.ndarray:
    return np.array(values, np.float32)


def _rays(scene: _Scene) -> np.ndarray:
    """Return the directions from the eye through all pixels, of length 1."""
    forward = scene.target - scene.eye
    forward /= np.linalg.norm(forward)
    right = np.cross(forward, [0, 0, 1])
    right /= np.linalg.norm(right)
    up = np.cross(right, forward)
    x, y = np.meshgrid(np.linspace(-1, 1, SIZE), np.linspace(1, -1, SIZE))
    angle = 0.36  # half of what is seen, as its tangent
    rays = forward + angle * (x[..., None] * right + y[..., None] * up)
    rays = rays.reshape(-1, 3)
    return np.asarray(rays / np.linalg.norm(rays, axis=1, keepdims=True))


def _march(scene: _Scene, eye: np.ndarray, rays: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return which rays meet the thing, and the points where."""
    middle = _floats([0, 0, scene.shape.height])
    towards = (middle - eye) @ rays.T if eye.ndim == 1 else ((middle - eye) * rays).sum(axis=1)
    miss = np.linalg.norm(eye + rays * towards[:, None] - middle, axis=1)
    active = np.flatnonzero(miss < scene.shape.radius)
    along = np.maximum(0.05, towards[active] - scene.shape.radius).astype(np.float32)
    hits, points = [], []
    for _ in range(STEPS):
        at = eye + rays[active] * along[:, None]
        distances = scene.distance(at)
        met = distances < NEAR
        hits.append(active[met])
        points.append(at[met])
        on = ~met & (along < towards[active] + scene.shape.radius)
        active, along = active[on], along[on] + distances[on]
    return np.concatenate(hits), np.concatenate(points)


def _light(scene: _Scene, points: np.ndarray, normals: np.ndarray) -> np.ndarray:
    """Return how bright points are: in the light or in the shadow of the thing."""
    facing = np.clip(normals @ scene.light, 0, 1)
    middle = _floats([0, 0, scene.shape.height])
    towards = (middle - points) @ scene.light
    miss = np.linalg.norm(points + scene.light * towards[:, None] - middle, axis=1)
    active = np.flatnonzero((miss < scene.shape.radius) & (towards > -scene.shape.radius))
    free = np.ones(len(points), np.float32)
    along = np.maximum(0.04, towards[active] - scene.shape.radius).astype(np.float32)
    for _ in range(SHADOW_STEPS):
        distances = scene.distance(points[active] + scene.light * along[:, None])
        free[active] = np.minimum(free[active], np.clip(9 * distances / along, 0, 1))
        on = (free[active] > 0.02) & (along < towards[active] + scene.shape.radius)
        active, along = active[on], along[on] + np.clip(distances[on], 0.02, 0.2)
    near = np.clip(scene.distance(points + normals * 0.12) / 0.12, 0.35, 1)  # what is in corners
    return np.asarray((0.32 + 0.2 * normals[..., 2]) * near + 0.75 * facing * free)


def _surface(scene: _Scene, points: np.ndarray, rays: np.ndarray) -> np.ndarray:
    """Return the colours of points on the thing."""
    normals = np.stack(
        [
            scene.distance(points + step) - scene.distance(points - step)
            for step in np.eye(3, dtype=np.float32) * 0.003
        ],
        axis=1,
    )
    normals /= np.linalg.norm(normals, axis=1, keepdims=True) + 1e-9
    light = _light(scene, points + normals * 0.02, normals)
    paint = scene.shape.paint(scene.turned(points)).astype(int)
    between = scene.light - rays
    between /= np.linalg.norm(between, axis=1, keepdims=True)
    gloss = scene.shine * np.clip((normals * between).sum(axis=1), 0, 1) ** 40
    rim = 0.12 * (1 - np.abs((normals * rays).sum(axis=1))) ** 3
    return np.asarray(scene.colours[paint] * light[:, None] + (gloss + rim)[:, None])


def _background(rays: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the wall behind the table, with soft patches of light and of things out of focus."""
    x, z = np.arctan2(rays[:, 1], rays[:, 0]), rays[:, 2]
    low, high = _colour(rng) * 0.5 + 0.25, _colour(rng) * 0.5 + 0.25
    pixels = low + (high - low) * np.clip(z[:, None] + 0.5, 0, 1)
    for _ in range(int(rng.integers(3, 8))):
        wide, tall = rng.uniform(0.05, 0.35, 2)
        left, top = rng.uniform(-3.2, 3.2), rng.uniform(-0.3, 0.4)
        spot = np.exp(-((((x - left) / wide) ** 2 + ((z - top) / tall) ** 2) ** 2))
        pixels += spot[:, None] * (_colour(rng) - pixels) * rng.uniform(0.3, 0.8)
    return np.asarray(pixels, np.float32)


def _table(points: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the colours of points on the table: wood, cloth, stone or plain."""
    turn = rng.uniform(0, 6.28)
    u = points[:, 0] * np.cos(turn) + points[:, 1] * np.sin(turn)
    v = points[:, 1] * np.cos(turn) - points[:, 0] * np.sin(turn)
    first, second = _colour(rng, 0.4), _colour(rng, 0.4)
    kind = rng.choice(4, p=[0.4, 0.2, 0.2, 0.2])
    if kind == 0:  # wood: rings that are stretched along the grain
        value = rng.uniform(0.7, 1.5)
        first, second = _floats([0.55, 0.36, 0.2]) * value, _floats([0.33, 0.2, 0.1]) * value
        rings = _noise(u * 0.6, v * 5, rng) * 6
        mix = 0.5 + 0.5 * np.sin(rings + 9 * v)
    elif kind == 1:  # cloth in checks
        width = rng.uniform(4, 9)
        mix = 0.5 * (np.sin(u * width) > 0) + 0.5 * (np.sin(v * width) > 0)
    elif kind == 2:  # stone
        mix = np.clip(_noise(u * 7, v * 7, rng) + 0.5 * _noise(u * 19, v * 19, rng), 0, 1)
        second = first * rng.uniform(0.5, 0.8)
    else:
        mix = 0.25 * _noise(u * 3, v * 3, rng)
    return np.asarray(first + (second - first) * mix[:, None], np.float32)


def _cover(pixels: np.ndarray, rng: np.random.Generator) -> None:
    """Put something out of focus before a part of the picture."""
    x, y = np.meshgrid(np.linspace(-1, 1, SIZE), np.linspace(-1, 1, SIZE))
    corner = rng.choice([-1, 1], 2) * rng.uniform(0.4, 1.1, 2)
    radius = rng.uniform(0.3, 0.75)
    away = np.hypot(x - corner[0], y - corner[1]).reshape(-1)
    cover = np.clip((radius - away) / rng.uniform(0.05, 0.3), 0, 1)[:, None]
    pixels += cover * (_colour(rng) * 0.6 - pixels)


def _noise(u: np.ndarray, v: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return smooth noise from 0 to 1, by a lattice of random values."""
    values = rng.random((64, 64), np.float32)
    i, j = np.floor(u).astype(int), np.floor(v).astype(int)
    a, b = (f * f * (3 - 2 * f) for f in (u - i, v - j))
    i0, j0, i1, j1 = i % 64, j % 64, (i + 1) % 64, (j + 1) % 64
    low = values[i0, j0] * (1 - a) + values[i1, j0] * a
    high = values[i0, j1] * (1 - a) + values[i1, j1] * a
    return np.asarray(low * (1 - b) + high * b)


def _photograph(pixels: np.ndarray, rng: np.random.Generator) -> Image.Image:
    """Return the picture as a camera takes it: exposure, white balance, blur and noise."""
    white = rng.uniform(0.88, 1.12, 3) * rng.uniform(0.4, 1.25)
    image = _as_image(np.clip(pixels * white, 0, 1) ** 0.85)
    image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0.5, 1.5)))
    noise = rng.normal(0, rng.uniform(2, 12), (SIZE, SIZE, 3))
    return Image.fromarray(np.clip(np.asarray(image) + noise, 0, 255).astype(np.uint8))


def _as_image(pixels: np.ndarray) -> Image.Image:
    values = np.clip(pixels * 255, 0, 255).astype(np.uint8)
    return Image.fromarray(values.reshape(SIZE, SIZE, 3))
