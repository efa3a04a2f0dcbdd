"""What a training step is fed with: views of images, in the order and the rendering of an epoch."""

from collections.abc import Generator, Iterator
from dataclasses import dataclass

import numpy as np

from tlearn.data.file_table import FileTable
from tlearn.features.activations import Activations
from tlearn.features.built_backbone import FEATURES, BuiltBoundary
from tlearn.features.image_views import ImageViews

Batch = tuple[list[np.ndarray], np.ndarray]  # the suffix's inputs, and the images' positions


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

    def epoch(self, number: int, batch: int) -> Generator[Batch, None, None]:
        """Yield one epoch's batches in random order, each image once, in its next view.

        All batches have one size, at most ``batch``, because another shape would be traced anew:
        the few remaining images, fewer than there are batches, come in other epochs.
        """
        number += self.past
        order = np.random.default_rng((self.seed, number)).permutation(len(self.files))
        steps = self.steps(batch)
        size = len(order) // steps
        yield from self._batches(order[: size * steps], size, number)

    def plain(self, batch: int) -> Iterator[Batch]:
        """Yield the plain views in order."""
        yield from self._batches(np.arange(len(self.files)), batch, None)

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

    def _batches(self, order: np.ndarray, batch: int, epoch: int | None) -> Iterator[Batch]:
        parts = [order[start : start + batch] for start in range(0, len(order), batch)]
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
