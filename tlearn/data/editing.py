"""Changes to a data set: photos to other classes or excluded, classes renamed or merged."""

import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from tlearn.data.class_names import validate_class_name
from tlearn.data.edits import Edits
from tlearn.data.edits_file import append_edits
from tlearn.data.layouts import read_layout
from tlearn.data.scan import check_folder, list_entries
from tlearn.errors import DataError, nearest


def exclude(data: Path, names: Sequence[str]) -> None:
    """Leave photos out of the data set from now on.

    Args:
        data: The data folder.
        names: Names of files as a manifest has them.

    Raises:
        DataError: If one is not there; nothing is changed then.
    """
    _change(data, edited_labels(data), names, "")


def move(data: Path, names: Sequence[str], label: str) -> None:
    """Give photos another class, there already or new.

    Raises:
        DataError: If one is not there, all are of this class, or no class can be called so;
            nothing is changed then.
    """
    labels = edited_labels(data)
    _change(data, labels, names, _label(label, labels.values()))


def rename(data: Path, label: str, new: str) -> None:
    """Give a class another name.

    Raises:
        DataError: If there is no such class, the new name is taken, or no class can be called so.
    """
    known = set(edited_labels(data).values())
    new = _label(new, known)
    if new in known:
        raise DataError(
            f"there is a class {new!r} already; choose another name, or merge {label!r} into it"
        )
    append_edits(data, [(_folder(label, known), new)])


def merge(data: Path, labels: Sequence[str], into: str) -> None:
    """Make classes one, there already or new.

    Raises:
        DataError: If one is not there, there is nothing to merge, or no class can be called so.
    """
    known = set(edited_labels(data).values())
    into = _label(into, known)
    changes = [(_folder(label, known), into) for label in dict.fromkeys(labels) if label != into]
    if not changes:
        raise DataError(f"there is nothing to merge into {into!r}; name other classes")
    append_edits(data, changes)


def edited_labels(data: Path) -> dict[str, str | None]:
    """Return the class of every file after edits, ``None`` for what is excluded.

    Raises:
        DataError: If it is no data folder.
    """
    check_folder(data)
    listed = list_entries(read_layout(data))
    return Edits.of(data).apply({entry.name: entry.label for entry in listed})[0]


def _change(data: Path, labels: Mapping[str, str | None], names: Sequence[str], label: str) -> None:
    for name in names:
        if name not in labels:
            raise DataError(f"{name!r} is not in {str(data)!r}; scan the folder again")
    changes = [(name, label) for name in dict.fromkeys(names) if labels[name] != (label or None)]
    if not changes:
        raise DataError(
            f"nothing to change: all of these are {f'of class {label!r}' if label else 'excluded'} "
            f"already"
        )
    append_edits(data, changes)


def _label(name: str, known: Iterable[str | None]) -> str:
    """Return the label of a class that is there, or of one that may be made."""
    label = unicodedata.normalize("NFC", name)
    return label if label in known else validate_class_name(name)


def _folder(label: str, known: Iterable[str | None]) -> str:
    """Return what a line names a class by."""
    names = sorted(filter(None, known))
    if label not in names:
        raise DataError(
            f"there is no class {label[:100]!r}{nearest(label[:100], names)}; there are "
            f"{', '.join(names[:10])}"
        )
    return f"{label}/"
