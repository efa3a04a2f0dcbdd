"""Planning moves in a data folder: what stands where, and which places are free."""

import os
import stat
import unicodedata
from collections.abc import Sequence
from pathlib import Path

from tlearn.data.class_names import MOST_BYTES, name_parts, validate_class_name
from tlearn.data.folders import SPLIT_FOLDERS, listing, split_folders
from tlearn.data.journal import LOCK, Move, Places, Step, stamp
from tlearn.data.scan import class_label
from tlearn.errors import DataError, nearest
from tlearn.text import encode_name, natural_key


class Layout:
    """Where the classes of a data folder are.

    Args:
        root: The data folder, without links on its way.

    Raises:
        DataError: If the folder cannot be understood.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.sides = split_folders(root)
        self.places = list(self.sides.values()) or [root]  # what holds class folders
        self._folders: dict[Path, dict[str, list[Path]]] = {}
        for place in self.places:
            found = self._folders.setdefault(place, {})
            for path in listing(place):
                if path.is_dir():
                    found.setdefault(class_label(path.name), []).append(path)
        self._inside: set[str] = set()

    @property
    def labels(self) -> list[str]:
        """All classes, those without photos too."""
        return sorted(
            {label for folders in self._folders.values() for label in folders}, key=natural_key
        )

    @property
    def kept(self) -> frozenset[Path]:
        """The folders that are not removed when they are empty."""
        return frozenset({self.root, *self.places})

    @property
    def place_of_new(self) -> Path:
        """Where class folders of photos from elsewhere are."""
        return self.sides.get("train", self.root / "train") if self.sides else self.root

    def folders(self, place: Path, label: str) -> list[Path]:
        """Return the folders of a class at a place: none, one, or more in Unicode spellings."""
        return self._folders.get(place, {}).get(unicodedata.normalize("NFC", label), [])

    def class_folder(self, place: Path, label: str) -> Path:
        """Return the folder of a class at a place, there already or to be made.

        Raises:
            DataError: If it is a link, or something else stands there.
        """
        there = self.folders(place, label)
        if there:
            self.check_inside(there[0] / "any")
            return there[0]
        folder = place / unicodedata.normalize("NFC", label)
        if os.path.lexists(folder) and not folder.is_dir():
            raise DataError(
                f"{str(folder)!r} is a file or a link that leads nowhere, where the class folder "
                f"would be; move it away or choose another class name"
            )
        return folder

    def check_known(self, label: str) -> None:
        """Refuse what is no class here.

        Raises:
            DataError: If it is none.
        """
        if unicodedata.normalize("NFC", label) not in self.labels:
            raise DataError(
                f"there is no class {label[:100]!r} in {str(self.root)!r}"
                f"{nearest(label[:100], self.labels)}; give the name of a class folder"
            )

    def check_label(self, label: str, *but: str) -> str:
        """Return the label of a class that is there or may be made, in the spelling of labels.

        Args:
            label: The name.
            but: Classes that will be gone.

        Raises:
            DataError: If the name is not possible.
        """
        if unicodedata.normalize("NFC", label) in self.labels:
            return unicodedata.normalize("NFC", label)
        label = validate_class_name(label)
        self.check_case(label, *but)
        if not self.sides and label.lower() in SPLIT_FOLDERS:
            raise DataError(
                f"a class {label!r} would stand where {label.lower()}/ means a side of the split; "
                f"choose another name"
            )
        return label

    def check_case(self, label: str, *but: str) -> None:
        """Refuse a name that some systems take for another class's.

        Raises:
            DataError: If a class, other than those named, differs from it in letter case alone.
        """
        for other in set(self.labels) - {label, *but}:
            if other.casefold() == label.casefold():
                raise DataError(
                    f"there is a class {other!r}, which some systems take for {label!r}: they "
                    f"differ in capital letters alone; choose another name, or {other!r}"
                )

    def check_meaning(self) -> None:
        """Refuse what made classes of sides or sides of classes.

        Raises:
            DataError: If the folder now means something else than it did.
        """
        if bool(split_folders(self.root)) != bool(self.sides):
            raise DataError(
                f"that would change what the folders in {str(self.root)!r} mean, classes or sides "
                f"of the split; rename classes that are called train, validation or test first, "
                f"and leave a class on one side"
            )

    def place_of(self, path: Path) -> tuple[Path, tuple[str, ...]]:
        """Return the folder that holds the class folders for this file, and its path below that."""
        for place in self.places:
            if place in path.parents:
                return place, path.relative_to(place).parts
        return self.place_of_new, path.relative_to(self.root).parts

    def find(self, name: str) -> Path:
        """Return the path of a file by the name it has in a manifest.

        Raises:
            DataError: If it is not there, a folder, or behind a link.
        """
        parts = name_parts(name)
        path = self.root.joinpath(*parts)
        if not os.path.lexists(path):
            path = self._spelled(parts)
        self.check_inside(path)
        if path.is_dir() and not path.is_symlink():
            raise DataError(f"{name!r} is a folder; name the photos in it")
        return path

    def check_inside(self, path: Path) -> None:
        """Refuse what is behind a link.

        Raises:
            DataError: If the folder it stands in is not where it seems.
        """
        folder = str(path.parent)
        if folder not in self._inside:
            if os.path.realpath(folder) != folder:
                raise DataError(
                    f"{folder!r} is a link or behind one, and what it leads to is left alone; "
                    f"change it where it is"
                )
            self._inside.add(folder)

    def _spelled(self, parts: Sequence[str]) -> Path:
        """Find a path whose names are not UTF-8 by what a manifest writes for them."""
        path = self.root
        for part in parts:
            here = path.iterdir() if path.is_dir() else iter(())
            found = [entry for entry in here if encode_name(entry.name) == part]
            if not found:
                raise DataError(
                    f"{'/'.join(parts)!r} is not in {str(self.root)!r}; scan the folder again"
                )
            path = found[0]
        return path


class Draft:
    """Collects moves to places that are free, and will be when all are made."""

    def __init__(self, places: Places) -> None:
        self._places = places
        self._moves: list[Move] = []
        self._make: dict[str, None] = {}
        self._empty: set[Path] = set()
        self._folders: dict[tuple[str, str], str] = {}
        self._taken: set[str] = set()  # by files to come
        lock = Path(places.folders["quarantine"], LOCK)
        self._folds = lock.with_name(LOCK.upper()).exists()
        self._next: dict[str, int] = {}

    def move(self, source: Path, folder: Path, parts: Sequence[str]) -> None:
        """Plan to move a file to a path below a folder, or to the next free name there."""
        self._add(str(source), str(self.free(folder, parts)))
        self._empty.add(source.parent)

    def rename(self, folder: Path, new: Path) -> None:
        """Plan to rename a folder."""
        self._add(str(folder), str(new))

    def empty(self, folder: Path) -> None:
        """Note a folder to be removed if it is empty in the end."""
        self._empty.add(folder)

    def reserve(self, name: str) -> None:
        """Take a place, by its name in the journal, as not free."""
        self._taken.add(self._key(self._places.path(name)))

    def free(self, folder: Path, parts: Sequence[str]) -> Path:
        """Return a free path below a folder: that of these parts, or with numbers after names."""
        self._base(folder)
        here = str(folder)
        for part in parts[:-1]:
            here = self._folder(here, part)
        first = _numbered(here, parts[-1], 1)
        number = self._next.get(first, 1)
        while not self._is_free(path := _numbered(here, parts[-1], number)):
            number += 1
        self._next[first] = number + 1
        self._taken.add(self._key(path))
        return Path(path)

    def step(self, kept: frozenset[Path]) -> Step:
        """Return the plan; folders in ``kept`` are not removed when they are empty."""
        kept = kept | {Path(folder) for folder in self._places.folders.values()}
        drop: set[Path] = set()
        for folder in self._empty:
            while folder not in kept and folder not in drop:
                drop.add(folder)
                folder = folder.parent
        deepest_first = sorted(drop, key=lambda path: (-len(path.parts), path))
        name = self._places.name
        return Step(
            tuple(self._moves),
            tuple(name(folder) for folder in self._make),
            tuple(name(str(folder)) for folder in deepest_first),
        )

    def _add(self, source: str, target: str) -> None:
        name = self._places.name
        self._moves.append(Move(name(source), name(target), *stamp(source)))

    def _base(self, folder: Path) -> None:
        """Note a folder, and those above it, to be made if it is not there."""
        if str(folder) not in self._make and not os.path.lexists(folder):
            self._base(folder.parent)
            self._make[str(folder)] = None

    def _folder(self, above: str, name: str) -> str:
        """Return a folder of this name, there or to be made, or the next name that is possible."""
        if (above, name) not in self._folders:
            number = 1
            while not self._may_be_folder(path := _numbered(above, name, number)):
                number += 1
            self._folders[above, name] = path
            self._base(Path(path))
        return self._folders[above, name]

    def _may_be_folder(self, path: str) -> bool:
        try:
            return stat.S_ISDIR(os.lstat(path).st_mode)
        except FileNotFoundError:
            return self._key(path) not in self._taken

    def _is_free(self, path: str) -> bool:
        planned = self._key(path) in self._taken or path in self._make
        return not planned and not os.path.lexists(path)

    def _key(self, path: str) -> str:
        """Return what is the same for all names that this file system takes for one."""
        return unicodedata.normalize("NFC", path.casefold()) if self._folds else path


def _numbered(folder: str, name: str, number: int) -> str:
    """Return the path of ``a.jpg`` in a folder, or of ``a-2.jpg``, ``a-3.jpg``, ..."""
    if number == 1:
        return f"{folder}{os.sep}{name}"
    stem, ending = os.path.splitext(name)  # noqa: PTH122
    ending = f"-{number}{ending}"
    while len(os.fsencode(stem + ending)) > MOST_BYTES and len(stem) > 1:
        stem = stem[:-1]
    return f"{folder}{os.sep}{stem}{ending}"
