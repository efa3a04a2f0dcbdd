"""Views: deterministic renderings of one image.

View 0 is the plain one. Views 1 and up are augmented, seeded by the image's content and the view
number, so that a view of an image is the same on every machine and in every run, and its
activations can be cached.
"""

import hashlib
import math
from dataclasses import dataclass

import numpy as np
from PIL import Image

from tlearn.config import Augmentation, Resize

Box = tuple[float, float, float, float]  # left, top, right, bottom in pixels

PAD_COLOUR = (124, 116, 104)  # the mean colour of ImageNet: near zero for every backbone
LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601


@dataclass(frozen=True)
class Rendering:
    """The settings that views are rendered with."""

    size: int
    resize: Resize
    augment: Augmentation

    def key(self, view: int) -> dict[str, object]:
        """Return the settings that this view depends on; the plain view ignores augmentation."""
        plain: dict[str, object] = {"size": self.size, "resize": self.resize}
        return plain if view == 0 else {**plain, "augment": self.augment.model_dump()}

    def render(self, image: Image.Image, content: str, view: int) -> np.ndarray:
        """Return a view of a decoded RGB image: uint8, shape ``(size, size, 3)``.

        The hash ``content`` of the image's file and the number of the view seed the augmentation.
        """
        if view == 0:
            return to_square(image, self.size, self.resize)
        seed = hashlib.blake2b(f"{content}:{view}".encode(), digest_size=8).digest()
        rng = np.random.default_rng(int.from_bytes(seed, "big"))
        augment = self.augment
        if augment.rotate:
            image = _rotate(image, rng.uniform(-augment.rotate, augment.rotate))
        image = self._crop(image, rng)
        if augment.flip and rng.random() < 0.5:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        return np.asarray(_colour(image, augment.colour, rng) if augment.colour else image)

    def _crop(self, image: Image.Image, rng: np.random.Generator) -> Image.Image:
        """Crop an image at random, with area and aspect ratio relative to the plain view's."""
        width, height = image.size
        area = rng.uniform(self.augment.crop, 1.0)
        stretch = math.exp(rng.uniform(-1, 1) * math.log(4 / 3)) if self.augment.crop < 1 else 1.0
        if self.resize == "crop":
            side = min(width, height) * math.sqrt(area)
            # A side that does not fit into the image is cut, and the other lengthened.
            w = min(side * math.sqrt(stretch), width)
            h = min(side * side / w, height)
            w = side * side / h
        else:
            w, h = width * math.sqrt(area), height * math.sqrt(area)
        w, h = min(max(w, 1.0), width), min(max(h, 1.0), height)
        left, top = rng.uniform(0, width - w), rng.uniform(0, height - h)
        box = (left, top, left + w, top + h)
        if self.resize == "pad":
            return pad(image, self.size, box)
        return resample(image, (self.size, self.size), box)


def to_square(image: Image.Image, size: int, resize: Resize) -> np.ndarray:
    """Bring an RGB image to ``(size, size, 3)`` uint8 by the resize rule, antialiased.

    ``crop`` takes the central square, ``squash`` changes the aspect, ``pad`` keeps all of the
    image and fills the rest with ImageNet's mean colour.
    """
    if resize == "pad":
        return np.asarray(pad(image, size, (0, 0, *image.size)))
    return np.asarray(resample(image, (size, size), box_of_square(*image.size, resize)))


def box_of_square(width: float, height: float, resize: Resize) -> Box:
    """Return which part of an image the plain view shows; with ``pad`` it is more than the image.

    Args:
        width: Of the image.
        height: Likewise.
        resize: The resize rule.
    """
    if resize == "squash":
        return (0, 0, width, height)
    side = min(width, height) if resize == "crop" else max(width, height)
    left, top = (width - side) / 2, (height - side) / 2
    return (left, top, left + side, top + side)


def pad(image: Image.Image, size: int, box: Box) -> Image.Image:
    """Bring the ``box`` of an image to ``size`` by ``size`` pixels by the ``pad`` rule."""
    width, height = box[2] - box[0], box[3] - box[1]
    scale = size / max(width, height)
    inner = (max(1, round(width * scale)), max(1, round(height * scale)))
    canvas = Image.new("RGB", (size, size), PAD_COLOUR)
    small = resample(image, inner, box)
    canvas.paste(small, ((size - inner[0]) // 2, (size - inner[1]) // 2))
    return canvas


def resample(image: Image.Image, size: tuple[int, int], box: Box) -> Image.Image:
    """Resize the ``box`` of an image to ``size`` with an antialiasing filter."""
    return image.resize(size, Image.Resampling.BILINEAR, box=box, reducing_gap=2.0)


def _rotate(image: Image.Image, angle: float) -> Image.Image:
    """Turn an image and cut away the empty corners."""
    width, height = image.size
    t = math.radians(abs(angle))
    # Shrinking both sides by this factor keeps the same aspect inside the turned frame.
    ratio = max(width, height) / min(width, height)
    keep = 1 / (math.cos(t) + ratio * math.sin(t))
    w, h = int(width * keep), int(height * keep)
    if not (w and h):
        return image  # so thin that nothing would be left
    left, top = (width - w) // 2, (height - h) // 2
    turned = image.rotate(angle, Image.Resampling.BILINEAR)
    return turned.crop((left, top, left + w, top + h))


def _colour(image: Image.Image, strength: float, rng: np.random.Generator) -> Image.Image:
    """Change brightness, contrast and saturation by up to ``strength`` each, as one matrix."""
    brightness, contrast, saturation = rng.uniform(1 - strength, 1 + strength, 3)
    mean = np.asarray(image).mean(dtype=np.float64)
    grey = (1 - saturation) * np.tile(LUMA, (3, 1))
    mixed = brightness * contrast * (saturation * np.eye(3) + grey)
    summand = np.full((3, 1), brightness * (1 - contrast) * mean)
    return image.convert("RGB", tuple(np.hstack([mixed, summand]).ravel().tolist()))
