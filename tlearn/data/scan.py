"""Scanning a data set: which files are images, of which class, in which given split."""

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from tlearn.data import images
from tlearn.data.data_source import DataSource, ImageFile
from tlearn.data.edits import Edits, say_edits
from tlearn.data.folders import named_image
from tlearn.data.layouts import Split, similar_labels, similarity
from tlearn.data.pixel_values import OwnRange, ranges_of
from tlearn.data.prefetch import prefetch_map, readers
from tlearn.data.problems import FOLDER_KINDS, Problem, summarize, with_ignored_table
from tlearn.data.read_data import ALLOWED, read_source
from tlearn.data.scan_cache import FileCheck, ScanCache
from tlearn.errors import DataError
from tlearn.progress import Progress, Silent
from tlearn.text import natural_key

CHECK_SIZE = 64  # readability is checked at the smallest scale a JPEG can be decoded at
INSPECTED_SIZE = 256  # pixels of the shorter side, at least, of images that are inspected
Inspect = Callable[[ImageFile, images.Examined, bytes], None]


@dataclass(frozen=True)
class Manifest:
    """The result of a scan: images in the order of their names, and the edits applied.

    Attributes:
        data: What was scanned.
        folder: The folder that the names of files are relative to.
        empty: The labels of class folders without a photo.
    """

    data: Path
    folder: Path
    files: tuple[ImageFile, ...]
    problems: tuple[Problem, ...]
    edits: Edits = field(default_factory=Edits)
    empty: tuple[str, ...] = ()

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
    def given(self) -> frozenset[Split | None]:
        """The splits that the data give images, and ``None`` if some are given none."""
        return frozenset(file.given for file in self.files)

    @cached_property
    def unreadable(self) -> tuple[Problem, ...]:
        """The problems of unreadable images."""
        return tuple(problem for problem in self.problems if problem.kind == "unreadable")

    def refuse_unreadable(self) -> None:
        """Raise a DataError if there are unreadable images, as ``--strict`` does."""
        if n := len(self.unreadable):
            raise DataError(
                f"{n} image{'s' if n > 1 else ''} cannot be read: {summarize(self.unreadable)}; "
                f"repair or remove them, or leave out --strict"
            )

    @cached_property
    def digest(self) -> str:
        """A hash of all classes and contents, independent of paths, names and order."""
        lines = sorted(f"{f.label}\0{f.content}\0{f.given}" for f in self.files)
        return hashlib.blake2b("\n".join(lines).encode(), digest_size=16).hexdigest()


def content_hash(data: bytes) -> str:
    """Return the BLAKE2b hash of a file's bytes, 32 hexadecimal digits."""
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def listed_images(source: DataSource) -> list[ImageFile]:
    """Return the files of a data source with their classes after edits, before they are read.

    Raises:
        DataError: If the edits cannot be read.
    """
    after = Edits.of(source.data).apply({file.name: file.label for file in source.files})
    return _with_labels(source, after.labels, unlabelled=False)[0]


