"""One image file to pixels: the only decoding path, for training and for prediction alike."""

import contextlib
import io
import operator
import os
import struct
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple, get_args

import numpy as np
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

from tlearn.config import DEFAULT_RESIZE, Resize
from tlearn.data import tiff_messages
from tlearn.data.pixel_values import (
    DEFAULT_RANGES,
    OwnRange,
    Range,
    ValueRanges,
    own_range,
    range_for,
    to_8_bits,
)
from tlearn.data.png_chunks import SIGNATURE, essential_png
from tlearn.data.views import to_square
from tlearn.errors import ConfigError, DataError, StoreError, TlearnError, one_line
from tlearn.object_stores import as_path

# Pillow would load its decoders at first need, which is not safe in several threads at once.
Image.init()
# glibc may keep blocks of up to 32 MiB for itself once they are freed, those of each thread.
Image.core.set_block_size(1 << 26)  # type: ignore[attr-defined]

# Raster formats that Pillow decodes itself. EPS would start Ghostscript on a stranger's file, and
# formats without a signature (TGA) would take other files for images.
FORMATS = [
    name
    for name in "JPEG MPO PNG GIF BMP DIB TIFF WEBP AVIF JPEG2000 PPM ICO QOI PCX SGI DDS".split()
    if name in Image.OPEN
]

WHITE = (255, 255, 255)
NOT_AN_IMAGE = "not an image in a supported format"
EMPTY = "the file is empty"
ZEROS = "the file holds only zeros"
NO_IMAGE = frozenset({NOT_AN_IMAGE, EMPTY, ZEROS})  # reasons
_HEIC_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs")
SIGNATURES = {
    b"\xff\xd8\xff": "JPEG",
    SIGNATURE: "PNG",
    b"GIF8": "GIF",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
}

MAX_MEGAPIXELS = "TLEARN_MAX_MEGAPIXELS"  # environment variable
_MEGAPIXELS = 179.0  # decoded unless it says otherwise: at most 0.7 GB
LARGE = 40e6  # pixels: of images that have more, one is in memory at a time, whatever the threads
_large = threading.RLock()


def decode(data: bytes, size: int, ranges: ValueRanges | None = DEFAULT_RANGES) -> Image.Image:
    """Decode an image file to upright 8-bit RGB, for resizing to ``size`` pixels.

    JPEG files are decoded at a reduced scale as long as both sides stay at least ``2 * size``
    pixels, which suffices for the antialiased resize. EXIF orientation is applied, transparency
    becomes white, values of more than 8 bits are scaled (:mod:`tlearn.data.pixel_values`),
    palettes, grey, CMYK and LAB become RGB, and of an animation the first frame is used. Damaged
    chunks of a PNG are ignored if its pixels are intact.

    Args:
        data: The bytes of the file; its name is not used.
        size: The side in pixels that the image will be resized to.
        ranges: The values that become black and white in images of more than 8 bits; ``None``
            for the file's own, as to display it.

    Raises:
        DataError: If the bytes are no image or a damaged one; the message is the reason alone.
    """
    with decoding(data, size, ranges) as image:
        return image


@contextlib.contextmanager
def decoding(
    data: bytes, size: int, ranges: ValueRanges | None = DEFAULT_RANGES
) -> Iterator[Image.Image]:
    """Give an image as :func:`decode` does; as long as one is large, other large ones wait."""
    with contextlib.ExitStack() as turn:
        with _reasons(data):
            image, _ = _load_with_note(data, size, turn)
            image = to_rgb(upright(image), range_for(image, data, ranges))
        yield image


class Examined(NamedTuple):
    """An image file, decoded.

    Attributes:
        own: The range of its values if they have more than 8 bits.
        note: A note for the user, or empty.
        image: As :func:`decode` gives it, but for the image's own range of values.
        loaded: As Pillow gives it, with format, mode and metadata; perhaps the same object.
    """

    own: OwnRange | None
    note: str
    image: Image.Image
    loaded: Image.Image


