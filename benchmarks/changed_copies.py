"""Copies of photos, changed as people and programs change them, each kind at random."""

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps

Change = Callable[[Image.Image, np.random.Generator], Image.Image]


def resized(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Shrink a photo to 0.4 to 0.7 of its size."""
    factor = rng.uniform(0.4, 0.7)
    return image.resize((max(8, int(image.width * factor)), max(8, int(image.height * factor))))


def cropped(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Crop up to 6 % off each edge."""
    width, height = image.size
    left, top, right, bottom = rng.uniform(0, 0.06, 4) * (width, height, width, height)
    return image.crop((int(left), int(top), int(width - right), int(height - bottom)))


def cropped_by_25(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Leave three quarters of each side, anywhere."""
    width, height = image.size
    left, top = rng.uniform(0, 0.25, 2) * image.size
    return image.crop((int(left), int(top), int(left + 0.75 * width), int(top + 0.75 * height)))


def turned(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Turn a photo by 90, 180 or 270 degrees."""
    return image.transpose((2, 3, 4)[int(rng.integers(3))])  # type: ignore[arg-type]


def tilted(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Turn a photo by 2 to 7 degrees, with black or white corners, in its frame or a larger one."""
    angle = rng.uniform(2, 7) * rng.choice((-1, 1))
    larger, corners = rng.random() < 0.5, ("black", "white")[int(rng.integers(2))]
    return image.rotate(angle, Image.Resampling.BICUBIC, expand=larger, fillcolor=corners)


def bordered(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Put a border of one colour around a photo, 3 to 12 % of its shorter side wide."""
    width = max(2, int(rng.uniform(0.03, 0.12) * min(image.size)))
    colour: tuple[int, ...] = tuple(rng.integers(0, 256, 3).tolist())
    return ImageOps.expand(image, width, ((0, 0, 0), (255, 255, 255), colour)[rng.integers(3)])


def watermarked(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Write a name over a photo, half transparent, in a corner or in the middle, or both."""
    layer = Image.new("RGBA", image.size, (255, 255, 255, 0))
    draw, size = ImageDraw.Draw(layer), max(8, int(min(image.size) * rng.uniform(0.08, 0.14)))
    font, fill = ImageFont.load_default(size), (255, 255, 255, int(rng.uniform(120, 220)))
    text = ("© Photo Studio", "SAMPLE", "shutterphoto.com")[rng.integers(3)]
    where = rng.integers(3)
    if where != 0:
        draw.text((image.width / 2, image.height / 2), text, fill, font, "mm")
    if where != 1:
        draw.text((image.width - 5, image.height - 5), text, fill, font, "rb")
    return Image.alpha_composite(image.convert("RGBA"), layer).convert("RGB")


CHANGES: dict[str, Change] = {
    "recompressed": lambda image, rng: image,  # as all that are saved
    "resized": resized,
    "mirrored": lambda image, rng: ImageOps.mirror(image),
    "upside down": lambda image, rng: ImageOps.flip(image),
    "cropped": cropped,
    "cropped by 25 %": cropped_by_25,
    "turned": turned,
    "tilted": tilted,
    "bordered": bordered,
    "watermarked": watermarked,
}
