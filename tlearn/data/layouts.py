"""The layout of a data folder: which of its folders are classes, which are splits."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from tlearn.data.folders import list_folder, named_image, visible
from tlearn.data.problems import Problem
from tlearn.errors import DataError
from tlearn.object_stores import entries_of
from tlearn.text import encode_name, natural_key, printable

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")

SPLIT_WORDS: dict[str, Split] = {
    **dict.fromkeys(("train", "training", "trn"), "train"),
    **dict.fromkeys(("validation", "valid", "val", "dev", "eval"), "validation"),
    **dict.fromkeys(("test", "testing", "tst"), "test"),
}
_FILLERS = "set|sets|data|dataset|images?|imgs?|photos?|pictures?|pics?|samples?|splits?|seg|folder"
_SPLIT_WORD = re.compile(rf"({'|'.join(SPLIT_WORDS)})(?:{_FILLERS})?")
_FILLER = re.compile(_FILLERS)
_UNLABELLED = re.compile(rf"pred|predict|predictions?|unlabell?ed|{_FILLERS}")
_OUTPUT_FILES = ("run.yaml", "comparison.json", "learning_curve.json", "predict.py")
_OUTPUT_FOLDERS = ("runs", "comparisons", "learning_curves")
_LEVELS = 4  # of folders in each other that are opened where they hold nothing but one folder
_SHOWN = 12  # classes named in a line


@dataclass(frozen=True)
class FolderLayout:
    """The class and split folders of a data folder.

    Attributes:
        root: The data folder.
        place: The folder that holds the class or split folders: the root, or a folder in it.
        splits: The folders that hold the class folders of each split; empty without splits.
        classes: The class folders, with the split whose folder each is in, if any.
        stray: Files outside any class folder, likewise.
        problems: Ignored folders, and folders that may be meant otherwise.
    """

    root: Path
    place: Path
    splits: Mapping[Split, Path]
    classes: tuple[tuple[Path, Split | None], ...]
    stray: tuple[tuple[Path, Split | None], ...]
    problems: tuple[Problem, ...] = ()

    def __str__(self) -> str:
        """Describe the layout in one line."""
        if not self.splits:
            place = relative_name(self.place, self.root)
            where = "" if place == "." else f" in {place}/"
            names = [path.name for path, _ in self.classes]
            return f"class folder{'s' if len(names) != 1 else ''}{where}: {_enumerate(names)}"
        parts = []
        for split, folder in self.splits.items():
            name = relative_name(folder, self.root)
            title = split if name == split else f"{name}/ as {split}"
            names = [path.name for path, class_split in self.classes if class_split == split]
            parts.append(f"{title} ({_enumerate(names)})")
        return f"split folder{'s' if len(parts) != 1 else ''}: {', '.join(parts)}"


def relative_name(path: Path, root: Path) -> str:
    """Return the name of a file or folder in manifests: its path below the data folder."""
    return encode_name(path.relative_to(root).as_posix())


def read_layout(root: Path) -> FolderLayout:
    """Find the class folders of a data folder, and its split folders if it has any.

    Folders are splits if all of them have usual names of splits, such as ``train`` or
    ``test_images``, and hold folders themselves. Ignored are folders of tlearn's own output, and a
    second copy of the data set in a folder of its own name.

    Raises:
        DataError: If a folder cannot be listed, or it is not clear what the folders mean.
    """
    return _Reader(root).read()


def split_of(name: str) -> Split | None:
    """Return the split that a folder name usually stands for, if any."""
    split, rest = _split_and_rest(name)
    return None if rest else split


def similar_labels(labels: Iterable[str]) -> dict[str, str]:
    """Return the classes whose names differ in capital letters or spaces alone, and from which."""
    first: dict[str, str] = {}
    listed = sorted(labels, key=natural_key)
    others = {label: first.setdefault("".join(label.casefold().split()), label) for label in listed}
    return {label: other for label, other in others.items() if other != label}


def similarity(other: str) -> str:
    """Return what is said of a class whose name is like that of another."""
    return (
        f"differs from {other!r} in capital letters or spaces alone; rename one of the folders if "
        f"they are one class"
    )


@dataclass
class _Reader:
    root: Path
    problems: list[Problem] = field(default_factory=list)

    def read(self) -> FolderLayout:
        place, folders = self._place()
        splits = self._splits(place, folders)
        classes: list[tuple[Path, Split | None]] = []
        stray: list[tuple[Path, Split | None]] = [(path, None) for path in _files(place)]
        if not splits:
            classes += [(path, None) for path in folders]
            self._check_levels(folders)
        for split, folder in splits.items():
            classes += [(path, split) for path in self._data_folders(folder)]
            stray += [(path, split) for path in _files(folder)]
        folder = place
        while folder != self.root:
            folder = folder.parent
            stray += [(path, None) for path in _files(folder)]
        return FolderLayout(
            self.root, place, splits, tuple(classes), tuple(stray), tuple(self.problems)
        )

    def _place(self) -> tuple[Path, list[Path]]:
        """Return the folder that holds the class or split folders, and these."""
        place, folders = self.root, self._data_folders(self.root)
        deeper, inner_folders = place, folders
        for _ in range(_LEVELS):
            if _contents(deeper)[1] or len(inner_folders) != 1 or split_of(inner_folders[0].name):
                break
            deeper = inner_folders[0]
            inner_folders = self._data_folders(deeper)
        if len(inner_folders) > 1 and not _contents(deeper)[1]:
            place, folders = deeper, inner_folders
        names = {path.name for path in folders}
        for folder in list(folders):
            inner, images = _contents(folder)
            own_name = folder.name.casefold() == place.resolve().name.casefold()
            copy = len(inner) > 1 and not images and (own_name or inner <= names - {folder.name})
            if copy and len(folders) > 2:
                folders.remove(folder)
                listed = _enumerate(sorted(inner, key=natural_key))
                reason = (
                    f"a data set inside the data set, with the folders {listed}: ignored; move "
                    f"its photos to the class folders if they are others"
                )
                self._report(folder, reason)
        return place, folders

    def _data_folders(self, folder: Path) -> list[Path]:
        """Return the folders in a folder, except tlearn's own output."""
        folders = []
        for path in list_folder(folder):
            if path.is_dir():
                if is_output(path):
                    self._report(path, "an output of tlearn, such as a run: ignored")
                else:
                    folders.append(path)
        return folders

    def _splits(self, place: Path, folders: Sequence[Path]) -> dict[Split, Path]:
        """Return the folder of each split; empty if the folders are classes."""
        splits: dict[Split, Path] = {}
        rests: set[tuple[str, ...]] = set()
        others: list[Path] = []
        unlabelled: list[Path] = []
        doubled: list[str] = []
        for path in folders:
            split, rest = _split_and_rest(path.name)
            if split is None:
                (unlabelled if _is_unlabelled(path.name) else others).append(path)
                continue
            rests.add(rest)
            if split in splits:
                doubled = [splits[split].name, path.name]
            splits.setdefault(split, path)
        if not splits or len(rests) > 1 or (rests != {()} and (others or len(splits) < 2)):
            return {}
        contents = [_contents(path) for path in splits.values()]
        deep = any(inner for inner, _ in contents)
        images = any(images for _, images in contents)
        if others and (not deep or "train" not in splits or (len(splits) == 1 and images)):
            return {}  # classes, of which one is called "train" or "test"
        names = _enumerate([f"{path.name}/" for path in splits.values()])
        if not deep and images:
            raise DataError(
                f"{str(place)!r} holds the split folder{'s' if len(splits) > 1 else ''} {names} "
                f"without class folders; put the images of each into one folder per class, or "
                f"rename what are classes"
            )
        if doubled:
            raise DataError(
                f"{str(place)!r} holds both {doubled[0]}/ and {doubled[1]}/, which mean the same "
                f"split; keep one of them"
            )
        if others:
            raise DataError(
                f"{str(place)!r} holds the split folders {names} and also "
                f"{_enumerate([path.name for path in others])}; move the latter into train/ or "
                f"out of the folder"
            )
        if not deep or (unlabelled and "train" not in splits):
            return {}
        for path in unlabelled:
            self._report(path, "its name says that its photos have no classes: ignored")
        return {split: _inner_split(splits[split]) for split in SPLITS if split in splits}

    def _check_levels(self, folders: Sequence[Path]) -> None:
        """Refuse splits inside classes; report where the classes may be one level below."""
        contents = [_contents(path) for path in folders]
        if len(folders) < 2 or any(images for _, images in contents):
            return
        common = set.intersection(*(inner for inner, _ in contents))
        if len(common) < 2 or any(inner != common for inner, _ in contents):
            return
        inner = _enumerate([f"{name}/" for name in sorted(common, key=natural_key)])
        outer = _enumerate([f"{path.name}/" for path in folders])
        if all(split_of(name) for name in common):
            raise DataError(
                f"{str(self.root)!r} holds {outer}, each with the split folders {inner}; give a "
                f"folder of split folders, each with one folder per class"
            )
        reason = (
            f"treated as a class, as is each of {outer}, though all hold the folders {inner}; if "
            f"these are the classes, give one of the outer folders"
        )
        self._report(folders[0], reason)

    def _report(self, folder: Path, reason: str) -> None:
        self.problems.append(Problem(relative_name(folder, self.root), "folder", reason))


