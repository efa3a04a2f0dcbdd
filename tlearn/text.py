"""Names for screens and for files."""

import re
import shlex
from collections.abc import Iterator, Sequence
from itertools import count

# Control characters, those that turn the direction of writing, line separators, what XML forbids,
# and surrogates, which stand for bytes that are not UTF-8. Joiners stay: names in Persian or Hindi
# need them.
_UNPRINTABLE = re.compile(
    "[\x00-\x08\x0a-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ufffe\uffff\ud800-\udfff]"
)
_SURROGATE = re.compile(r"(\\*)([\ud800-\udfff])|(\\+)(?=ud[89a-f][0-9a-f]{2})")
_ESCAPED = re.compile(r"(\\+)(ud[89a-f][0-9a-f]{2})")


def numbered_names(stem: str, suffix: str = "") -> Iterator[str]:
    """Yield a name as it is, then with the numbers 2, 3, ... after its stem."""
    yield stem + suffix
    yield from (f"{stem}-{number}{suffix}" for number in count(2))


def whole_percents(parts: Sequence[float]) -> list[str]:
    """Return parts of a whole as percentages whose sum is 100 (largest remainder method).

    Example:
        >>> whole_percents([0.335, 0.335, 0.33])
        ['34%', '33%', '33%']
    """
    percents = [int(100 * part + 1e-9) for part in parts]
    by_rest = sorted(range(len(parts)), key=lambda i: percents[i] - 100 * parts[i])
    for i in by_rest[: round(100 * sum(parts)) - sum(percents)]:
        percents[i] += 1
    return [f"{percent}%" for percent in percents]


def percent(share: float) -> str:
    """Return a share from 0 to 1 as it is written everywhere.

    Example:
        >>> percent(0.9286)
        '92.9%'
    """
    return f"{share:.1%}"


def shortened(name: str, most: int = 48) -> str:
    """Return a name of at most so many characters, without its middle if it is longer.

    Example:
        >>> shortened("a very long name", 9)
        'a ve…name'
    """
    if len(name) <= most:
        return name
    end = (most - 1) // 2
    return f"{name[: most - 1 - end]}…{name[len(name) - end :]}"


def epochs_text(number: int) -> str:
    """Return a number of epochs in words: ``1 epoch``, ``2 epochs``."""
    return f"{number} epoch{'' if number == 1 else 's'}"


def natural_key(name: str) -> str:
    """Return what names are sorted by so that ``class 2`` comes before ``class 10``.

    Example:
        >>> sorted(["10", "9", "b", "A"], key=natural_key)
        ['9', '10', 'A', 'b']
    """
    pieces = re.split(r"([0-9]+)", name.casefold())  # a text and a number in turns
    numbers = (digits.lstrip("0") for digits in pieces[1::2])
    pieces[1::2] = [f"\0{chr(len(number))}{number}" for number in numbers]  # shorter ones first
    return f"{''.join(pieces)}\0\0{name}"  # at last, capital letters come first


def printable(text: str) -> str:
    r"""Return a text for screens and pictures, with control characters as ``\x1b``."""
    return _UNPRINTABLE.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def shell(*words: object) -> str:
    """Return a command as it is typed into a shell."""
    return shlex.join(map(str, words))


def encode_name(name: str) -> str:
    r"""Return a file's name as text that can be written: bytes that are not UTF-8 as ``\udce9``."""
    if name.isascii() and "\\" not in name:
        return name

    def escape(match: re.Match[str]) -> str:
        if match[3]:  # a name that looks as if it were escaped
            return match[3] * 2
        return f"{match[1] * 2}\\u{ord(match[2]):x}"

    return _SURROGATE.sub(escape, name)


def decode_name(text: str) -> str:
    """Return the file's name that :func:`encode_name` made this text of."""
    if "\\" not in text:
        return text

    def restore(match: re.Match[str]) -> str:
        slashes, odd = divmod(len(match[1]), 2)
        return "\\" * slashes + (chr(int(match[2][1:], 16)) if odd else match[2])

    return _ESCAPED.sub(restore, text)
