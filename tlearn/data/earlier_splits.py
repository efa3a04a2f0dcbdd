"""Where images were in a run that is continued: what was trained on never measures."""

from collections.abc import Iterable, Mapping, Sequence

from tlearn.data.data_source import ImageFile
from tlearn.data.layouts import SPLITS, Split
from tlearn.data.problems import Problem


def split_by_unit(rows: Sequence[Mapping[str, str]]) -> dict[str, Split]:
    """Return the split of each content and each group in a table such as ``splits.csv``.

    Of a group with images in several splits it is the one that is used first.
    """
    by_unit: dict[str, Split] = {}
    for split in reversed(SPLITS):
        for row in rows:
            if row["split"] == split:
                units = [f"content {row['content']}"]
                units += [f"group {row['group']}"] if row["group"] else []
                by_unit |= dict.fromkeys(units, split)
    return by_unit


def with_groups_of(files: Iterable[ImageFile], earlier: Mapping[str, Split]) -> Mapping[str, Split]:
    """Return it with the groups that known images are in now: there may have been others."""
    rows = [
        {"content": file.content, "group": file.group, "split": earlier[f"content {file.content}"]}
        for file in files
        if f"content {file.content}" in earlier
    ]
    return {**split_by_unit(rows), **earlier}


def earlier_split(file: ImageFile, earlier: Mapping[str, Split]) -> Split | None:
    """Return the split that an image or its group was in; ``None`` if it is new."""
    return earlier.get(f"content {file.content}") or earlier.get(f"group {file.group}")


def without_used(
    files: Iterable[ImageFile], split: Split, earlier: Mapping[str, Split]
) -> tuple[list[ImageFile], tuple[Problem, ...]]:
    """Return the files that are given for a split, without those that were used before it."""
    unused: list[ImageFile] = []
    left_out: list[Problem] = []
    for file in files:
        if file.given == split:
            before = earlier_split(file, earlier) or split
            if SPLITS.index(before) < SPLITS.index(split):
                why = f"a {before} image of the run that is continued; left out of {split}"
                left_out.append(Problem(file.name, "trained on", why))
            else:
                unused.append(file)
    return unused, tuple(left_out)


def describe_known(
    splits: Iterable[tuple[Split, Sequence[ImageFile]]], earlier: Mapping[str, Split]
) -> str:
    """Return a line about how many images of each split were in the run that is continued."""
    counts = {
        split: sum(f"content {file.content}" in earlier for file in files)
        for split, files in splits
    }
    parts = ", ".join(f"{n:,} {split}" for split, n in counts.items() if n)
    return f"images of the run that is continued, which stay in their splits: {parts or 'none'}"
