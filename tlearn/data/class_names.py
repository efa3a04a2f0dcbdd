"""Which names a class may get."""

import unicodedata

from tlearn.data.filenames import shown
from tlearn.data.name_rules import unsafe_reason
from tlearn.errors import DataError

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
