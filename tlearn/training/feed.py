"""What a training step is fed with: views of images, in the order and the rendering of an epoch."""

from collections.abc import Generator, Iterator
from dataclasses import dataclass

import numpy as np

from tlearn.data.file_table import FileTable
from tlearn.features.activations import Activations
from tlearn.features.built_backbone import FEATURES, BuiltBoundary
from tlearn.features.image_views import ImageViews

Batch = tuple[list[np.ndarray], np.ndarray]  # the suffix's inputs, and the images' positions


def batch_size(images: int, most: int) -> int:
    """Return the size that all batches of an epoch have, at most ``most``."""
    return images // -(-images // most)


@dataclass(frozen=True)
class Feed:
    """Batches for the suffix above a boundary.

    Attributes:
        boundary: The boundary below the suffix; ``None`` for the head alone.
        columns: Which of the pooled features the prefix gives to the head.
        views: Views per image that take turns, or 0 for a fresh view in every epoch.
        seed: Decides the order.
        past: Epochs before this feed's first, in earlier stages.
    """

    activations: Activations
    boundary: BuiltBoundary | None
    columns: np.ndarray
    files: FileTable
    views: int
    seed: int
    past: int = 0

    def steps(self, batch: int) -> int:
        """Return the number of batches in an epoch."""
        return -(-len(self.files) // batch)

    def size(self, batch: int) -> int:
        """Return the number of images in each batch."""
        return batch_size(len(self.files), batch)

    def epoch(
        self, number: int, batch: int, part: slice = slice(None)
    ) -> Generator[Batch, None, None]:
        """Yield one epoch's batches in random order, each image once, in its next view.

        All batches have one size, because another shape would be traced anew: the few remaining
        images, fewer than there are batches, come in other epochs.

        Args:
            number: The epoch, from 0.
            batch: The largest size.
            part: Which images of each batch are read, where other workers read the others.
        """
        number += self.past
        order = np.random.default_rng((self.seed, number)).permutation(len(self.files))
        size = self.size(batch)
        whole = order[: size * self.steps(batch)].reshape(-1, size)
        yield from self._batches([rows[part] for rows in whole], number)

    def plain(self, batch: int) -> Iterator[Batch]:
        """Yield the plain views in order."""
        order = np.arange(len(self.files))
        parts = [order[start : start + batch] for start in range(0, len(order), batch)]
        yield from self._batches(parts, None)

    def _views(self, rows: np.ndarray, epoch: int | None) -> ImageViews:
        """Return the views of images in an epoch; the plain ones without it.

        Cached views take turns, beginning with another one for each image; fresh ones are numbered
        by the epoch, so that the same run has the same views again.
        """
        files = self.files[rows]
        if epoch is None:
            return ImageViews(files)
        if not self.views:
            return ImageViews(files, np.full(len(files), epoch + 1, np.int32))
        first = np.ascontiguousarray(files.contents[:, :4]).view(">u4")[:, 0].astype(np.int64)
        return ImageViews(files, ((first + epoch) % self.views).astype(np.int32))

    def _batches(self, parts: list[np.ndarray], epoch: int | None) -> Iterator[Batch]:
        outputs = [self.boundary.name] if self.boundary is not None else []
        outputs += [FEATURES] if len(self.columns) else []

        views = (self._views(rows, epoch) for rows in parts)
        batches = self.activations.batches(views, outputs)
        for rows, arrays in zip(parts, batches, strict=True):
            inputs = []
            if self.boundary is not None:
                inputs.append(arrays[self.boundary.name])
            if FEATURES in outputs:
                inputs.append(arrays[FEATURES][:, self.columns])
            yield inputs, rows
