"""Grey images of more than 8 bits: which of their values become black and white.

Medical and scientific cameras write 10, 12 or 14 bits into 16, CT scanners write negative numbers,
and floats may have any scale. One rule holds for all images of a data set and for those that its
model predicts, so that brightness can be compared:

- A range that the file declares: significant bits in a PNG (``sBIT``), the smallest and largest
  sample value in a TIFF.
- Else the range that holds all values of the data set of the same kind, integers or floats: up to
  the next of 8, 9, 10, ... bits for integers; to 1, 255 or as integers for floats; and down to the
  next power of two where there are negative values.
- Without a data set, 0 to 65535 for integers and 0 to 1 for floats.
"""

import struct
from collections.abc import Collection, Iterator
from typing import Literal, NamedTuple

import numpy as np
from PIL import Image

from tlearn.data.png_chunks import png_chunks

_ONE = 1.5  # floats up to here count as from 0 to 1, exceeded by rounding or resampling
Range = tuple[float, float]
Kind = Literal["integer", "float"]
_SAMPLE_VALUES = ((340, 341), (280, 281))  # TIFF: SMin- and SMax-, Min- and MaxSampleValue


class ValueRanges(NamedTuple):
    """The values that become black and white in grey images of more than 8 bits."""

    integer_range: Range = (0, 65535)
    float_range: Range = (0, 1)


DEFAULT_RANGES = ValueRanges()


class OwnRange(NamedTuple):
    """The range of the values of one file, declared by it or measured."""

    kind: Kind
    range: Range
    declared: bool


def kind_of(image: Image.Image) -> Kind | None:
    """Return the kind of an image's values, ``None`` for one of 8 bits."""
    return "float" if image.mode == "F" else "integer" if image.mode.startswith("I") else None


def own_range(image: Image.Image, data: bytes) -> OwnRange | None:
    """Return the range of a loaded image of the file ``data``, ``None`` for one of 8 bits."""
    kind = kind_of(image)
    if kind is None:
        return None
    extremes = [(float(values.min()), float(values.max())) for values in strips(image)]
    low, high = min(low for low, _ in extremes), max(high for _, high in extremes)
    declared = _declared_range(image, data, low, high)
    return OwnRange(kind, declared or _measure_range(kind, low, high), declared is not None)


def ranges_of(own: Collection[OwnRange]) -> ValueRanges:
    """Return the ranges for all images of a data set, from those of each."""
    integers = [values for kind, values, _ in own if kind == "integer"]
    floats = [values for kind, values, _ in own if kind == "float"]
    return ValueRanges(
        _union(integers, DEFAULT_RANGES.integer_range), _union(floats, DEFAULT_RANGES.float_range)
    )


def range_for(image: Image.Image, data: bytes, ranges: ValueRanges | None) -> Range | None:
    """Return the values that become black and white in an image, ``None`` for one of 8 bits.

    Where its data set has no ``ranges``, as to display one image, its own are returned.
    """
    own = own_range(image, data)
    if own is None or ranges is None or own.declared:
        return own.range if own else None
    return ranges.float_range if own.kind == "float" else ranges.integer_range


def to_8_bits(image: Image.Image, black_and_white: Range) -> Image.Image:
    """Return an image of more than 8 bits as grey from 0 to 255."""
    low, high = black_and_white
    clear = image.info.get("transparency")  # the colour a 16-bit PNG leaves clear
    parts = []
    for values in strips(image):
        grey = np.rint((np.clip(values, low, high) - low) * (255 / (high - low))).astype(np.uint8)
        grey[values == clear] = 255
        parts.append(grey)
    return Image.fromarray(np.concatenate(parts))


def strips(image: Image.Image) -> Iterator[np.ndarray]:
    """Give the values of a grey image, about a million at a time: 8 MB of a large image."""
    rows = max(1, 2**20 // image.width)
    for top in range(0, image.height, rows):
        yield values_of(image.crop((0, top, image.width, min(top + rows, image.height))))


def values_of(image: Image.Image) -> np.ndarray:
    """Return the values of a grey image as float64; those that are not finite are 0."""
    return np.nan_to_num(np.asarray(image, dtype=np.float64), posinf=0.0, neginf=0.0)


def _measure_range(kind: Kind, low: float, high: float) -> Range:
    low, high = min(low, 0.0), max(high, 0.0)
    if kind == "float" and high < _ONE:
        return _down(low), 1.0
    return _down(low), float(2 ** max(8, int(high).bit_length()) - 1)


def _down(low: float) -> float:
    return -float(2 ** int(np.ceil(-low) - 1).bit_length()) if low < 0 else 0.0


def _declared_range(image: Image.Image, data: bytes, lowest: float, highest: float) -> Range | None:
    """Return the range that a file declares, if its values lie in it."""
    if image.format == "PNG":
        bits = next((body[0] for kind, body in png_chunks(data) if kind == b"sBIT" and body), 16)
        if bits >= 16:
            return None
        # By the standard, values are shifted up to 16 bits and the lowest bits are meaningless;
        # microscopes do not shift them.
        shifted = highest >= 2**bits or not any(
            (values.astype(np.int64) % 2 ** (16 - bits)).any() for values in strips(image)
        )
        return (0.0, 65535.0 if shifted else float(2**bits - 1))
    if image.format == "TIFF":
        tags = image.tag_v2  # type: ignore[attr-defined]
        for smallest, largest in _SAMPLE_VALUES:
            low, high = _number(tags.get(smallest, 0)), _number(tags.get(largest))
            if low is not None and high is not None and low < high:
                if kind_of(image) == "integer":
                    low, high = _down(low), float(2 ** int(high).bit_length() - 1)
                fits = low <= lowest and highest <= high
                if fits and high != 65535:
                    return low, high
    return None


def _number(value: object) -> float | None:
    value = value[0] if isinstance(value, tuple) and value else value
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, struct.error):
        return None
    return number if np.isfinite(number) else None


def _union(ranges: list[Range], default: Range) -> Range:
    return (min(r[0] for r in ranges), max(r[1] for r in ranges)) if ranges else default
