"""A data folder to a manifest: which files are images, of which class, in which given split."""

import hashlib
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path

from tlearn.data import images
from tlearn.data.edits import Edits, say_edits
from tlearn.data.folders import named_image, walk
from tlearn.data.layouts import FolderLayout, Split, read_layout, similar_labels
from tlearn.data.pixel_values import DEFAULT_RANGES, OwnRange, ValueRanges, ranges_of
from tlearn.data.prefetch import prefetch_map
from tlearn.data.problems import Problem, summarize
from tlearn.data.scan_cache import FileCheck, ScanCache
from tlearn.errors import DataError
from tlearn.progress import Progress, Silent
from tlearn.text import encode_name, natural_key

_FOREIGN = frozenset({images.NOT_AN_IMAGE, images.EMPTY, images.ZEROS})
PROBE_SIZE = 64  # readability is checked at the smallest scale a JPEG can be decoded at


@dataclass(frozen=True)
class ImageFile:
    """One readable image.

    Attributes:
        path: Where it is.
        name: Its path below the data folder, with ``/``, as :func:`tlearn.text.encode_name` writes
            it.
        label: Its class.
        content: BLAKE2b hash of its bytes, 32 hexadecimal digits.
        given: The split of the ``train/``, ``validation/`` or ``test/`` folder that it is in.
        group: What the group pattern found in its name; files of one group stay together.
        below: Its path below its class folder.
        ranges: The values that become black and white, where it has more than 8 bits.
    """

    path: Path
    name: str
    label: str
    content: str
    given: Split | None = None
    group: str = ""
    below: str = ""
    ranges: ValueRanges = DEFAULT_RANGES


@dataclass(frozen=True)
class Manifest:
    """What a scan found, files in the order of their names, and the edits that were applied."""

    root: Path
    files: tuple[ImageFile, ...]
    problems: tuple[Problem, ...]
    edits: Edits = field(default_factory=Edits)

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """The class names in natural order, which is the order of the model's outputs."""
        return tuple(sorted({file.label for file in self.files}, key=natural_key))

    @cached_property
    def counts(self) -> dict[str, int]:
        """Images per class."""
        counts = Counter(file.label for file in self.files)
        return {label: counts[label] for label in self.labels}

    @cached_property
    def unreadable(self) -> tuple[Problem, ...]:
        """The images that cannot be read."""
        return tuple(problem for problem in self.problems if problem.kind == "unreadable")

    def refuse_unreadable(self) -> None:
        """Refuse images that cannot be read, as ``--strict`` does.

        Raises:
            DataError: If there are any.
        """
        if self.unreadable:
            n = len(self.unreadable)
            raise DataError(
                f"{n} image{'s' if n > 1 else ''} cannot be read: {summarize(self.unreadable)}; "
                f"mend or remove them, or leave out --strict"
            )

    @cached_property
    def digest(self) -> str:
        """A hash of all classes and contents, independent of paths, names and order."""
        lines = sorted(f"{f.label}\0{f.content}\0{f.given}" for f in self.files)
        return hashlib.blake2b("\n".join(lines).encode(), digest_size=16).hexdigest()


