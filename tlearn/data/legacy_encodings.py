"""In which encoding an archive has its names, where it does not say that they are UTF-8."""

import re
import unicodedata
from collections.abc import Iterable
from itertools import islice

from charset_normalizer import from_bytes

# What archivers of one language or another write, Windows' and DOS's.
CODECS = "gb18030 cp932 big5 cp949 cp866 cp1251 cp1252 cp850 cp437".split()
# The bytes of the characters in daily use, of the many that a character set of East Asia has: kana
# and the first level of each national standard.
_COMMON = {
    "gb18030": rb"[\xb0-\xd7][\xa1-\xfe]",
    "cp932": rb"\x82[\x9f-\xf1]|\x83[\x40-\x96]|[\x88-\x97][\x40-\xfc]|\x81[\x5b\x45]",
    "big5": rb"[\xa4-\xc6][\x40-\x7e\xa1-\xfe]",
    "cp949": rb"[\xb0-\xc8][\xa1-\xfe]",
}
MOST = 2000  # names that are looked at
ENOUGH = 6  # Hangul syllables: fewer of them may well be Chinese


def detect_encoding(names: Iterable[bytes]) -> str:
    """Return the encoding that names have in common; ``cp437``, the standard's, if none is found.

    UTF-8 is never taken for another one. Else ``charset_normalizer`` says which are plausible; it
    needs longer texts to tell those of East Asia apart, so that the one with the most characters in
    daily use is taken there.
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
    shares = {codec: _share_in_use(text, codec) for codec in _COMMON if codec in plausible}
    if shares.get("cp949") == 1 and len(re.findall(_COMMON["cp949"], text)) >= ENOUGH:
        return "cp949"
    best = max(shares, key=lambda codec: shares[codec], default="")
    if best and (shares[best] == 1 or (best == plausible[0] and shares[best] > 0.5)):
        return best
    dos = text.decode("cp437")
    if all(char.isascii() or unicodedata.name(char).startswith("LATIN") for char in dos):
        return "cp437"
    return next((codec for codec in plausible if codec not in shares), best or "cp437")


def _share_in_use(text: bytes, codec: str) -> float:
    characters = [char for char in text.decode(codec) if not char.isascii()]
    common = [char for char in characters if re.fullmatch(_COMMON[codec], char.encode(codec))]
    return len(common) / len(characters)
