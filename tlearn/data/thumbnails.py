"""Thumbnails of photos, for galleries and tables."""

import base64
import io
from collections.abc import Sequence
from functools import cache, lru_cache
from pathlib import Path

from PIL import Image

from tlearn.data.images import decode, read_bytes
from tlearn.data.views import to_square
from tlearn.errors import DataError, StoreError

MOST = 2000  # thumbnails held in memory, 5 to 10 kB each


def thumbnail(path: Path, pixels: int = 160) -> bytes | None:
    """Return the central square of a photo as a JPEG, ``None`` if it cannot be read."""
    try:
        stat = path.stat()
    except OSError:
        return None
    return _thumbnail(path, stat.st_mtime_ns, stat.st_size, pixels)


def preview(path: Path, pixels: int) -> bytes | None:
    """Return a whole photo, its longer side at most ``pixels``, as a JPEG; ``None`` as above."""
    try:
        image = decode(read_bytes(path), pixels, ranges=None)
    except (DataError, StoreError):
        return None
    image.thumbnail((pixels, pixels))
    out = io.BytesIO()
    image.save(out, "JPEG", quality=88)
    return out.getvalue()


def thumbnail_url(path: Path, pixels: int = 64) -> str:
    """Return a thumbnail as a ``data:`` address, for tables; empty if it cannot be read."""
    data = thumbnail(path, pixels)
    return f"data:image/jpeg;base64,{base64.b64encode(data).decode()}" if data else ""


@cache
def blank(pixels: int) -> bytes:
    """Return a grey square as a JPEG, for a thumbnail that is not ready."""
    out = io.BytesIO()
    Image.new("L", (pixels, pixels), 160).save(out, "JPEG")
    return out.getvalue()


def thumbnail_row(paths: Sequence[Path | None], pixels: int = 76, gap: int = 6) -> bytes:
    """Return thumbnails side by side as one WebP, with nothing between them nor for ``None``."""
    row = Image.new("RGBA", (len(paths) * (pixels + gap) - gap, pixels))
    for k, path in enumerate(paths):
        data = thumbnail(path, pixels) if path else None
        if data is not None:
            with Image.open(io.BytesIO(data)) as image:
                row.paste(image, (k * (pixels + gap), 0))
    out = io.BytesIO()
    row.save(out, "WEBP", quality=80)
    return out.getvalue()


@lru_cache(maxsize=MOST)
def _thumbnail(path: Path, modified: int, size: int, pixels: int) -> bytes | None:
    try:
        square = to_square(decode(read_bytes(path), pixels, ranges=None), pixels, "crop")
    except (DataError, StoreError):
        return None
    out = io.BytesIO()
    Image.fromarray(square).save(out, "JPEG", quality=80)
    return out.getvalue()