def content_hash(data: bytes) -> str:
    """Return the hash that stands for a file's content everywhere."""
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def scan(
    root: Path,
    group: str = "",
    progress: Progress | None = None,
    unlabelled: bool = False,
    cache: ScanCache | None = None,
) -> Manifest:
    """Read every file below ``root`` and return what is usable and what is not.

    ``root`` holds class folders, or split folders that do (:mod:`tlearn.data.layouts`).
    Everything below a class folder belongs to that class.
    Hidden and system entries are passed over. Whether a file is an image is decided by decoding
    it, not by its name. The edits of the folder are applied (:mod:`tlearn.data.edits`).

    Args:
        root: The data folder.
        group: Regular expression searched in each path below its class folder; files with the
            same match (the first parenthesised group where there is one) are of one group.
        progress: Where to show how far it is.
        unlabelled: Whether images outside any class folder are taken too, with an empty label.
        cache: What earlier scans read; what has not changed since is not read again.

    Raises:
        DataError: If there is no such folder or nothing usable in it.
    """
    check_folder(root)
    edits, pattern = Edits.of(root), re.compile(group) if group else None
    progress = progress or Silent()
    layout = read_layout(root)
    progress.say(str(layout))
    listed = list_entries(layout)
    entries, problems = _edited(edits, listed, unlabelled)
    say_edits(root, edits, problems, progress)
    problems += layout.problems
    files: list[ImageFile] = []
    own: dict[str, OwnRange] = {}
    with progress.task("reading images", len(entries), "files") as task:
        checks = prefetch_map(partial(_check, cache=cache), entries)
        for entry, check in zip(entries, checks, strict=True):
            task.advance()
            if check.reason:
                problems.append(Problem(entry.name, check.kind or "pixels", check.reason))
            if not check.kind:
                files.append(_image_file(entry, check.content))
            if check.own:
                own[entry.name] = check.own
    files, deep = _with_ranges(files, own)
    problems += deep
    if pattern and files:
        files = _grouped(files, pattern)
    problems += _copies(files)
    problems += _empty_classes(layout, files, _edited_labels(listed, entries))
    if not files:
        raise DataError(_nothing_found(root, problems, edits))
    manifest = Manifest(root, tuple(files), tuple(problems), edits)
    return replace(manifest, problems=(*problems, *similar_labels(manifest.labels)))


def check_folder(root: Path) -> None:
    """Refuse what is no folder.

    Raises:
        DataError: If it is none.
    """
    if not root.is_dir():
        what = "a file" if root.exists() else "not there"
        raise DataError(
            f"the data folder {str(root)!r} is {what}; give a folder that holds one folder of "
            f"images per class"
        )


def _grouped(files: list[ImageFile], pattern: re.Pattern[str]) -> list[ImageFile]:
    """Note the group of every file that has one.

    Raises:
        DataError: If none has: a pattern that never matches would protect nothing.
    """

    def group_of(file: ImageFile) -> str:
        match = pattern.search(file.below)
        if match is None:
            return ""
        return (match.group(1) or "") if match.re.groups else match.group(0)

    grouped = [replace(file, group=group_of(file)) for file in files]
    if not any(file.group for file in grouped):
        raise DataError(
            f"the group pattern {pattern.pattern!r} matches none of the {len(files)} images; the "
            f"first is {files[0].name!r}"
        )
    return grouped


@dataclass(frozen=True)
class Entry:
    """A file that a scan lists, with the class of its folder; empty where it is in none."""

    path: Path
    name: str
    label: str
    given: Split | None
    below: str


def list_entries(layout: FolderLayout) -> list[Entry]:
    """List the files of a data folder, before edits: those outside any class folder first.

    Raises:
        DataError: If a folder cannot be listed.
    """
    root = layout.root
    entries = [
        Entry(path, relative_name(path, root), "", split, encode_name(path.name))
        for path, split in layout.stray
    ]
    for folder, split in layout.classes:
        label = class_label(folder.name)
        above = frozenset({root.resolve(), folder.parent.resolve()})
        start = len(relative_name(folder, root)) + 1
        for path in walk(folder, above):
            name = relative_name(path, root)
            entries.append(Entry(path, name, label, split, name[start:]))
    return entries


def _edited(
    edits: Edits, listed: Sequence[Entry], unlabelled: bool
) -> tuple[list[Entry], list[Problem]]:
    """Apply edits to what was listed; report those about files that are gone, and stray images."""
    labels, gone = edits.apply({entry.name: entry.label for entry in listed})
    problems = [
        Problem(edit.path, "edit", f"edited on {edit.time[:10]}, and no longer there")
        for edit in gone
    ]
    entries: list[Entry] = []
    for entry in listed:
        label = labels[entry.name]
        if label or (label == "" and unlabelled):
            entries.append(replace(entry, label=label))
        elif label == "" and named_image(entry.path):
            problems.append(Problem(entry.name, "no class", "an image outside any class folder"))
    return entries, problems


def _edited_labels(listed: Sequence[Entry], entries: Sequence[Entry]) -> set[str]:
    """Return the classes that edits took photos from."""
    after = {entry.name: entry.label for entry in entries}
    return {entry.label for entry in listed if after.get(entry.name) != entry.label}


