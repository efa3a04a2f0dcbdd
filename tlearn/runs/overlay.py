"""Heat maps drawn over photos."""

import numpy as np
from PIL import Image

from tlearn.config import Resize
from tlearn.data.views import box_of_square

# Black, purple, red, orange, yellow, white: lighter is more, also in print and to the colour-blind.
COLOURS = np.array(
    [(0, 0, 4), (87, 16, 110), (188, 55, 84), (249, 142, 9), (249, 201, 50), (252, 255, 164)]
)
OPACITY = 0.65  # of the colours
OUTSIDE = 0.35  # of the brightness stays where the model does not look


def on_photo(heat: np.ndarray, width: int, height: int, resize: Resize) -> np.ndarray:
    """Return a heat map in the coordinates of an upright photo, ``(height, width)``.

    It is not a number where the model sees nothing of the photo, as ``crop`` cuts it away.

    Args:
        heat: Over the square that the model sees, ``(size, size)``.
        width: Of the photo, in pixels.
        height: Likewise.
        resize: How the photo became square.
    """
    left, top, right, bottom = map(round, box_of_square(width, height, resize))
    square = Image.fromarray(heat.astype(np.float32)).resize(
        (right - left, bottom - top), Image.Resampling.BILINEAR
    )
    canvas = Image.new("F", (width, height), float("nan"))
    canvas.paste(square, (left, top))
    return np.asarray(canvas)


def overlay(photo: Image.Image, heat: np.ndarray, resize: Resize) -> Image.Image:
    """Return a grey copy of a photo with a heat map over it.

    Args:
        photo: Upright, RGB.
        heat: From 0 to 1, over the square that the model sees, ``(size, size)``.
        resize: How the photo became square.
    """
    placed = on_photo(heat, *photo.size, resize)
    values = np.nan_to_num(placed)[..., None]
    steps = np.linspace(0, 1, len(COLOURS))
    colours = np.concatenate([np.interp(values, steps, c) for c in COLOURS.T], axis=-1)
    grey = np.asarray(photo.convert("L"), np.float64)[..., None]
    opacity = OPACITY * np.sqrt(values)
    mixed = (1 - opacity) * grey + opacity * colours
    mixed[np.isnan(placed)] *= OUTSIDE
    return Image.fromarray(mixed.round().astype(np.uint8))
