"""Which names a class may get, and which a photo may be asked for by."""

import os
import unicodedata
from pathlib import Path

from tlearn.data.filenames import shown
from tlearn.data.folders import visible
from tlearn.data.name_rules import MOST_BYTES, unsafe_reason
from tlearn.errors import DataError

__all__ = ["MOST_BYTES", "name_parts", "validate_class_name"]

MOST_CHARACTERS = 100


def validate_class_name(name: str) -> str:
    """Return a name for a new class in one Unicode spelling (NFC), the one that labels have.

    Raises:
        DataError: If it is unsafe as the name of a folder, hard to see, or would be passed over.
    """
    name = unicodedata.normalize("NFC", name)
    reason = unsafe_reason(name)
    if not reason and len(name) > MOST_CHARACTERS:
        reason = f"has {len(name)} characters"
    if not reason and name != name.strip():
        reason = "starts or ends with a space"
    if reason:
        raise DataError(
            f"the class name {shown(name)} {reason}; a class name has 1 to {MOST_CHARACTERS} "
            f"characters of any script, without slashes or control characters; choose another"
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