def scan(
    data: Path | DataSource,
    group: str = "",
    progress: Progress | None = None,
    unlabelled: bool = False,
    cache: ScanCache | None = None,
    inspect: Inspect | None = None,
) -> Manifest:
    """Read every file of a data set; return the images and the problems.

    ``data`` holds class folders, or split folders that do (:mod:`tlearn.data.layouts`), or is a
    table (:mod:`tlearn.data.tables`), or an archive of either. Everything below a class folder
    belongs to that class. Hidden and system entries are ignored. Whether a file is an image is
    decided by decoding it, not by its name. The edits of the data set are applied
    (:mod:`tlearn.data.edits`).

    Args:
        data: The data set, or its files as they were listed.
        group: Regular expression searched in each path below its class folder; files with the
            same match (the first parenthesised group, if any) are of one group.
        progress: Reports progress.
        unlabelled: Whether to include images outside any class folder, with an empty label.
        cache: Results of earlier scans, used for unchanged files.
        inspect: Called with each image that is read and the bytes of its file, in several threads;
            the image is at least ``INSPECTED_SIZE`` pixels wide and high if the file is. Files that
            ``cache`` has are not read.

    Raises:
        DataError: If there is no such data set, no readable image in it, or a table is wrong.
    """
    progress = progress or Silent()
    source = data if isinstance(data, DataSource) else read_source(data, progress)
    data = source.data
    edits, pattern = Edits.of(data), re.compile(group) if group else None
    labels, groups, missing = edits.apply({file.name: file.label for file in source.files})
    problems = [
        Problem(edit.path, "edit", f"edited on {edit.time[:10]}, but no longer exists")
        for edit in missing
    ]
    labelled, stray = _with_labels(source, labels, unlabelled)
    if pattern and labelled:
        with_groups(source, labelled, pattern)  # refuses one that matches none before all is read
    say_edits(data, edits, problems, progress)
    cache = ScanCache() if cache is None else cache
    files, own_ranges, of_files = _read_files(labelled, cache, inspect, progress)
    problems += [*stray, *source.problems, *of_files]
    if not files:
        raise DataError(with_ignored_table(_no_images(source, problems, edits), problems))
    files, range_problems = _with_ranges(files, own_ranges)
    if pattern:
        files = with_groups(source, files, pattern)
    files = [replace(f, group=groups[f.name]) if f.name in groups else f for f in files]
    problems += range_problems
    problems += _duplicates(files)
    edited = {file.label for file in source.files if labels[file.name] != file.label}
    empty = _empty_class_folders(source, files, edited)
    problems += _empty_classes(source, files, empty)
    similar = similar_labels({file.label for file in files}).items()
    problems += [Problem(label, "class name", similarity(other)) for label, other in similar]
    for problem in problems:
        if problem.kind in FOLDER_KINDS:
            progress.say(f"{problem.name}: {problem.reason}")
    labels_of_empty = tuple(sorted({*empty.values()}, key=natural_key))
    return Manifest(data, source.folder, tuple(files), tuple(problems), edits, labels_of_empty)


def _read_files(
    labelled: Sequence[ImageFile], cache: ScanCache, inspect: Inspect | None, progress: Progress
) -> tuple[list[ImageFile], dict[str, OwnRange], list[Problem]]:
    """Read files; return the images among them, their own ranges of values, and the problems."""
    files: list[ImageFile] = []
    own_ranges: dict[str, OwnRange] = {}
    problems: list[Problem] = []

    def check(file: ImageFile) -> FileCheck:
        return cache.check(file.path, lambda path: _check_file(file, inspect))

    known = {file.name: cache.known(file.path) for file in labelled}
    files_to_read = (file for file in labelled if known[file.name] is None)
    threads = readers(file.path for file in labelled)
    unknown = prefetch_map(check, files_to_read, threads=threads)
    with progress.task("reading images", len(labelled), "files") as task:
        for file in labelled:
            result = known[file.name] or next(unknown)
            task.advance()
            if result.reason:
                problems.append(Problem(file.name, result.kind or "pixels", result.reason))
            if not result.kind:
                files.append(replace(file, content=result.content))
            if result.own:
                own_ranges[file.name] = result.own
    return files, own_ranges, problems


def with_groups(
    source: DataSource, files: Sequence[ImageFile], pattern: re.Pattern[str]
) -> list[ImageFile]:
    """Set the group of every file that the pattern matches; it has to match one at least.

    Raises:
        DataError: If it matches none, or a table gives groups, too.
    """
    if any(file.group for file in files):
        raise DataError(
            f"both {source.tables} and the group pattern {pattern.pattern!r} give groups; leave "
            f"out --group, or give the column of the table another name"
        )
    which = min(1, pattern.groups)  # the first group, or else all that matches
    matches = [pattern.search(file.below) for file in files]
    grouped = [
        replace(file, group=match[which] or "") if match else file
        for file, match in zip(files, matches, strict=True)
    ]
    if not any(file.group for file in grouped):
        raise DataError(
            f"the group pattern {pattern.pattern!r} matches none of the {len(files)} images; the "
            f"first is {files[0].name!r}"
        )
    return grouped


