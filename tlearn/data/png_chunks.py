"""The chunks of PNG files: those that the pixels need, where others are broken."""

import struct
import zlib
from collections.abc import Iterator

SIGNATURE = b"\x89PNG\r\n\x1a\n"
# Critical chunks are those whose name begins with a capital letter; these others change the pixels
# too: transparency, the orientation, how many bits of a value are significant.
_OF_PIXELS = frozenset({b"tRNS", b"eXIf", b"sBIT"})


def png_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield kind and content of each chunk up to the first that is cut off."""
    at = len(SIGNATURE)
    while at + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        if at + 12 + length > len(data):
            return
        yield kind, data[at + 8 : at + 8 + length]
        at += 12 + length


def essential_png(data: bytes) -> bytes:
    """Return a PNG without chunks that the pixels do not need; critical ones stay as they are."""
    parts = [SIGNATURE]
    at = len(SIGNATURE)
    for kind, content in png_chunks(data):
        end = at + 12 + len(content)
        intact = zlib.crc32(kind + content) == int.from_bytes(data[end - 4 : end], "big")
        if kind[:1].isupper() or (kind in _OF_PIXELS and intact):
            parts.append(data[at:end])
        at = end
    return b"".join(parts)