def relative_name(path: Path, root: Path) -> str:
    """Return the name of a file or folder as manifests have it: its path below the data folder."""
    return encode_name(path.relative_to(root).as_posix())


def class_label(folder_name: str) -> str:
    """Return the class that a folder of this name stands for, in one Unicode spelling (NFC)."""
    return unicodedata.normalize("NFC", encode_name(folder_name))


def _check(entry: Entry, cache: ScanCache | None) -> FileCheck:
    """Hash a file and try to decode it, or take what an earlier scan found."""
    return _look(entry.path) if cache is None else cache.examined(entry.path, _look)


def _look(path: Path) -> FileCheck:
    try:
        data = images.read_bytes(path)
    except DataError as error:  # the disk's failure, perhaps over soon: not the file's
        return FileCheck(kind="unreadable", reason=str(error), lasting=False)
    try:
        own, note = images.examine(data, PROBE_SIZE)
    except DataError as error:
        foreign = str(error) in _FOREIGN and not named_image(path)
        return FileCheck(kind="not an image" if foreign else "unreadable", reason=str(error))
    return FileCheck(content=content_hash(data), reason=note, own=own)


def _image_file(entry: Entry, content: str) -> ImageFile:
    return ImageFile(entry.path, entry.name, entry.label, content, entry.given, "", entry.below)


def _with_ranges(
    files: list[ImageFile], own: Mapping[str, OwnRange]
) -> tuple[list[ImageFile], list[Problem]]:
    """Give images of more than 8 bits the ranges that all of them need, and say which these are."""
    if not own:
        return files, []
    ranges = ranges_of(own.values())
    problems: list[Problem] = []
    for kind, (low, high) in (("integer", ranges.integer_range), ("float", ranges.float_range)):
        names = [name for name, values in own.items() if values.kind == kind]
        if names:
            more = f", as are {len(names) - 1} more" if names[1:] else ""
            reason = (
                f"of more than 8 bits ({kind}s){more}: values from {low:g} to {high:g} become "
                f"black to white, unless a file says otherwise"
            )
            problems.append(Problem(names[0], "pixels", reason))
    return [replace(f, ranges=ranges) if f.name in own else f for f in files], problems


def _copies(files: list[ImageFile]) -> list[Problem]:
    """Report identical images, in one class or in two."""
    by_content: dict[str, list[ImageFile]] = defaultdict(list)
    for file in files:
        by_content[file.content].append(file)
    return [
        Problem(
            file.name,
            "duplicate",
            f"the same image as {first.name}, in "
            f"{'the same' if file.label == first.label else 'another'} class",
        )
        for first, *rest in by_content.values()
        for file in rest
    ]


def _empty_classes(
    layout: FolderLayout, files: Sequence[ImageFile], edited: set[str]
) -> list[Problem]:
    """Report class folders without an image, and classes without one in a split folder."""
    labels = {file.label for file in files}
    problems = [
        Problem(
            relative_name(folder, layout.root),
            "empty class",
            "a class folder without a readable image: not a class",
        )
        for folder, _ in layout.classes
        if class_label(folder.name) not in labels | edited
    ]
    for split, folder in layout.splits.items():
        there = {file.label for file in files if file.given == split}
        if there and split != "train":
            problems += [
                Problem(
                    relative_name(folder / label, layout.root),
                    "empty class",
                    f"class {label!r} has no images in the {split} split: it is not measured there",
                )
                for label in sorted(labels - there, key=natural_key)
            ]
    return problems


def _nothing_found(root: Path, problems: list[Problem], edits: Edits) -> str:
    if edits.lines:
        return (
            f"no images are left below {str(root)!r} after {len(edits.lines)} edits; "
            f"'tlearn data show' lists them, 'tlearn data undo' takes them back"
        )
    unreadable = [problem for problem in problems if problem.kind == "unreadable"]
    if unreadable:
        first = unreadable[0]
        return (
            f"none of the {len(unreadable)} images below {str(root)!r} can be read; the first, "
            f"{first.name!r}: {first.reason}"
        )
    if any(problem.kind == "no class" for problem in problems):
        return (
            f"{str(root)!r} holds images but no class folders; put them into one folder per class"
        )
    return f"no images below {str(root)!r}; give a folder that holds one folder of images per class"
