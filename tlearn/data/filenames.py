"""Names of files as strangers give them: which are safe, and how they are kept apart."""

import re
import unicodedata
from collections.abc import Iterable
from pathlib import Path

from tlearn.errors import DataError

PART_BYTES, NAME_BYTES, DEPTH = 255, 1000, 16
# Format characters (Cf) among them turn the direction of writing or cannot be seen at all.
_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
# Unicode does not count these as other forms of a slash, backslash or dot; eyes do.
_LOOK_ALIKES = frozenset("\u2044\u2215\u29f8\u29f9\u29f5\u2216\u2571\u2572\u27cb\u27cd\u2024")
_SLASHES = str.maketrans(dict.fromkeys(_LOOK_ALIKES - {"\u2024"}, "/") | {"\\": "/"})
_WINDOWS = frozenset('<>:"|?*')
_RESERVED = frozenset(
    {"CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$", "CLOCK$"}
    | {f"{port}{number}" for port in ("COM", "LPT") for number in range(10)}
)


def sanitize_filename(name: str, way_out: str = "give the file another name") -> str:
    r"""Return a relative path with ``/``, in NFC, that is safe on every system.

    Backslashes are read as ``/``; empty parts and ``.`` are left out.

    Args:
        name: The name.
        way_out: What a refusal says to do.

    Raises:
        DataError: If the name leads out of its folder, holds what cannot be seen or looks like
            something else, is reserved or not allowed on some system, or is too long.
    """
    text = unicodedata.normalize("NFC", name).replace("\\", "/")
    parts = [part for part in text.split("/") if part not in ("", ".")]
    why = "leads out of its folder" if leads_out(name) else ""
    if not parts:
        why = why or "names no file"
    for part in parts:
        why = why or _refusal(part)
    if not why and len("/".join(parts).encode()) > NAME_BYTES:
        why = f"is longer than {NAME_BYTES} bytes in UTF-8"
    if not why and len(parts) > DEPTH:
        why = f"lies {len(parts)} folders deep, where {DEPTH} are allowed"
    if why:
        raise DataError(f"the name {shown(name)} {why}; {way_out}")
    return "/".join(parts)


def leads_out(name: str) -> bool:
    """Tell whether a name is absolute or has a part ``..``, or looks as if it had."""
    seen = "".join(char for char in name if unicodedata.category(char) not in _UNSEEN)
    text = unicodedata.normalize("NFKC", seen).translate(_SLASHES)
    if text.startswith("/") or re.match("[A-Za-z]:", text):
        return True
    # Windows takes dots and spaces off the end of a part, so that ".. " is ".." there.
    return any(part.count(".") > 1 and not part.strip(". ") for part in text.split("/"))


def shown(name: str) -> str:
    """Return a name for a message: quoted, what cannot be seen as its code, at most 120 long."""
    return repr(name if len(name) <= 120 else name[:117] + "...")


def _refusal(part: str) -> str:
    """Say why a part of a path is refused, or nothing."""
    plain = unicodedata.normalize("NFKC", part)
    for char in part:
        if unicodedata.category(char) in _UNSEEN:
            return f"holds {char!a}, which cannot be seen"
        if char in _WINDOWS:
            return f"holds {char!r}, which is not allowed in names on Windows"
        if char in _LOOK_ALIKES or set("/\\:") & set(unicodedata.normalize("NFKC", char)):
            return f"holds {char!a}, which looks like a character that parts a path"
    if plain.count("..") > part.count(".."):
        return "holds what looks like '..'"
    if plain[-1] == "." or plain[-1].isspace():
        return "has a part that ends with a dot or a space"
    if plain.split(".")[0].rstrip().upper() in _RESERVED:
        return f"has the part {shown(part)}, which is reserved on Windows"
    if len(part.encode()) > PART_BYTES:
        return f"has a part longer than {PART_BYTES} bytes in UTF-8"
    return ""


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
            f"{shown(name)} does not lie in the folder {str(root)!r}; give a path inside it"
        )
    return path


class Names:
    """The clean names given out below one folder, each once, also on systems without case."""

    def __init__(self, there: Iterable[str] = ()) -> None:
        self._given: dict[str, str] = {}  # as asked to as given; folders end with a slash
        # The highest number given to each folded name.
        self._numbers = dict.fromkeys(map(_folded, there), 1)

    def give(self, name: str) -> str:
        """Return the name to use for a file.

        Raises:
            DataError: If this very name was given already.
        """
        if name in self._given:
            raise DataError(
                f"a file {shown(name)} was received already; give this one another name"
            )
        above, part = self._folders(name)
        self._given[name] = above + self._free(above, part, folder=False)
        return self._given[name]

    def fresh(self, name: str, folder: bool = False) -> str:
        """Return the name to use for a file or folder, also where this name was given already."""
        above, part = self._folders(name)
        return above + self._free(above, part, folder)

    def take_back(self, name: str) -> None:
        """Make the name of a file free again."""
        self._numbers.pop(_folded(self._given.pop(name)), None)

    def _folders(self, name: str) -> tuple[str, str]:
        *folders, last = name.split("/")
        asked = above = ""
        for part in folders:
            asked += part + "/"
            if asked not in self._given:
                self._given[asked] = above + self._free(above, part, folder=True) + "/"
            above = self._given[asked]
        return above, last

    def _free(self, above: str, part: str, folder: bool) -> str:
        first = _folded(above + part)
        if first not in self._numbers:
            self._numbers[first] = 1
            return part
        # The number is kept: else as many tries as there are names would be needed for each.
        while True:
            self._numbers[first] += 1
            free = _numbered(part, self._numbers[first], folder)
            if _folded(above + free) not in self._numbers:
                self._numbers[_folded(above + free)] = 1
                return free


def _folded(name: str) -> str:
    """Return what names have in common that a system without case takes for one."""
    return unicodedata.normalize("NFC", name.casefold())


def _numbered(part: str, number: int, folder: bool = False) -> str:
    """Return the last part of a path with ``-number`` behind its stem, at most 255 bytes."""
    path = Path(part)
    stem, suffix = (part, "") if folder else (path.stem, path.suffix)
    if len(suffix.encode()) > PART_BYTES // 2:
        stem, suffix = part, ""
    tail = f"-{number}{suffix}"
    room = PART_BYTES - len(tail.encode())
    return stem.encode()[:room].decode(errors="ignore") + tail