def is_output(folder: Path) -> bool:
    """Return whether a folder is a run, a comparison or an export, or holds only such folders."""
    if _has_output(folder):
        return True
    try:
        outputs = [
            entry.is_dir() and _has_output(folder / entry.name)
            for entry in entries_of(folder)
            if visible(entry.name)
        ]
    except OSError:
        return False  # it is refused when it is read
    return all(outputs) if outputs else folder.name in _OUTPUT_FOLDERS


def _has_output(folder: Path) -> bool:
    return any((folder / name).is_file() for name in _OUTPUT_FILES)


def _split_and_rest(name: str) -> tuple[Split | None, tuple[str, ...]]:
    """Return the split that a name mentions, and its words of another meaning."""
    words = re.findall(r"[^\W\d_]+", name.casefold())
    splits = [match[1] for word in words if (match := _SPLIT_WORD.fullmatch(word))]
    if len(splits) != 1:
        return None, ()
    rest = [w for w in words if not (_SPLIT_WORD.fullmatch(w) or _FILLER.fullmatch(w))]
    return SPLIT_WORDS[splits[0]], tuple(rest)


def _is_unlabelled(name: str) -> bool:
    words = re.findall(r"[^\W\d_]+", name.casefold())
    return any("pred" in word or "label" in word for word in words) and all(
        map(_UNLABELLED.fullmatch, words)
    )


def _inner_split(folder: Path) -> Path:
    """Return the folder with the class folders of a split, which may be ``train/train/``."""
    inner, images = _contents(folder)
    if len(inner) == 1 and not images:
        [name] = inner
        if name == folder.name or split_of(name) == split_of(folder.name) is not None:
            return _inner_split(folder / name)
    return folder


def _contents(folder: Path) -> tuple[set[str], bool]:
    """Return the names of the folders in a folder, and whether images are beside them."""
    folders: set[str] = set()
    images = False
    try:
        for entry in entries_of(folder):
            if entry.is_dir():
                folders |= {entry.name} if visible(entry.name) else set()
            elif not images:
                images = visible(entry.name) and named_image(Path(entry.name))
    except OSError:
        return set(), False  # it is refused when it is read
    return folders, images


def _files(folder: Path) -> list[Path]:
    return [path for path in list_folder(folder) if not path.is_dir()]


def _enumerate(names: Sequence[str]) -> str:
    shown = printable(", ".join(names[:_SHOWN]))
    return f"{shown} and {len(names) - _SHOWN} more" if len(names) > _SHOWN else shown or "none"
