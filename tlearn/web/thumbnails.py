"""Small pictures of photos, for galleries and tables."""

import base64
import io
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from PIL import Image

from tlearn.data.images import decode, read_bytes
from tlearn.errors import DataError

MOST = 2000  # thumbnails held in memory, 5 to 10 kB each


def thumbnail(path: Path, pixels: int = 160) -> bytes | None:
    """Return a photo as a square JPEG of ``pixels`` by ``pixels``, cut from its middle.

    Returns:
        ``None`` if the file cannot be read as an image.
    """
    try:
        stat = path.stat()
    except OSError:
        return None
    return _thumbnail(path, stat.st_mtime_ns, stat.st_size, pixels)


def as_url(path: Path, pixels: int = 64) -> str:
    """Return a thumbnail as a ``data:`` address, for tables; empty if it cannot be read."""
    found = thumbnail(path, pixels)
    return f"data:image/jpeg;base64,{base64.b64encode(found).decode()}" if found else ""


def in_a_row(paths: Sequence[Path], pixels: int = 76, gap: int = 6) -> bytes:
    """Return thumbnails side by side as one WebP, with nothing between them."""
    row = Image.new("RGBA", (len(paths) * (pixels + gap) - gap, pixels))
    for k, path in enumerate(paths):
        found = thumbnail(path, pixels)
        if found is not None:
            with Image.open(io.BytesIO(found)) as image:
                row.paste(image, (k * (pixels + gap), 0))
    out = io.BytesIO()
    row.save(out, "WEBP", quality=80)
    return out.getvalue()


@lru_cache(maxsize=MOST)
def _thumbnail(path: Path, modified: int, size: int, pixels: int) -> bytes | None:
    try:
        image = decode(read_bytes(path), pixels, ranges=None)
    except DataError:
        return None
    least = min(image.size)
    left, top = (image.width - least) / 2, (image.height - least) / 2
    small = image.resize(
        (pixels, pixels), Image.Resampling.BILINEAR, (left, top, left + least, top + least), 2.0
    )
    out = io.BytesIO()
    small.save(out, "JPEG", quality=80)
    return out.getvalue()
