"""One image file to pixels: the only decoding path, for training and for prediction alike."""

import contextlib
import io
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

from tlearn.config import Resize
from tlearn.errors import DataError, one_line

Box = tuple[float, float, float, float]  # left, top, right, bottom in pixels

# Pillow would load its decoders at first need, which is not safe in several threads at once.
Image.init()

# Raster formats that Pillow decodes itself. EPS would start Ghostscript on a stranger's file, and
# formats without a signature (TGA) would take other files for images.
FORMATS = [
    name
    for name in "JPEG MPO PNG GIF BMP DIB TIFF WEBP AVIF JPEG2000 PPM ICO QOI PCX SGI DDS".split()
    if name in Image.OPEN
]

EXTENSIONS = frozenset(
    ".jpg .jpeg .jpe .jfif .mpo .png .apng .gif .bmp .dib .tif .tiff .webp .avif .jp2 .j2k .ppm "
    ".pgm .pbm .pnm .ico .qoi .pcx .sgi .dds .heic .heif .tga .psd".split()
)

PAD_COLOUR = (124, 116, 104)  # the mean colour of ImageNet: near zero for every backbone
WHITE = (255, 255, 255)
NOT_AN_IMAGE = "not an image in a format that is read"
EMPTY = "the file is empty"
HEIC = "HEIC photos are not read; convert it to JPEG"
ZEROS = "the file holds only zeros"
SIGNATURES = {
    b"\xff\xd8\xff": "JPEG",
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"GIF8": "GIF",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
}

# Pillow warns of odd metadata and of over 89 million pixels, which would hit honest panoramas; what
# matters, damage and over 179 million pixels, it raises. The filter is global because decoding runs
# in threads, where a temporary one is not safe.
warnings.filterwarnings("ignore", module=r"PIL\.")


def decode(data: bytes, size: int) -> Image.Image:
    """Decode an image file to upright 8-bit RGB, at least twice ``size`` where it is that large.

    JPEG files are decoded at a reduced scale as long as both sides stay at least ``2 * size``
    pixels, which leaves the antialiased resize enough to work on. EXIF orientation is applied,
    transparency is laid on white, 16-bit values are scaled to 8 bit, palettes, grey, CMYK and LAB
    become RGB, and the first frame of an animation is taken.

    Args:
        data: The bytes of the file; its name plays no part.
        size: The side in pixels that the image will be resized to.

    Raises:
        DataError: If the bytes are no image or a damaged one; the message is the reason alone.
    """
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            image.draft(None, (2 * size, 2 * size))
            image.load()
            _check_sums(data, image)
            return _to_rgb(_upright(image))
    except UnidentifiedImageError:
        raise DataError(_what_else(data)) from None
    # Pillow's decoders raise nearly anything on hostile files; to the user it is one thing.
    except Exception as error:  # noqa: BLE001
        raise DataError(f"damaged or unsupported image: {one_line(error)}") from None


def read_pixels(path: Path, size: int, resize: Resize) -> np.ndarray:
    """Read one file as the plain view: uint8, shape ``(size, size, 3)``, RGB from 0 to 255.

    Raises:
        DataError: If the file cannot be read; the message is the reason alone.
    """
    return to_square(decode(read_bytes(path), size), size, resize)


def read_bytes(path: Path) -> bytes:
    """Return the content of a file.

    Raises:
        DataError: If it cannot be read; the message is the reason alone.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror or error}") from None


def to_square(image: Image.Image, size: int, resize: Resize) -> np.ndarray:
    """Bring an RGB image to ``(size, size, 3)`` uint8 by the resize rule, antialiased.

    ``crop`` takes the central square, ``squash`` changes the aspect, ``pad`` keeps all of the
    image and fills the rest with ImageNet's mean colour.
    """
    width, height = image.size
    if resize == "pad":
        return np.asarray(padded(image, size, (0, 0, width, height)))
    box: Box = (0, 0, width, height)
    if resize == "crop":
        side = min(width, height)
        left, top = (width - side) / 2, (height - side) / 2
        box = (left, top, left + side, top + side)
    return np.asarray(resample(image, (size, size), box))


def padded(image: Image.Image, size: int, box: Box) -> Image.Image:
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


def _check_sums(data: bytes, image: Image.Image) -> None:
    """Compare the checksums of a PNG's pixels, which Pillow passes over as it decodes them."""
    if image.format == "PNG":
        with Image.open(io.BytesIO(data), formats=["PNG"]) as again:
            again.verify()


def _upright(image: Image.Image) -> Image.Image:
    """Apply the EXIF orientation; damaged EXIF data counts as none."""
    with contextlib.suppress(Exception):
        return ImageOps.exif_transpose(image)
    return image


def _to_rgb(image: Image.Image) -> Image.Image:
    mode = image.mode
    if mode.startswith("I") or mode == "F":
        image = _scaled_to_8_bit(image)
    elif mode == "LAB":
        lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        transform = ImageCms.buildTransform(lab, srgb, "LAB", "RGB")
        image = ImageCms.applyTransform(image, transform) or image
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        return _on_white(image)
    return image if image.mode == "RGB" else image.convert("RGB")


def _scaled_to_8_bit(image: Image.Image) -> Image.Image:
    """Scale 16-bit grey by 1/257, wider or float grey by what it holds."""
    values = np.nan_to_num(np.asarray(image, dtype=np.float64), posinf=0.0, neginf=0.0)
    top = float(values.max(initial=0.0))
    if image.mode == "F":
        # Float images follow two customs: 0 to 1, and 0 to 255.
        factor = 255.0 if top <= 1.0 else 1.0 if top <= 255.0 else 255.0 / top
    elif image.mode == "I" and top <= 255:
        factor = 1.0  # 8-bit values in 32-bit integers
    else:
        factor = 1 / 257 if top <= 65535 else 255.0 / top
    grey = np.clip(np.rint(values * factor), 0, 255).astype(np.uint8)
    grey[values == image.info.get("transparency")] = 255  # the colour a 16-bit PNG leaves clear
    return Image.fromarray(grey)


def _on_white(image: Image.Image) -> Image.Image:
    if image.mode in ("La", "RGBa"):
        image = image.convert({"La": "LA", "RGBa": "RGBA"}[image.mode])
    rgba = image.convert("RGBA")
    ground = Image.new("RGB", image.size, WHITE)
    ground.paste(rgba, mask=rgba.getchannel("A"))
    return ground


def is_heic(head: bytes) -> bool:
    """Tell whether the first bytes of a file are those of a photo in HEIC."""
    return head[4:8] == b"ftyp" and head[8:12] in (b"heic", b"heix", b"mif1", b"hevc", b"msf1")


def _what_else(data: bytes) -> str:
    """Say what the bytes may be, when they are no image."""
    if not data:
        return EMPTY
    if is_heic(data):
        return HEIC
    if not data.strip(b"\0"):
        return ZEROS
    for signature, name in SIGNATURES.items():
        if data.startswith(signature):
            return f"damaged or unsupported {name} file"
    return NOT_AN_IMAGE
