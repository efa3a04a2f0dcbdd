"""Views of many images: whose, and which of theirs."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import groupby
from typing import overload

import numpy as np

from tlearn.data.columns import HASH_BYTES
from tlearn.data.file_table import FileTable, ImageFile
from tlearn.data.pixel_values import ValueRanges
from tlearn.data.views import Rendering

Item = tuple[ImageFile, int]  # an image and the number of a view


class ImageViews(Sequence[Item]):
    """Views of images, 12 bytes each; the images are made as they are asked for.

    Args:
        files: The image of each view; that of several views comes several times.
        numbers: The number of each view, ``(n,)``; the plain ones if not given.
    """

    def __init__(self, files: FileTable, numbers: np.ndarray | None = None) -> None:
        self.files = files
        self.numbers = np.zeros(len(files), np.int32) if numbers is None else numbers

    @classmethod
    def of(cls, files: FileTable, views: int) -> "ImageViews":
        """Return the first so many views of each image, those of one after each other."""
        numbers = np.tile(np.arange(views, dtype=np.int32), len(files))
        return cls(files[np.repeat(np.arange(len(files)), views)], numbers)

    @classmethod
    def concatenated(cls, parts: Sequence["ImageViews"]) -> "ImageViews":
        """Return views of images of one data set after each other."""
        files = FileTable.concatenated([part.files for part in parts])
        return cls(files, np.concatenate([part.numbers for part in parts]))

    def __len__(self) -> int:
        return len(self.files)

    @overload
    def __getitem__(self, position: int) -> Item: ...
    @overload
    def __getitem__(self, position: slice | np.ndarray) -> "ImageViews": ...
    def __getitem__(self, position: int | slice | np.ndarray) -> "Item | ImageViews":
        """Return one by its position, or some by a slice, positions or a mask."""
        if isinstance(position, slice | np.ndarray):
            return ImageViews(self.files[position], self.numbers[position])
        return self.files[position], int(self.numbers[position])

    def __iter__(self) -> Iterator[Item]:
        return zip(self.files, self.numbers.tolist(), strict=True)

    def first(self, views: int) -> "ImageViews":
        """Return those among the first so many of their images."""
        return self[self.numbers < views]

    def unique(self) -> "ImageViews":
        """Return them without those that are the same view of the same content as one before."""
        both = self.files.content_numbers() * (int(self.numbers.max(initial=0)) + 1) + self.numbers
        return self[np.sort(np.unique(both, return_index=True)[1])]

    def batches(self, size: int) -> Iterator["ImageViews"]:
        """Yield them in batches of so many; the last is of those that remain."""
        return (self[start : start + size] for start in range(0, len(self), size))


def by_image(views: ImageViews) -> Iterator[tuple[ImageFile, list[int]]]:
    """Yield each image with the numbers of its views that are after each other."""
    for file, items in groupby(views, key=lambda item: item[0]):
        yield file, [number for _, number in items]


def row_keys(rendering: Rendering, views: ImageViews) -> list[bytes]:
    """Return the row keys of views: the content of the image, and what renders the view."""
    of_file, ranges = views.files.each_ranges()
    kinds, kind_of = np.unique(views.numbers * len(ranges) + of_file, return_inverse=True)
    pairs = (divmod(int(kind), len(ranges)) for kind in kinds)
    how = [_render_key(rendering, number, ranges[k]) for number, k in pairs]
    contents = views.files.contents.tobytes()
    return [
        contents[HASH_BYTES * i : HASH_BYTES * (i + 1)] + how[kind]
        for i, kind in enumerate(kind_of.tolist())
    ]


@lru_cache(maxsize=2**12)  # the same for many images, and asked for at every step
def _render_key(rendering: Rendering, number: int, ranges: ValueRanges) -> bytes:
    augment = json.dumps(rendering.key(number).get("augment"), sort_keys=True)
    return hashlib.blake2b(f"{number}:{augment}:{ranges}".encode(), digest_size=8).digest()
