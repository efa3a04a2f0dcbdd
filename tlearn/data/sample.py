"""A small sample data set of drawn pictures, cluttered enough not to be trivial."""

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

SIZE, PER_CLASS = 192, 60
Point = tuple[float, float]
Colour = tuple[int, int, int]


def draw_sample(folder: Path) -> Path:
    """Draw class folders of pictures into a new folder and return it.

    Each picture shows one figure at random position, size, rotation and colour, partly covered,
    before gradients, strokes and noise. The classes differ in the shape of the figure alone.
    """
    for k, (name, outline) in enumerate(FIGURES.items()):
        (folder / name).mkdir(parents=True)
        for i in range(PER_CLASS):
            picture = _picture(outline, np.random.default_rng((0, k, i)))
            picture.save(folder / name / f"{name}_{i:03d}.jpg", quality=85)
    return folder


def _picture(outline: Callable[[float], float], rng: np.random.Generator) -> Image.Image:
    corners = rng.integers(30, 226, (2, 2, 3)).astype(np.uint8)  # of a smooth gradient
    image = Image.fromarray(corners).resize((SIZE, SIZE), Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(image)
    for _ in range(rng.integers(4, 9)):
        _stroke(draw, rng, _colour(rng))
    draw.polygon(_points(outline, rng), fill=_colour(rng))
    for _ in range(rng.integers(1, 4)):
        _stroke(draw, rng, _colour(rng))
    image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 1.2)))
    noise = rng.normal(0, rng.uniform(5, 18), (SIZE, SIZE, 1))
    return Image.fromarray(np.clip(np.asarray(image) + noise, 0, 255).astype(np.uint8))


def _points(outline: Callable[[float], float], rng: np.random.Generator) -> list[Point]:
    """The figure's outline, placed, rotated and squeezed at random."""
    radius = rng.uniform(0.26, 0.38) * SIZE
    x, y = rng.uniform(radius, SIZE - radius, 2)
    rotation, squeeze = rng.uniform(0, 2 * math.pi), rng.uniform(0.75, 1.0)
    cos, sin = math.cos(rotation), math.sin(rotation)
    angles = np.linspace(0, 2 * math.pi, 240, endpoint=False)
    distances = radius * np.array([outline(angle) for angle in angles])
    a, b = distances * np.cos(angles), distances * np.sin(angles) * squeeze
    return [*zip(x + a * cos - b * sin, y + a * sin + b * cos, strict=True)]


def _stroke(draw: ImageDraw.ImageDraw, rng: np.random.Generator, colour: Colour) -> None:
    a, b, c, d = (float(v) for v in rng.uniform(0, SIZE, 4))
    draw.line((a, b, c, d), fill=colour, width=int(rng.integers(2, 9)))


def _colour(rng: np.random.Generator) -> Colour:
    r, g, b = (int(v) for v in rng.integers(0, 256, 3))
    return r, g, b


def _polygon(corners: int, angle: float) -> float:
    sector = 2 * math.pi / corners
    return math.cos(sector / 2) / math.cos(angle % sector - sector / 2)


def _cross(angle: float) -> float:
    along = max(abs(math.cos(angle)), abs(math.sin(angle)))
    across = min(abs(math.cos(angle)), abs(math.sin(angle)))
    return min(1 / along, 0.32 / max(across, 1e-6))


FIGURES: dict[str, Callable[[float], float]] = {  # outlines in polar form, about 1 across
    "circle": lambda angle: 0.85,
    "cross": _cross,
    "flower": lambda angle: 0.72 + 0.28 * math.cos(5 * angle),
    "square": lambda angle: _polygon(4, angle),
    "star": lambda angle: 0.35 + 0.65 * (abs((angle * 5 / math.pi) % 2 - 1)) ** 1.5,
    "triangle": lambda angle: _polygon(3, angle),
}