@contextlib.contextmanager
def examining(data: bytes, size: int) -> Iterator[Examined]:
    """Give an image as :func:`decoding` does, and say more about it.

    Raises:
        DataError: If the bytes are no image or a damaged one; the message is the reason alone.
    """
    with contextlib.ExitStack() as turn:
        with _reasons(data):
            image, note = _load_with_note(data, size, turn)
            own = own_range(image, data)
            rgb = to_rgb(upright(image), own.range if own else None)
            examined = Examined(own, note or _depth_note(image, data), rgb, image)
        yield examined


def stored_size(loaded: Image.Image, data: bytes) -> tuple[int, int]:
    """Return the width and height of an image file, also where it was decoded at another scale."""
    reduced = loaded.format in ("JPEG", "MPO")
    return _open(io.BytesIO(data)).size if reduced else loaded.size


def check_header(file: BinaryIO) -> None:
    """Read the header of an image file.

    Raises:
        DataError: If it is no image or a damaged one; the message is the reason alone.
    """
    start = file.read(1 << 18)
    file.seek(0)
    with _reasons(start):
        _read_header(file, 1)


@contextlib.contextmanager
def _reasons(data: bytes) -> Iterator[None]:
    """Raise a DataError with one line instead of the many errors of decoders."""
    try:
        yield
    except TlearnError:
        raise
    except UnidentifiedImageError:
        raise DataError(_unknown(data)) from None
    # Pillow's decoders raise nearly anything on hostile files.
    except Exception as error:  # noqa: BLE001
        raise DataError(f"damaged or unsupported image: {one_line(error)}") from None


def _load_with_note(data: bytes, size: int, turn: contextlib.ExitStack) -> tuple[Image.Image, str]:
    """Return an image with its pixels, and a note about damage elsewhere in the file.

    A large image waits until no other is in memory; that ends when ``turn`` is closed.
    """
    try:
        return _load(data, size, turn), ""
    except Exception as error:
        if not data.startswith(SIGNATURE) or isinstance(error, DataError):
            raise
        essential = essential_png(data)
        if len(essential) == len(data):
            raise
        image = _load(essential, size, turn)
        why = one_line(error) if str(error) else "a chunk cannot be read"
        return image, f"damaged outside the pixels, which are used: {why}"


def _load(data: bytes, size: int, turn: contextlib.ExitStack) -> Image.Image:
    image, pixels = _read_header(io.BytesIO(data), size)
    if pixels > LARGE:
        turn.enter_context(_large)
    image.load()
    if image.format == "PNG":  # whose checksums Pillow passes over as it decodes
        _open(io.BytesIO(data)).verify()
    return image


def _read_header(file: BinaryIO, size: int) -> tuple[Image.Image, int]:
    """Return an image to be decoded for ``size``, and how many pixels are held for that.

    Raises:
        UnidentifiedImageError: If it is in none of the formats that are read.
        DataError: If it has too many pixels.
    """
    image = _open(file)
    width, height = image.size
    image.draft(None, (2 * size, 2 * size))
    # A progressive JPEG is held whole while it is decoded, whatever the scale.
    if not image.info.get("progressive"):
        width, height = image.size
    limit = _megapixels()
    if width * height > limit * 1e6:
        raise DataError(
            f"{width} x {height} pixels, more than the {limit:g} megapixels that are decoded; "
            f"{MAX_MEGAPIXELS} sets another limit"
        )
    return image, width * height


def _open(file: BinaryIO) -> Image.Image:
    """Open an image as ``Image.open`` does, but for its limit of pixels, which is global."""
    head = file.read(64)
    if head[4:8] == b"ftyp" and any(brand in head[8:] for brand in _HEIC_BRANDS):
        from pi_heif import HeifImageFile

        file.seek(0)
        heic: Image.Image = HeifImageFile(file)
        return heic
    for name in FORMATS:
        factory, accepts = Image.OPEN[name]
        with contextlib.suppress(SyntaxError, IndexError, TypeError, struct.error):
            accepted = accepts is None or accepts(head[:16])
            if accepted and not isinstance(accepted, str):  # a text says why it is not
                file.seek(0)
                if name == "TIFF":
                    tiff_messages.silence()
                return factory(file, "")
    raise UnidentifiedImageError


