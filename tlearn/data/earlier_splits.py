"""Where images were in a run that is continued: what was trained on never measures."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tlearn.data.columns import code_texts, fixed_array, hashes_of
from tlearn.data.file_table import FileTable
from tlearn.data.layouts import SPLITS, Split
from tlearn.data.problems import Problem

NEW = -1  # in place of the position of a split: an image that was in none


@dataclass(frozen=True)
class _Units:
    """The split of each of many contents or groups: the one that is used first of several.

    Attributes:
        keys: The contents or groups, an Arrow array without repetitions.
        splits: The positions of their splits among :data:`SPLITS`.
    """

    keys: Any
    splits: np.ndarray

    @classmethod
    def of(cls, keys: Any, splits: np.ndarray) -> "_Units":
        """Make it of keys that may come again."""
        codes = keys.dictionary_encode()
        first = np.full(len(codes.dictionary), len(SPLITS), np.int8)
        np.minimum.at(first, codes.indices.to_numpy(zero_copy_only=False), splits)
        return cls(codes.dictionary, first)

    def find(self, keys: Any) -> np.ndarray:
        """Return the position of the split of each key, or :data:`NEW`."""
        places = pc.index_in(keys, value_set=self.keys).fill_null(len(self.keys))
        splits = np.append(self.splits, np.int8(NEW))
        return np.asarray(splits[places.to_numpy(zero_copy_only=False)])


@dataclass(frozen=True)
class EarlierSplits:
    """The splits of contents and groups in runs that are continued."""

    contents: _Units
    groups: _Units

    @classmethod
    def of_rows(cls, rows: Any) -> "EarlierSplits":
        """Make it of an Arrow table with the texts ``content``, ``group`` and ``split``."""
        splits = pc.index_in(rows["split"], value_set=pa.array(SPLITS, rows["split"].type))
        numbers = splits.to_numpy().astype(np.int8)
        hashes = hashes_of(rows["content"].combine_chunks())
        groups = rows["group"].combine_chunks()
        named = pc.not_equal(groups, "")
        return cls(
            _Units.of(fixed_array(hashes), numbers),
            _Units.of(groups.filter(named), numbers[named.to_numpy(zero_copy_only=False)]),
        )

    def known(self, files: FileTable) -> np.ndarray:
        """Return which images are among the contents, ``(n,)`` bool."""
        return np.asarray(self.contents.find(files.content_array()) != NEW)

    def trained(self, files: FileTable) -> np.ndarray:
        """Return which images, or others of their groups, were trained on, ``(n,)`` bool."""
        by_content, by_group = self._find(files)
        train = SPLITS.index("train")
        return np.asarray((by_content == train) | (by_group == train))

    def of(self, files: FileTable) -> np.ndarray:
        """Return the position of the split that each image or its group was in, or ``NEW``."""
        by_content, by_group = self._find(files)
        return np.where(by_content != NEW, by_content, by_group)

    def _find(self, files: FileTable) -> tuple[np.ndarray, np.ndarray]:
        groups = files.groups
        by_group = self.groups.find(pa.array(groups.texts, pa.large_string()))
        return self.contents.find(files.content_array()), by_group[groups.numbers]

    def with_groups_of(self, files: FileTable) -> "EarlierSplits":
        """Return it with the groups that known images are in now: there may have been others."""
        groups = files.groups
        splits = self.contents.find(files.content_array())
        known = (splits != NEW) & ~groups.are("")
        names = code_texts(groups.numbers[known], groups.texts).dictionary_decode()
        now = _Units.of(names, splits[known])
        new = self.groups.find(now.keys) == NEW
        keys = pa.concat_arrays([self.groups.keys, now.keys.filter(pa.array(new))])
        return EarlierSplits(
            self.contents, _Units(keys, np.append(self.groups.splits, now.splits[new]))
        )


def without_used(
    files: FileTable, split: Split, earlier: np.ndarray
) -> tuple[np.ndarray, tuple[Problem, ...]]:
    """Return the files that are given for a split, without those that were used before it.

    Args:
        files: All files.
        split: The split.
        earlier: The position of the split that each was in, as of :meth:`EarlierSplits.of`.

    Returns:
        Their positions, and the files that are left out.
    """
    given = files.given.are(split)
    used = given & (earlier != NEW) & (earlier < SPLITS.index(split))
    names = files[used].names.to_pylist()
    problems = [
        Problem(
            name,
            "trained on",
            f"a {SPLITS[before]} image of the run that is continued; left out of {split}",
        )
        for name, before in zip(names, earlier[used].tolist(), strict=True)
    ]
    return np.flatnonzero(given & ~used), tuple(problems)


def describe_known(splits: Iterable[tuple[Split, FileTable]], earlier: EarlierSplits) -> str:
    """Return a line about how many images of each split were in the run that is continued."""
    counts = {split: int(earlier.known(files).sum()) for split, files in splits}
    parts = ", ".join(f"{n:,} {split}" for split, n in counts.items() if n)
    return f"images of the run that is continued, which stay in their splits: {parts or 'none'}"
