"""Photos as they were scanned: read again, and refused if they changed meanwhile.

What workers of a cluster import is this, and neither Keras nor TensorFlow.
"""

import contextlib
from collections.abc import Iterator, Sequence

import numpy as np
from PIL import Image

from tlearn.config import Resize
from tlearn.data import images
from tlearn.data.file_reading import content_hash
from tlearn.data.file_table import ImageFile
from tlearn.data.views import Rendering, to_square
from tlearn.errors import DataError


@contextlib.contextmanager
def read_scanned(file: ImageFile, size: int) -> Iterator[Image.Image]:
    """Give an image of a manifest, as :func:`tlearn.data.images.decoding` does.

    Raises:
        DataError: If it is no longer what was scanned.
    """
    changed = f"{str(file.path)!r} changed since it was scanned"
    with contextlib.ExitStack() as turn:
        try:
            data = images.read_bytes(file.path)
            image = turn.enter_context(images.decoding(data, size, file.ranges))
        except DataError as error:
            raise DataError(f"{changed}: {error}; start again") from None
        if content_hash(data) != file.content:
            raise DataError(f"{changed}; start again")
        yield image


def render_photo(
    rendering: Rendering, size: int, photo: tuple[ImageFile, Sequence[int]]
) -> list[np.ndarray]:
    """Return views of an image, each ``(size, size, 3)`` uint8, made from one decoding.

    Raises:
        DataError: If it is no longer what was scanned.
    """
    file, views = photo
    with read_scanned(file, size) as image:
        return [rendering.render(image, file.content, view) for view in views]


def render_square(size: int, resize: Resize, file: ImageFile) -> list[np.ndarray]:
    """Return the one plain view of an image, as :func:`render_photo` does."""
    with read_scanned(file, size) as image:
        return [to_square(image, size, resize)]
