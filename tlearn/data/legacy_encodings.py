"""Detecting the encoding of names in archives that do not declare UTF-8."""

import re
import unicodedata
from collections.abc import Iterable
from itertools import islice

from charset_normalizer import from_bytes

# The encodings that archivers use in various languages on Windows and DOS.
CODECS = "gb18030 cp932 big5 cp949 cp866 cp1251 cp1252 cp850 cp437".split()
# The bytes of the common characters of East Asian encodings: kana and the first level of each
# national standard.
_COMMON = {
    "gb18030": rb"[\xb0-\xd7][\xa1-\xfe]",
    "cp932": rb"\x82[\x9f-\xf1]|\x83[\x40-\x96]|[\x88-\x97][\x40-\xfc]|\x81[\x5b\x45]",
    "big5": rb"[\xa4-\xc6][\x40-\x7e\xa1-\xfe]",
    "cp949": rb"[\xb0-\xc8][\xa1-\xfe]",
}
MOST = 2000  # names that are considered
ENOUGH = 6  # Hangul syllables: fewer may well be Chinese


def detect_encoding(names: Iterable[bytes]) -> str:
    """Return the common encoding of names; ``cp437``, the default of zip, if none fits.

    UTF-8 is always recognized. Else ``charset_normalizer`` lists the plausible ones; names are too
    short for it to distinguish those of East Asia, of which the one with the most common characters
    is chosen.
    """
    distinct = dict.fromkeys(name for name in names if not name.isascii())
    text = b"\n".join(islice(distinct, MOST))
    if not text:
        return "ascii"
    try:
        text.decode("utf-8")
        return "utf-8"
    except UnicodeDecodeError:
        pass
    plausible = [match.encoding for match in from_bytes(text, cp_isolation=CODECS)]
    shares = {codec: _common_share(text, codec) for codec in _COMMON if codec in plausible}
    if shares.get("cp949") == 1 and len(re.findall(_COMMON["cp949"], text)) >= ENOUGH:
        return "cp949"
    best = max(shares, key=lambda codec: shares[codec], default="")
    if best and (shares[best] == 1 or (best == plausible[0] and shares[best] > 0.5)):
        return best
    dos = text.decode("cp437")
    if all(char.isascii() or unicodedata.name(char).startswith("LATIN") for char in dos):
        return "cp437"
    return next((codec for codec in plausible if codec not in shares), best or "cp437")


def _common_share(text: bytes, codec: str) -> float:

    characters = [char for char in text.decode(codec) if not char.isascii()]
    common = [char for char in characters if re.fullmatch(_COMMON[codec], char.encode(codec))]
    return len(common) / len(characters)
