"""Scanning a data set: which files are images, of which class, in which given split."""

import hashlib
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path

import numpy as np

from tlearn.data.columns import code_texts, codes_of
from tlearn.data.data_source import DataSource
from tlearn.data.edits import EditedPhotos, Edits, say_edits
from tlearn.data.file_reading import Inspect, check_files
from tlearn.data.file_table import FileTable, ranges_text
from tlearn.data.folders import named_image
from tlearn.data.layouts import SPLITS, Split, similar_labels, similarity
from tlearn.data.pixel_values import DEFAULT_RANGES, OwnRange, ranges_of
from tlearn.data.problems import FOLDER_KINDS, Problem, summarize, with_ignored_table
from tlearn.data.read_data import ALLOWED, read_source
from tlearn.data.scan_cache import FileChecks, ScanCache
from tlearn.errors import DataError
from tlearn.progress import Progress, Silent
from tlearn.text import natural_key


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
    files: FileTable
    problems: tuple[Problem, ...]
    edits: Edits = field(default_factory=Edits)
    empty: tuple[str, ...] = ()

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """The class names in natural order, which is the order of the model's outputs."""
        return tuple(sorted(self.files.labels.present, key=natural_key))

    @cached_property
    def counts(self) -> dict[str, int]:
        """Images per class."""
        counts = self.files.labels.counts()
        return {label: counts[label] for label in self.labels}

    @cached_property
    def given(self) -> frozenset[Split | None]:
        """The splits that the data give images, and ``None`` if some are given none."""
        present = self.files.given.present
        return frozenset(split for split in (None, *SPLITS) if (split or "") in present)

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
        digest = hashlib.blake2b(digest_size=16)
        labels, given = self.files.labels, self.files.given
        texts = [[*labels.texts], [split or "None" for split in given.texts]]
        of_label, of_split = (_ranks(each) for each in texts)
        content = self.files.contents.view(">u8")
        order = np.lexsort(
            (of_split[given.numbers], content[:, 1], content[:, 0], of_label[labels.numbers])
        )
        between = ""
        for part in self.files[order].parts():
            columns = (part.labels.numbers.tolist(), part.hashes(), part.given.numbers.tolist())
            lines = (
                f"{texts[0][label]}\0{content}\0{texts[1][split]}"
                for label, content, split in zip(*columns, strict=True)
            )
            digest.update((between + "\n".join(lines)).encode())
            between = "\n"
        return digest.hexdigest()


def _ranks(texts: list[str]) -> np.ndarray:
    """Return the place of each text in their order."""
    return np.argsort(sorted(range(len(texts)), key=texts.__getitem__))


def listed_images(source: DataSource) -> FileTable:
    """Return the files of a data set with their classes after edits, before they are read.

    Raises:
        DataError: If the edits cannot be read.
    """
    after = Edits.of(source.data).apply(source.files)
    return _with_labels(source, after, np.flatnonzero(_used(source, after, unlabelled=False)))


