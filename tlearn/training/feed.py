"""What a training step is fed with: rows from the cache, or freshly streamed views."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np

from tlearn.data.ahead import map_ahead
from tlearn.data.scan import ImageFile
from tlearn.frozen.activations import FEATURES, Activations, read_checked
from tlearn.frozen.trunk import Cut

Batch = tuple[list[np.ndarray], np.ndarray]  # the suffix's inputs, and the images' positions


@dataclass(frozen=True)
class Feed:
    """Batches for the suffix above a cut.

    Attributes:
        activations: Where rows come from.
        cut: The cut below the suffix; ``None`` for the head alone.
        columns: Which of the pooled features the prefix gives to the head.
        files: The images.
        views: Views per image that are kept, or 0 for a fresh view in every epoch.
        seed: Decides the order.
        past: Epochs before this feed's first, in earlier stages.
    """

    activations: Activations
    cut: Cut | None
    columns: np.ndarray
    files: Sequence[ImageFile]
    views: int
    seed: int
    past: int = 0

    def steps(self, batch: int) -> int:
        """Return the number of batches in an epoch."""
        return -(-len(self.files) // batch)

    def epoch(self, number: int, batch: int) -> Iterator[Batch]:
        """Yield one epoch's batches in random order, each image once, in its next view.

        Kept views take turns, beginning with another one for each image; fresh ones are numbered
        by the epoch, so that the same run gives the same views again.
        """
        number += self.past
        rng = np.random.default_rng((self.seed, number))
        order = rng.permutation(len(self.files))
        if self.views:
            yield from self._kept(order, batch, number)
        else:
            yield from self._fresh(order, batch, number + 1)

    def plain(self, batch: int) -> Iterator[Batch]:
        """Yield the plain views in order."""
        for start in range(0, len(self.files), batch):
            rows = np.arange(start, min(start + batch, len(self.files)))
            yield self._read([(self.files[int(i)], 0) for i in rows]), rows

    def _kept(self, order: np.ndarray, batch: int, number: int) -> Iterator[Batch]:
        for start in range(0, len(order), batch):
            rows = order[start : start + batch]
            files = [self.files[int(i)] for i in rows]
            yield (
                self._read([(f, (int(f.content[:8], 16) + number) % self.views) for f in files]),
                rows,
            )

    def _read(self, items: Sequence[tuple[ImageFile, int]]) -> list[np.ndarray]:
        inputs = []
        if self.cut is not None:
            inputs.append(self.activations.at(self.cut, items).astype(np.float32))
        if len(self.columns):
            inputs.append(self.activations.features(items)[:, self.columns])
        return inputs

    def _fresh(self, order: np.ndarray, batch: int, view: int) -> Iterator[Batch]:
        """Render in threads ahead of the training, and run the prefix on each batch."""
        rendering = self.activations.rendering
        wanted = [self.cut.name] if self.cut is not None else []
        wanted += [FEATURES] if len(self.columns) else []

        def render(i: int) -> np.ndarray:
            file = self.files[i]
            return rendering.render(read_checked(file, rendering.size), file.content, view)

        rendered = map_ahead(render, order.tolist(), ahead=2 * batch)
        for start in range(0, len(order), batch):
            rows = order[start : start + batch]
            found = self.activations.compute(np.stack(list(islice(rendered, len(rows)))), wanted)
            inputs = [found[self.cut.name].astype(np.float32)] if self.cut is not None else []
            if FEATURES in found:
                inputs.append(found[FEATURES][:, self.columns])
            yield inputs, rows