def _with_labels(
    source: DataSource, labels: Mapping[str, str | None], unlabelled: bool
) -> tuple[list[ImageFile], list[Problem]]:
    """Return the files after edits, without those excluded; report images without a class."""
    labelled: list[ImageFile] = []
    stray: list[ImageFile] = []
    for file in source.files:
        label = labels[file.name]
        if label or (label == "" and unlabelled and not source.tables):
            labelled.append(replace(file, label=label) if label != file.label else file)
        elif label == "" and named_image(file.path):
            stray.append(file)
    if stray and source.tables:
        more = f", as are {len(stray) - 1:,} more" if stray[1:] else ""
        reason = f"an image that is not in {source.tables}{more}: ignored"
        return labelled, [Problem(stray[0].name, "folder", reason)]
    reason = "an image outside any class folder"
    return labelled, [Problem(file.name, "no class", reason) for file in stray]


def _check_file(file: ImageFile, inspect: Inspect | None) -> FileCheck:
    """Hash a file and try to decode it."""
    try:
        data = images.read_bytes(file.path)
    except DataError as error:  # the disk's failure, perhaps over soon: not the file's
        return FileCheck(kind="unreadable", reason=str(error), lasting=False)
    try:
        with images.examining(data, INSPECTED_SIZE // 2 if inspect else CHECK_SIZE) as examined:
            if inspect:
                inspect(file, examined, data)
            return FileCheck(content=content_hash(data), reason=examined.note, own=examined.own)
    except DataError as error:
        foreign = str(error) in images.NO_IMAGE and not named_image(file.path)
        return FileCheck(kind="not an image" if foreign else "unreadable", reason=str(error))


def _with_ranges(
    files: list[ImageFile], own: Mapping[str, OwnRange]
) -> tuple[list[ImageFile], list[Problem]]:
    """Set the common ranges of all images of more than 8 bits, and report them."""
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
                f"black to white, unless a file declares its own range"
            )
            problems.append(Problem(names[0], "pixels", reason))
    return [replace(f, ranges=ranges) if f.name in own else f for f in files], problems


def _duplicates(files: list[ImageFile]) -> list[Problem]:
    """Report identical images, in one class or in two."""
    first: dict[str, ImageFile] = {}
    problems: list[Problem] = []
    for file in files:
        other = first.setdefault(file.content, file)
        if other is not file:
            where = "the same" if file.label == other.label else "another"
            reason = f"the same image as {other.name}, in {where} class"
            problems.append(Problem(file.name, "duplicate", reason))
    return problems


def _empty_class_folders(
    source: DataSource, files: Sequence[ImageFile], edited: set[str]
) -> dict[str, str]:
    """Return the class folders without an image, by name, unless edits moved their images."""
    used = {file.label for file in files} | edited
    return {name: label for name, label in source.class_folders.items() if label not in used}


def _empty_classes(
    source: DataSource, files: Sequence[ImageFile], empty: Mapping[str, str]
) -> list[Problem]:
    """Report class folders without an image, and classes without one in a given split."""
    labels = {file.label for file in files}
    reason = "a class folder without a readable image: not a class"
    problems = [Problem(name, "empty class", reason) for name in empty]
    for split, before in source.splits.items():
        present = {file.label for file in files if file.given == split}
        if present and split != "train":
            for label in sorted(labels - present, key=natural_key):
                reason = (
                    f"class {label!r} has no images in the {split} split: it is not measured there"
                )
                problems.append(Problem(before + label, "empty class", reason))
    return problems


def _no_images(source: DataSource, problems: list[Problem], edits: Edits) -> str:
    data = source.data
    if edits.lines:
        return (
            f"no images are left below {str(data)!r} after {len(edits.lines)} edits; "
            f"'tlearn data show' lists them, 'tlearn data undo' reverts them"
        )
    unreadable = [problem for problem in problems if problem.kind == "unreadable"]
    if unreadable:
        first = unreadable[0]
        return (
            f"none of the {len(unreadable)} images below {str(data)!r} can be read; the first, "
            f"{first.name!r}: {first.reason}"
        )
    if source.tables and source.files:
        return (
            f"none of the {len(source.files)} files that {source.tables} names is an image; the "
            f"first is {source.files[0].name!r}; correct the paths"
        )
    if any(problem.kind == "no class" for problem in problems):
        return (
            f"{str(data)!r} holds images but no class folders; put them into one folder per class"
        )
    return f"no images below {str(data)!r}; give {ALLOWED}"