def scan(
    data: Path | DataSource,
    group: str = "",
    progress: Progress | None = None,
    unlabelled: bool = False,
    cache: ScanCache | None = None,
    inspect: Inspect | None = None,
    cluster: str = "",
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
            the image is at least ``INSPECTED_SIZE`` pixels wide and high if the file is. All files
            are read then, on this machine.
        cluster: Where many files are read, as of :class:`tlearn.config.RunConfig`; here if empty.

    Raises:
        DataError: If there is no such data set, no readable image in it, or a table is wrong.
        ClusterError: If the cluster cannot read, or is lost.
    """
    progress = progress or Silent()
    source = data if isinstance(data, DataSource) else read_source(data, progress)
    data = source.data
    edits, pattern = Edits.of(data), re.compile(group) if group else None
    after = edits.apply(source.files)
    problems = [
        Problem(edit.path, "edit", f"edited on {edit.time[:10]}, but no longer exists")
        for edit in after.missing
    ]
    used = _used(source, after, unlabelled)
    stray, places = _stray(source, after, used), np.flatnonzero(used)
    listed = _with_labels(source, after, places)
    if pattern and listed:
        with_groups(source, listed, pattern)  # refuses one that matches none before all is read
    say_edits(data, edits, problems, progress)
    read = partial(check_files, inspect=inspect, cluster=cluster, say=progress.say)
    again = inspect is not None
    known = partial(cache.check, tree=source.tree, again=again) if cache else None
    files, images_at, own_ranges, of_files = _read_files(listed, read, known, progress)
    problems += [*stray, *source.problems, *of_files]
    if not files:
        raise DataError(with_ignored_table(_no_images(source, problems, edits), problems))
    files, range_problems = _with_ranges(files, own_ranges)
    if pattern:
        files = with_groups(source, files, pattern)
    files = _with_edited_groups(files, after, places[images_at])
    problems += range_problems
    problems += _duplicates(files)
    empty = _empty_class_folders(source, files, after)
    problems += _empty_classes(source, files, empty)
    similar = similar_labels(files.labels.present).items()
    problems += [Problem(label, "class name", similarity(other)) for label, other in similar]
    for problem in problems:
        if problem.kind in FOLDER_KINDS:
            progress.say(f"{problem.name}: {problem.reason}")
    labels_of_empty = tuple(sorted({*empty.values()}, key=natural_key))
    return Manifest(data, source.folder, files, tuple(problems), edits, labels_of_empty)


def _read_files(
    listed: FileTable,
    read: Callable[[FileTable], Iterator[FileChecks]],
    known: Callable[..., FileChecks] | None,
    progress: Progress,
) -> tuple[FileTable, np.ndarray, dict[int, OwnRange], list[Problem]]:
    """Read files, by way of what is ``known`` of them if that is given.

    Returns:
        The images among them, their positions among all, the own ranges of values of images by
        their positions among these, and the problems.
    """
    own_ranges: dict[int, OwnRange] = {}
    problems: list[Problem] = []

    with progress.task("reading images", len(listed), "files") as task:
        if known is None:
            checks = FileChecks(len(listed))
            for count in checks.fill(np.arange(len(listed)), read(listed)):
                task.advance(count)
        else:
            checks = known(listed, read, task)
    is_image = checks.is_image
    places = np.cumsum(is_image) - 1  # of images among these
    for place, result in checks.in_order():
        if result.reason:
            name = listed[place].name
            problems.append(Problem(name, result.kind or "pixels", result.reason))
        if result.own:
            own_ranges[int(places[place])] = result.own
    files = listed[is_image].replaced(content=checks.contents[is_image])
    return files, np.flatnonzero(is_image), own_ranges, problems


def with_groups(source: DataSource, files: FileTable, pattern: re.Pattern[str]) -> FileTable:
    """Set the group of every file that the pattern matches; it has to match one at least.

    Raises:
        DataError: If it matches none, or a table gives groups, too.
    """
    if {*files.groups.present} - {""}:
        raise DataError(
            f"both {source.tables} and the group pattern {pattern.pattern!r} give groups; leave "
            f"out --group, or give the column of the table another name"
        )
    which = min(1, pattern.groups)  # the first group, or else all that matches
    matches = (pattern.search(below) for below in files.below())
    groups = ((match[which] or "") if match else "" for match in matches)
    codes = codes_of(groups, [""])
    if len(codes.texts) == 1:
        raise DataError(
            f"the group pattern {pattern.pattern!r} matches none of the {len(files)} images; the "
            f"first is {files[0].name!r}"
        )
    return files.replaced(group=code_texts(*codes))


def _with_edited_groups(files: FileTable, after: EditedPhotos, places: np.ndarray) -> FileTable:
    """Set the groups that edits give, which are the last word.

    ``places`` are the positions of the files among those that the edits were applied to.
    """
    edited = after.groups.numbers[places]
    if not (edited >= 0).any():
        return files
    groups = files.groups
    numbers = np.where(edited >= 0, edited + len(groups.texts), groups.numbers)
    once = codes_of((*groups.texts, *after.groups.texts))
    return files.replaced(group=code_texts(once.numbers[numbers], once.texts))


def _used(source: DataSource, after: EditedPhotos, unlabelled: bool) -> np.ndarray:
    """Return which files are used, ``(n,)`` bool: not those excluded or without a class."""
    included = after.labels.numbers >= 0
    return included if unlabelled and not source.tables else included & ~after.labels.are("")


def _with_labels(source: DataSource, after: EditedPhotos, places: np.ndarray) -> FileTable:
    """Return the files at some places with their classes after edits."""
    labels = code_texts(after.labels.numbers[places], after.labels.texts)
    return source.files[places].replaced(label=labels)


def _stray(source: DataSource, after: EditedPhotos, used: np.ndarray) -> list[Problem]:
    """Report images without a class."""
    loose = source.files[after.labels.are("") & ~used].names.to_pylist()
    stray = [name for name in loose if named_image(Path(name))]
    if stray and source.tables:
        more = f", as are {len(stray) - 1:,} more" if stray[1:] else ""
        reason = f"an image that is not in {source.tables}{more}: ignored"
        return [Problem(stray[0], "folder", reason)]
    return [Problem(name, "no class", "an image outside any class folder") for name in stray]


def _with_ranges(files: FileTable, own: Mapping[int, OwnRange]) -> tuple[FileTable, list[Problem]]:
    """Set the common ranges of all images of more than 8 bits, and report them."""
    if not own:
        return files, []
    ranges = ranges_of(own.values())
    problems: list[Problem] = []
    for kind, (low, high) in (("integer", ranges.integer_range), ("float", ranges.float_range)):
        places = [place for place, values in own.items() if values.kind == kind]
        if places:
            more = f", as are {len(places) - 1} more" if places[1:] else ""
            reason = (
                f"of more than 8 bits ({kind}s){more}: values from {low:g} to {high:g} become "
                f"black to white, unless a file declares its own range"
            )
            problems.append(Problem(files[places[0]].name, "pixels", reason))
    numbers = np.zeros(len(files), np.int32)
    numbers[[*own]] = 1
    texts = [ranges_text(each) for each in (DEFAULT_RANGES, ranges)]
    return files.replaced(ranges=code_texts(numbers, texts)), problems


def _duplicates(files: FileTable) -> list[Problem]:
    """Report identical images, in one class or in two."""
    labels = files.labels.numbers
    copies, originals = files.copies()
    names = (files[places].names.to_pylist() for places in (copies, originals))
    problems: list[Problem] = []
    for name, other, same in zip(*names, labels[copies] == labels[originals], strict=True):
        reason = f"the same image as {other}, in {'the same' if same else 'another'} class"
        problems.append(Problem(name, "duplicate", reason))
    return problems


def _empty_class_folders(
    source: DataSource, files: FileTable, after: EditedPhotos
) -> dict[str, str]:
    """Return the class folders without an image, by name, unless edits moved their images."""
    before = source.files.labels
    changed = np.unique(before.numbers[before.numbers != after.labels.numbers])
    used = {*files.labels.present, *(before.texts[k] for k in changed)}
    return {name: label for name, label in source.class_folders.items() if label not in used}


def _empty_classes(source: DataSource, files: FileTable, empty: Collection[str]) -> list[Problem]:
    """Report class folders without an image, and classes without one in a given split."""
    labels = {*files.labels.present}
    reason = "a class folder without a readable image: not a class"
    problems = [Problem(name, "empty class", reason) for name in empty]
    for split, before in source.splits.items():
        present = {*files[files.given.are(split)].labels.present}
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
