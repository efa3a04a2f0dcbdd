"""From a data set to the images for training, validation and test."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tlearn.config import RunConfig
from tlearn.csv_files import csv_text
from tlearn.data.data_source import DataSource, ImageFile
from tlearn.data.earlier_splits import (
    describe_known,
    earlier_split,
    with_groups_of,
    without_used,
)
from tlearn.data.layouts import SPLITS, Split
from tlearn.data.pixel_values import DEFAULT_RANGES, ValueRanges
from tlearn.data.problems import Problem, summarize, with_ignored_table
from tlearn.data.read_data import read_source
from tlearn.data.scan import Manifest, listed_images, scan, with_groups
from tlearn.data.split_drawing import draw, reaches_all
from tlearn.errors import DataError
from tlearn.progress import Progress

COLUMNS = ("file", "class", "split", "content", "group")  # of splits.csv


@dataclass(frozen=True)
class Splits:
    """The images of each split, in the order of the manifest."""

    labels: tuple[str, ...]
    train: tuple[ImageFile, ...]
    validation: tuple[ImageFile, ...]
    test: tuple[ImageFile, ...] = ()

    @property
    def ranges(self) -> ValueRanges:
        """The values that become black and white in images of more than 8 bits."""
        of_files = (file.ranges for _, files in self.items() for file in files)
        return next((ranges for ranges in of_files if ranges != DEFAULT_RANGES), DEFAULT_RANGES)

    def items(self) -> Iterable[tuple[Split, tuple[ImageFile, ...]]]:
        """Yield ``(split, files)`` for the three splits."""
        return zip(SPLITS, (self.train, self.validation, self.test), strict=True)

    def to_csv(self) -> str:
        """Return ``splits.csv``: file, class, split, content hash and group of every image."""
        files = ((split, file) for split, files in self.items() for file in files)
        rows = ((f.name, f.label, split, f.content, f.group) for split, f in files)
        return csv_text(COLUMNS, rows)


def images_per_class(splits: Splits) -> dict[str, dict[Split, int]]:
    """Return how many images of each class are in each split."""
    counts = {label: dict.fromkeys(SPLITS, 0) for label in splits.labels}
    for split, files in splits.items():
        for file in files:
            counts[file.label][split] += 1
    return counts


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
    if files := listed_images(source):
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
    earlier: Mapping[str, Split] | None = None,
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
    manifest = scan(data, config.group, progress)
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
    earlier: Mapping[str, Split] | None = None,
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
        earlier: Where images were, as :func:`split_by_unit` returns.

    Returns:
        The splits, and the images left out of them.

    Raises:
        DataError: If a class has no training image, or validation or a drawn test is empty.
    """
    _check_counts(manifest)
    pool = [f for f in manifest.files if f.given in (None, "train")]
    earlier = with_groups_of(manifest.files, earlier or {})
    given_test, used = without_used(manifest.files, "test", earlier)
    given_validation, used_too = without_used(manifest.files, "validation", earlier)
    given_validation, left_out = _without_copies(given_validation, given_test, "validation")
    pool, more = _without_copies(pool, [*given_validation, *given_test], "training")
    before = {f.name: split for f in pool if (split := earlier_split(f, earlier))}
    fractions: dict[Split, float] = {
        "validation": 0.0 if given_validation else validation,
        "test": 0.0 if given_test else test,
    }
    drawn = draw([f for f in pool if f.name not in before], fractions, seed)
    for f in pool:
        if f.name in before:
            drawn[before[f.name]].append(f)
    drawn["validation"] += given_validation
    drawn["test"] += given_test
    order = {f.name: i for i, f in enumerate(manifest.files)}
    parts = (tuple(sorted(drawn[split], key=lambda f: order[f.name])) for split in SPLITS)
    splits = Splits(manifest.labels, *parts)
    missing = _missing_classes(splits, fractions, fixed=bool(before))
    return splits, (*used, *used_too, *left_out, *more, *missing)


def _check_classes(data: Path, files: Sequence[ImageFile], problems: Sequence[Problem]) -> None:
    """Refuse files that cannot be trained on, whichever of them are readable images."""
    if not files:
        raise DataError(f"{str(data)!r} holds no photos yet; add some to its classes")
    if len({file.label for file in files}) < 2:
        reason = (
            f"{str(data)!r} has only one class, {files[0].label!r}; a classifier needs two or "
            f"more classes with images"
        )
        raise DataError(with_ignored_table(reason, problems))
    if all(file.given in ("validation", "test") for file in files):
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
    totals = Counter(file.label for _, files in splits.items() for file in files)
    for split, files in splits.items():
        fraction = fractions.get(split, 0.0)
        if split != "train" and not fraction:
            continue  # given, or not wanted
        present = {file.label for file in files}
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


def _without_copies(
    files: Sequence[ImageFile], held_back: Sequence[ImageFile], split: str
) -> tuple[list[ImageFile], tuple[Problem, ...]]:
    """Remove from ``files`` those with a duplicate or their group in ``held_back``."""
    copies = {f.content: f.name for f in reversed(held_back)}
    groups = {f.group: f.name for f in reversed(held_back) if f.group}
    remaining: list[ImageFile] = []
    left_out: list[Problem] = []
    for f in files:
        if f.content in copies:
            why = f"the same image as {copies[f.content]}; left out of {split}"
            left_out.append(Problem(f.name, "duplicate", why))
        elif f.group in groups:
            why = f"of group {f.group!r} as is {groups[f.group]}; left out of {split}"
            left_out.append(Problem(f.name, "group", why))
        else:
            remaining.append(f)
    return remaining, tuple(left_out)
