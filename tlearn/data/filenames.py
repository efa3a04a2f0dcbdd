"""Names of files and classes: validated, repaired, and made unique."""

import os
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterator
from functools import lru_cache
from itertools import count
from pathlib import Path

from tlearn.data.folders import visible
from tlearn.errors import DataError

MOST_BYTES = 255  # what file systems take for one name
# Soft hyphen, zero-width space, word joiner and the like, and what turns the direction of writing.
# The joiners U+200C and U+200D are not among them: Persian, Hindi and emoji need them.
_INVISIBLE = frozenset("\u00ad\u200b\u2028\u2029\ufeff") | frozenset(
    map(chr, [*range(0x202A, 0x202F), *range(0x2060, 0x2070)])
)
LONGEST = 230  # bytes of a repaired name: a number may be added to it
DEVICES = re.compile(r"(con|prn|aux|nul|clock\$|(com|lpt)[0-9¹²³])(?=\.|$)", re.IGNORECASE)
MOST_CHARACTERS = 100  # of a class name


def unsafe_reason(name: str) -> str:
    """Return why a name is unsafe as part of a path, continuing a sentence, or an empty text."""
    for char in name:
        if char in "/\\":
            return f"contains {char!r}, which separates folders"
        if char in _INVISIBLE or unicodedata.category(char) in ("Cc", "Cs"):
            return f"contains {char!a}, which is invisible"
    if not any(unicodedata.category(char)[0] in "LNPSM" for char in name):
        return "has no visible character"
    if name in (".", ".."):
        return "refers to a folder itself or its parent"
    if len(name.encode()) > MOST_BYTES:
        return f"is longer than {MOST_BYTES} bytes in UTF-8"
    return "" if visible(name) else "is reserved for systems and tools"


def validate_class_name(name: str) -> str:
    """Return the name of a new class in Unicode's form NFC.

    It may have slashes, as in ``T-shirt/top``; its folder is called :func:`class_folder_name`.

    Raises:
        DataError: If it is otherwise unsafe as the name of a folder, invisible, or ignored by
            scans.
    """
    name = unicodedata.normalize("NFC", name)
    reasons = map(unsafe_reason, (class_folder_name(name), *name.split("/")))
    reason = next(filter(None, reasons), "")
    if not reason and len(name) > MOST_CHARACTERS:
        reason = f"has {len(name)} characters"
    if not reason and name != name.strip():
        reason = "starts or ends with a space"
    if reason:
        raise DataError(
            f"the class name {quote_name(name)} {reason}; a class name has 1 to {MOST_CHARACTERS} "
            f"characters of any script, without backslashes or control characters; choose another"
        )
    return name


def class_folder_name(label: str) -> str:
    """Return what the folder of a class is called, with ``_`` for slashes."""
    return label.replace("/", "_")


def quote_name(name: str) -> str:
    """Return a name for a message: quoted, invisible characters escaped, at most 120 long."""
    return repr(name if len(name) <= 120 else name[:117] + "...")


def inside(root: Path, name: str) -> Path:
    """Return the resolved path of ``name`` below ``root``.

    Raises:
        DataError: If it would lie outside ``root``, by its parts or by links.
    """
    try:
        path = (root / name).resolve()
        within = path.is_relative_to(root.resolve())
    except (OSError, ValueError, RuntimeError):  # too long, NUL, links in a circle
        within = False
    if not within:
        raise DataError(
            f"{quote_name(name)} does not lie in the folder {str(root)!r}; give a path inside it"
        )
    return path


def leads_out(name: str) -> bool:
    r"""Return whether a path is absolute or has a part ``..``, with ``/`` or ``\``."""
    text = name.replace("\\", "/")
    # Windows strips dots and spaces at the end of a part, so that ".. " is ".." there.
    climbs = any(part.startswith("..") and not part.strip(". ") for part in text.split("/"))
    return climbs or text.startswith("/") or bool(re.match("[A-Za-z]:/", text))


def repair_part(part: str) -> str:
    """Return one part of a path as every system allows it: in NFC, of little more than 230 bytes.

    Invisible characters and trailing spaces and dots are removed; a name that Windows reserves,
    such as ``CON``, gets ``_`` after its stem. Joiners, as in Persian, Hindi and emoji, are
    allowed, and so are ``: * ? " < > |`` except on Windows.
    """
    part = unicodedata.normalize("NFC", "".join(filter(_is_safe, part)))
    part = _shorten(part, "", LONGEST).lstrip()
    part = re.sub(r"[\s.]+$", "", part)
    if match := DEVICES.match(part):
        part = f"{match[0]}_{part[match.end() :]}"
    if os.name == "nt":
        part = re.sub(r'[:*?"<>|]', "_", part)
    if not visible(part):
        part = f"_{part}"
    if not visible(part):
        part += "_"
    return "unnamed" if unsafe_reason(part) else part


@lru_cache(4096)
def _is_safe(char: str) -> bool:
    return not unsafe_reason(f"x{char}")


class UniqueNames:
    """Repaired paths below one folder, unique also where upper and lower case are the same.

    Attributes:
        repaired: Paths that were changed, old to new; of a folder its own path alone.
    """

    def __init__(self) -> None:
        self.repaired: dict[str, str] = {}
        self._folders: dict[str, str] = {"": ""}  # old to new; both end with a slash
        self._numbers: dict[str, Iterator[int]] = defaultdict(lambda: count(2))  # of folded paths
        self._taken: set[str] = set()  # paths in use

    def add(self, name: str) -> str:
        r"""Return the path for a file, or a new folder; ``\`` separates its parts as ``/`` does."""
        parts = [part for part in name.replace("\\", "/").split("/") if part not in ("", ".")]
        return self._unique(self._folder(parts[:-1]), parts[-1] if parts else "", name)

    def _folder(self, parts: list[str]) -> str:
        old = new = ""
        for part in parts:
            old += f"{part}/"
            if old not in self._folders:
                self._folders[old] = self._unique(new, part, old[:-1]) + "/"
            new = self._folders[old]
        return new

    def _unique(self, parent: str, part: str, old: str) -> str:
        name = repair_part(part)
        path = first = parent + name
        while _fold(path) in self._taken:
            number = next(self._numbers[_fold(first)])
            path = parent + _shorten(name, f"-{number}", MOST_BYTES)
        self._taken.add(_fold(path))
        if path.rpartition("/")[2] != unicodedata.normalize("NFC", part):
            self.repaired[old] = path
        return path


def _fold(name: str) -> str:
    """Return the common form of names that differ in case alone."""
    return unicodedata.normalize("NFC", name.casefold())


def _shorten(name: str, tail: str, most: int) -> str:
    """Return a name with ``tail`` after its stem, which is cut to ``most`` bytes in all."""
    path = Path(name)
    stem, suffix = (name, "") if len(path.suffix) > 16 else (path.stem, path.suffix)
    room = most - len((tail + suffix).encode())
    return stem.encode()[:room].decode(errors="ignore") + tail + suffix
