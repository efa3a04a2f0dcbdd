"""From a data set to the images for training, validation and test."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from tlearn.config import RunConfig
from tlearn.csv_files import table_text
from tlearn.data.columns import NAMES, code_texts
from tlearn.data.data_source import DataSource
from tlearn.data.earlier_splits import NEW, EarlierSplits, describe_known, without_used
from tlearn.data.file_table import FileTable
from tlearn.data.layouts import SPLITS, Split
from tlearn.data.pixel_values import DEFAULT_RANGES, ValueRanges
from tlearn.data.problems import Problem, summarize, with_ignored_table
from tlearn.data.read_data import read_source
from tlearn.data.scan import Manifest, listed_images, scan, with_groups
from tlearn.data.scan_cache import ScanCache
from tlearn.data.split_drawing import draw, reaches_all
from tlearn.errors import DataError
from tlearn.progress import Progress

COLUMNS = ("file", "class", "split", "content", "group")  # of splits.csv


@dataclass(frozen=True)
class Splits:
    """The images of each split, in the order of the manifest."""

    labels: tuple[str, ...]
    train: FileTable
    validation: FileTable
    test: FileTable

    @property
    def ranges(self) -> ValueRanges:
        """The values that become black and white in images of more than 8 bits."""
        of_splits = (files.ranges for _, files in self.items())
        return next((ranges for ranges in of_splits if ranges != DEFAULT_RANGES), DEFAULT_RANGES)

    def items(self) -> Iterable[tuple[Split, FileTable]]:
        """Yield ``(split, files)`` for the three splits."""
        return zip(SPLITS, (self.train, self.validation, self.test), strict=True)

    def csv_parts(self) -> Iterator[str]:
        """Yield ``splits.csv`` in parts: name, class, split, content and group of every image."""
        none = self.train[:0]  # for the names of the columns
        yield table_text(pa.table(_columns("train", none), names=COLUMNS))
        for split, files in self.items():
            for part in files.parts():
                yield table_text(pa.table(_columns(split, part), names=COLUMNS), header=False)


def _columns(split: Split, files: FileTable) -> list[Any]:
    """Return the columns of ``splits.csv`` of some files."""
    labels, groups = (
        code_texts(c.numbers, c.texts).dictionary_decode() for c in (files.labels, files.groups)
    )
    splits = pa.repeat(pa.scalar(split, NAMES), len(files))
    return [files.names, labels, splits, pa.array(files.hashes(), NAMES), groups]


def images_per_class(splits: Splits) -> dict[str, dict[Split, int]]:
    """Return how many images of each class are in each split."""
    counts = {split: files.labels.counts() for split, files in splits.items()}
    return {label: {s: counts[s].get(label, 0) for s in SPLITS} for label in splits.labels}


def list_dataset(data: Path, group: str, progress: Progress) -> DataSource:
    """List the files of a data set that is to be trained on, before any image is read.

    Args:
        data: The data set.
        group: The group pattern.
        progress: Is told how the data was read.

    Raises:
        DataError: If the data cannot be used, whatever is in the images.
    """
    source = read_source(data, progress)
    files = listed_images(source)
    if files:
        _check_classes(data, files, source.problems)
        if group:
            with_groups(source, files, re.compile(group))
    else:
        scan(source)  # says why there are none
    return source


def load_dataset(
    data: Path | DataSource,
    config: RunConfig,
    progress: Progress,
    earlier: EarlierSplits | None = None,
) -> tuple[Manifest, Splits]:
    """Scan a data set and split it as a training does; report what is left out.

    Args:
        data: The data set, or its files as they were listed.
        config: The configuration of the training.
        progress: Reports progress.
        earlier: As of :func:`draw_splits`.

    Raises:
        DataError: If the data cannot be scanned or split, or ``config.strict`` and an image
            cannot be read.
    """
    folder = data.data if isinstance(data, DataSource) else data
    cache = ScanCache(folder)
    manifest = scan(data, config.group, progress, cache=cache, cluster=config.cluster)
    if config.strict:
        manifest.refuse_unreadable()
    if n := len(manifest.unreadable):
        progress.say(
            f"{n} image{'s' if n > 1 else ''} cannot be read and {'are' if n > 1 else 'is'} left "
            f"out: {summarize(manifest.unreadable)}"
        )
    splits, problems = draw_splits(manifest, config.val, config.test, config.seed, earlier)
    _say_given(config, manifest.given, progress)
    progress.say(_summary(splits))
    if earlier:
        progress.say(describe_known(splits.items(), earlier))
    for problem in problems:
        if problem.kind == "empty class":
            progress.say(problem.reason)
    return replace(manifest, problems=(*manifest.problems, *problems)), splits


def _say_given(config: RunConfig, given: frozenset[Split | None], progress: Progress) -> None:
    """Report options without effect, because there is a folder for that split."""
    for option, split in (("val", "validation"), ("test", "test")):
        value = getattr(config, option)
        if split in given and option in config.model_fields_set and value:
            reason = f"the {split} split is given by the data"
            progress.say(f"{option} {value} has no effect: {reason}")


def _summary(splits: Splits) -> str:
    sizes = {split: len(files) for split, files in splits.items() if files}
    parts = ", ".join(f"{n:,} {split}" for split, n in sizes.items())
    return f"{len(splits.labels):,} classes, {sum(sizes.values()):,} images: {parts}"


def draw_splits(
    manifest: Manifest,
    validation: float,
    test: float,
    seed: int,
    earlier: EarlierSplits | None = None,
) -> tuple[Splits, tuple[Problem, ...]]:
    """Put every image into a split.

    Given splits (by folders or a table) are used unchanged; the others are
    drawn from the training images, stratified by class: a hash of the seed and the content (or the
    group) orders the images, the first are validation, the last test. So few images change their
    split when others are added or removed. Fractions of an image are rounded at random. With many
    small classes some have none in a split, which is reported; else each has one at least.

    Duplicates and files of one group are put into one split. If a given validation or test folder
    holds one of them, the others are left out of training, and for a given test folder out of
    validation too; this is reported.

    Images of a run that is continued stay in their splits, whatever folder they are in, but that a
    folder for validation or test loses those that were used before.

    Args:
        manifest: The scanned data.
        validation: Fraction for validation, over 0 and under 1.
        test: Fraction for test, 0 for none.
        seed: The seed of the draw.
        earlier: Where images were in a run that is continued.

    Returns:
        The splits, and the images left out of them.

    Raises:
        DataError: If a class has no training image, or validation or a drawn test is empty.
    """
    _check_counts(manifest)
    files = manifest.files
    before = np.full(len(files), NEW)
    if earlier is not None:
        before = earlier.with_groups_of(files).of(files)
    given_test, used = without_used(files, "test", before)
    given_validation, used_too = without_used(files, "validation", before)
    copies = _Copies.of(files)
    given_validation, left_out = copies.without(given_validation, given_test, "validation")
    pool, more = copies.without(
        np.flatnonzero(files.given.are("", "train")),
        np.concatenate([given_validation, given_test]),
        "training",
    )
    fractions: dict[Split, float] = {
        "validation": 0.0 if len(given_validation) else validation,
        "test": 0.0 if len(given_test) else test,
    }
    split_of = np.full(len(files), NEW)
    split_of[given_validation], split_of[given_test] = (SPLITS.index(s) for s in SPLITS[1:])
    split_of[pool] = before[pool]
    new = pool[before[pool] == NEW]
    split_of[new] = draw(files[new], fractions, seed)
    parts = (files[np.flatnonzero(split_of == number)] for number in range(len(SPLITS)))
    splits = Splits(manifest.labels, *parts)
    missing = _missing_classes(splits, fractions, fixed=len(new) < len(pool))
    return splits, (*used, *used_too, *left_out, *more, *missing)


def _check_classes(data: Path, files: FileTable, problems: Sequence[Problem]) -> None:
    """Refuse files that cannot be trained on, whichever of them are readable images."""
    if not files:
        raise DataError(f"{str(data)!r} holds no photos yet; add some to its classes")
    if len(files.labels.present) < 2:
        reason = (
            f"{str(data)!r} has only one class, {files[0].label!r}; a classifier needs two or "
            f"more classes with images"
        )
        raise DataError(with_ignored_table(reason, problems))
    if {*files.given.present} <= {"validation", "test"}:
        raise DataError(
            f"{str(data)!r} has no images of the train split to train on; add a train/ "
            f"folder, or in a table lines of that split, or give data without splits"
        )


def _check_counts(manifest: Manifest) -> None:
    _check_classes(manifest.data, manifest.files, manifest.problems)
    small = [label for label, count in manifest.counts.items() if count < 2]
    if small:
        raise DataError(
            f"class {small[0]!r} has only one image; every class needs two or more, one to train "
            f"on and one to check with"
        )


def _missing_classes(
    splits: Splits, fractions: Mapping[Split, float], fixed: bool
) -> list[Problem]:
    """Report the classes that have no image in a split that was drawn, or in part was ``fixed``.

    Raises:
        DataError: If such a class is to be trained on, or the split is for all classes, or empty.
    """
    problems: list[Problem] = []
    totals = sum((Counter(files.labels.counts()) for _, files in splits.items()), Counter[str]())
    for split, files in splits.items():
        fraction = fractions.get(split, 0.0)
        if split != "train" and not fraction:
            continue  # given, or not wanted
        present = {*files.labels.present}
        missing = [label for label in splits.labels if label not in present]
        required = not fixed and reaches_all(totals, fraction)
        if missing and (split == "train" or not files or required):
            raise DataError(
                f"class {missing[0]!r} has no image in the {split} split, of {totals[missing[0]]} "
                f"in all; give it more images, in the {split} folder if there is one, or groups "
                f"that can be divided, or leave the class out"
            )
        if missing:
            more = f" and {len(missing) - 1} other classes have" if missing[1:] else " has"
            reason = f"class {missing[0]!r}{more} no image in the {split} split, which is too small"
            problems.append(Problem(missing[0], "empty class", reason))
    return problems


@dataclass(frozen=True)
class _Copies:
    """Which files are copies of each other, or of one group.

    Attributes:
        files: The files.
        contents: The number of each file's content.
        groups: The number of each file's group; -1 for none.
    """

    files: FileTable
    contents: np.ndarray
    groups: np.ndarray

    @classmethod
    def of(cls, files: FileTable) -> "_Copies":
        """Compare the contents and groups of files."""
        groups = np.where(files.groups.are(""), -1, files.groups.numbers)
        return cls(files, files.content_numbers(), groups)

    def without(
        self, chosen: np.ndarray, held_back: np.ndarray, split: str
    ) -> tuple[np.ndarray, tuple[Problem, ...]]:
        """Remove files with a duplicate or their group in what is held back, by positions."""
        copies = _first_with_same(self.contents, chosen, held_back)
        kin = np.where(copies < 0, _first_with_same(self.groups, chosen, held_back), -1)
        left_out = np.flatnonzero((copies >= 0) | (kin >= 0))
        problems: list[Problem] = []
        columns = (numbers[left_out].tolist() for numbers in (chosen, copies, kin))
        for place, copy, other in zip(*columns, strict=True):
            file = self.files[place]
            if copy >= 0:
                why = f"the same image as {self.files[copy].name}; left out of {split}"
                problems.append(Problem(file.name, "duplicate", why))
            else:
                its = f"of group {file.group!r} as is {self.files[other].name}"
                problems.append(Problem(file.name, "group", f"{its}; left out of {split}"))
        return np.delete(chosen, left_out), tuple(problems)


def _first_with_same(numbers: np.ndarray, chosen: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return for each file that is chosen the first other of the same number, or -1.

    Files are given by their positions. Of those with a negative number none is the same.
    """
    first = np.full(int(numbers.max(initial=-1)) + 2, -1)
    first[numbers[others][::-1]] = others[::-1]  # the first one is written last
    first[-1] = -1
    return np.asarray(first[numbers[chosen]])