def _megapixels() -> float:
    text = os.environ.get(MAX_MEGAPIXELS, "")
    try:
        return float(text) if text else _MEGAPIXELS
    except ValueError:
        raise ConfigError(
            f"{MAX_MEGAPIXELS} must be a number of megapixels, such as 400. Received: {text!r}"
        ) from None


def load_image(
    path: str | Path,
    size: int,
    resize: Resize = DEFAULT_RESIZE,
    integer_range: Range = DEFAULT_RANGES.integer_range,
    float_range: Range = DEFAULT_RANGES.float_range,
) -> np.ndarray:
    """Read a photo exactly as training and prediction do.

    Args:
        path: The file.
        size: Side of the square in pixels.
        resize: How it becomes square: ``squash``, ``crop`` or ``pad``.
        integer_range: The values that become black and white in grey images of integers of more
            than 8 bits, as a model's ``tlearn.json`` has them.
        float_range: The same of floats.

    Returns:
        The plain view: uint8, shape ``(size, size, 3)``, RGB from 0 to 255.

    Raises:
        ConfigError: If the size or how to resize is not valid.
        DataError: If the file cannot be read; the message is the reason alone.

    Example:
        >>> pixels = tlearn.load_image("photo.jpg", 224)  # doctest: +SKIP
        >>> model.predict(pixels[None])  # doctest: +SKIP
    """
    if operator.index(size) < 1:
        raise ConfigError(f"size: must be at least 1. Received: {size}", "size")
    if resize not in get_args(Resize):
        allowed = ", ".join(get_args(Resize))
        raise ConfigError(f"resize: must be one of {allowed}. Received: {resize!r}", "resize")
    ranges = ValueRanges(integer_range, float_range)
    return to_square(decode(read_bytes(as_path(path)), size, ranges), size, resize)


def read_bytes(path: Path) -> bytes:
    """Return the content of a file.

    Raises:
        DataError: If it cannot be read; the message is the reason alone.
        StoreError: If it is in a store that does not answer, or refuses.
    """
    try:
        return path.read_bytes()
    except StoreError:  # it would refuse all the others, too
        raise
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror or error}") from None


def upright(image: Image.Image) -> Image.Image:
    """Apply the EXIF orientation; damaged EXIF data counts as none."""
    with contextlib.suppress(Exception):
        if image.getexif().get(0x0112, 1) != 1:  # else it would be copied
            return ImageOps.exif_transpose(image)
    return image


def to_rgb(image: Image.Image, black_and_white: Range | None) -> Image.Image:
    """Return an image as 8-bit RGB; ``black_and_white`` as of one of more bits."""
    if black_and_white:
        image = to_8_bits(image, black_and_white)
    elif image.mode == "LAB":
        lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        transform = ImageCms.buildTransform(lab, srgb, "LAB", "RGB")
        image = ImageCms.applyTransform(image, transform) or image
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        return on_white(image)
    return image if image.mode == "RGB" else image.convert("RGB")


def _depth_note(image: Image.Image, data: bytes) -> str:
    """Return a note if colours have more bits than are read."""
    deep = image.format == "PNG" and image.mode in ("RGB", "RGBA") and data[24:25] == b"\x10"
    if image.format == "TIFF" and image.mode in ("RGB", "RGBA"):
        deep = 16 in image.tag_v2.get(258, ())  # type: ignore[attr-defined]
    return "only the upper 8 of the 16 bits per colour are used" if deep else ""


def on_white(image: Image.Image) -> Image.Image:
    """Return an image that may be transparent on white ground."""
    if image.mode != "RGBA":
        image = (image.convert("LA") if image.mode == "La" else image).convert("RGBA")
    ground = Image.new("RGB", image.size, WHITE)
    ground.paste(image, mask=image)  # its alpha
    return ground


def _unknown(data: bytes) -> str:
    """Describe bytes that are no image."""
    if not data:
        return EMPTY
    if not data.strip(b"\0"):
        return ZEROS
    for signature, name in SIGNATURES.items():
        if data.startswith(signature):
            return f"damaged or unsupported {name} file"
    return NOT_AN_IMAGE
