"""Which names are unsafe on every system, for classes and files alike."""

import unicodedata
from pathlib import Path

from tlearn.data.folders import visible

MOST_BYTES = 255  # what file systems take for one name
# Soft hyphen, zero-width space, word joiner and the like, and what turns the direction of writing.
# The joiners U+200C and U+200D are not among them: Persian, Hindi and emoji need them.
_INVISIBLE = frozenset("\u00ad\u200b\u2028\u2029\ufeff") | frozenset(
    map(chr, [*range(0x202A, 0x202F), *range(0x2060, 0x2070)])
)


def unsafe_reason(name: str) -> str:
    """Say why one part of a path is unsafe or cannot be told from another, or nothing.

    The answer continues a sentence that begins with the name.
    """
    for char in name:
        if char in "/\\":
            return f"contains {char!r}, which separates folders"
        if char in _INVISIBLE or unicodedata.category(char) in ("Cc", "Cs"):
            return f"contains {char!a}, which cannot be seen"
    if not any(unicodedata.category(char)[0] in "LNPSM" for char in name):
        return "has no visible character"
    if name in (".", ".."):
        return "means a folder itself or the one above"
    if len(name.encode()) > MOST_BYTES:
        return f"is longer than {MOST_BYTES} bytes in UTF-8"
    return "" if visible(Path(name)) else "is one that systems and tools use for themselves"
