"""Which names a class may get, and which a photo may be asked for by."""

import os
import unicodedata
from pathlib import Path

from tlearn.data.filenames import shown
from tlearn.data.folders import visible
from tlearn.errors import DataError

MOST_CHARACTERS = 100
MOST_BYTES = 255  # what file systems take for one name
_HOSTILE = {
    "Cc": "a control character",
    "Cf": "an invisible format character",
    "Cs": "half of a character",
    "Zl": "a line separator",
    "Zp": "a paragraph separator",
}
_RESERVED = {"con", "prn", "aux", "nul", "conin$", "conout$"} | {
    f"{port}{digit}" for port in ("com", "lpt") for digit in "0123456789¹²³"
}


def validate_class_name(name: str) -> str:
    """Return a name for a new class in one Unicode spelling (NFC), the one that labels have.

    Raises:
        DataError: If a folder of this name is not possible on every system, is hard to see, or
            would be passed over.
    """
    name = unicodedata.normalize("NFC", name)
    wrong = _wrong(name)
    if wrong:
        raise DataError(
            f"the class name {shown(name)} {wrong}; a class name has 1 to {MOST_CHARACTERS} "
            f"visible characters that every system takes in a folder's name; choose another"
        )
    return name


def name_parts(name: str) -> list[str]:
    """Return the parts of a file's name as a manifest has it: its path below the data folder.

    Raises:
        DataError: If it is absolute, leads upwards, or names what scans pass over.
    """
    parts = name.split("/")
    windows = os.name == "nt" and any(character in name for character in "\\:")
    listed = all(part.strip(".") and visible(Path(part)) for part in parts)
    if windows or "\0" in name or not listed:
        raise DataError(
            f"{shown(name)} is no path of a photo below the data folder; give one as the scan "
            f"lists it, such as 'roses/a.jpg'"
        )
    return parts


def _wrong(name: str) -> str:
    """Say what is wrong with a name for a class, or nothing."""
    if not name.strip():
        return "is empty"
    if len(name) > MOST_CHARACTERS:
        return f"has {len(name)} characters"
    hostile = [_HOSTILE[kind] for kind in map(unicodedata.category, name) if kind in _HOSTILE]
    if hostile:
        return f"holds {hostile[0]}"
    forbidden = [character for character in name if character in '/\\:*?"<>|']
    if forbidden:
        return f"holds {forbidden[0]!r}"
    if len(name.encode()) > MOST_BYTES:
        return f"takes {len(name.encode())} bytes of the {MOST_BYTES} that file systems have"
    if name.startswith("."):
        return "starts with '.'"
    if name != name.strip() or name.endswith("."):
        return "starts or ends with a space or ends with '.'"
    if name.split(".")[0].strip().lower() in _RESERVED:
        return "is reserved on Windows"
    return "" if visible(Path(name)) else "is one that systems and tools use for themselves"
