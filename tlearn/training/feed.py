"""What a training step is fed with: rows from the cache, or freshly streamed views."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from tlearn.data import images
from tlearn.data.scan import ImageFile
from tlearn.frozen.activations import FEATURES, Activations
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
    """

    activations: Activations
    cut: Cut | None
    columns: np.ndarray
    files: Sequence[ImageFile]
    views: int
    seed: int

    def steps(self, batch: int) -> int:
        """Return the number of batches in an epoch."""
        return -(-len(self.files) // batch)

    def epoch(self, number: int, batch: int) -> Iterator[Batch]:
        """Yield one epoch's batches in random order, each image once, in its next view.

        Kept views take turns, beginning with another one for each image; fresh ones are numbered
        by the epoch, so that the same run gives the same views again.
        """
        rng = np.random.default_rng((self.seed, number))
        order = rng.permutation(len(self.files))
        for start in range(0, len(order), batch):
            rows = order[start : start + batch]
            if self.views:
                first = [int(self.files[i].content[:8], 16) for i in rows]
                views = [(f + number) % self.views for f in first]
            else:
                views = [number + 1] * len(rows)
            yield self._inputs(rows, views), rows

    def plain(self, batch: int) -> Iterator[Batch]:
        """Yield the plain views in order."""
        for start in range(0, len(self.files), batch):
            rows = np.arange(start, min(start + batch, len(self.files)))
            yield self._kept([(self.files[int(i)], 0) for i in rows]), rows

    def _inputs(self, rows: np.ndarray, views: Sequence[int]) -> list[np.ndarray]:
        items = [(self.files[i], view) for i, view in zip(rows, views, strict=True)]
        return self._kept(items) if self.views else self._fresh(items)

    def _kept(self, items: Sequence[tuple[ImageFile, int]]) -> list[np.ndarray]:
        inputs = []
        if self.cut is not None:
            inputs.append(self.activations.at(self.cut, items).astype(np.float32))
        if len(self.columns):
            inputs.append(self.activations.features(items)[:, self.columns])
        return inputs

    def _fresh(self, items: Sequence[tuple[ImageFile, int]]) -> list[np.ndarray]:
        rendering = self.activations.rendering

        def render(item: tuple[ImageFile, int]) -> np.ndarray:
            file, view = item
            image = images.decode(images.read_bytes(file.path), rendering.size)
            return rendering.render(image, file.content, view)

        with ThreadPoolExecutor() as pool:
            pixels = np.stack(list(pool.map(render, items)))
        wanted = [self.cut.name] if self.cut is not None else []
        if len(self.columns):
            wanted.append(FEATURES)
        found: dict[str, Any] = self.activations.compute(pixels, wanted)
        inputs = [found[self.cut.name].astype(np.float32)] if self.cut is not None else []
        if len(self.columns):
            inputs.append(found[FEATURES][:, self.columns])
        return inputs
