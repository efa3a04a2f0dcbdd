"""Thumbnails made in the background: a page shows those that are ready, and the others soon."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from tlearn.data.prefetch import prefetch_map
from tlearn.data.thumbnails import thumbnail
from tlearn.progress import Progress
from tlearn.web import background
from tlearn.web.components import scans


class _Thumbnails(NamedTuple):
    """What makes some thumbnails, and the photos that have theirs."""

    task: background.BackgroundTask
    ready: set[Path]


_made = background.Recent[tuple[int, tuple[Path, ...]], _Thumbnails](50)


def ready_photos(paths: Sequence[Path], pixels: int) -> set[Path]:
    """Begin to make thumbnails; return the photos whose thumbnails are ready, or unreadable.

    A dozen photos of a large camera take a second. The page is shown again once all are ready.
    """
    key = (pixels, tuple(paths))
    made = _made.get(key)
    if made is None or made.task.over.is_set():  # a thumbnail may have been forgotten since
        ready: set[Path] = set()

        def make(progress: Progress) -> None:
            for path, _ in prefetch_map(lambda path: (path, thumbnail(path, pixels)), paths):
                ready.add(path)

        made = _made[key] = _Thumbnails(background.start(make), ready)
    scans.is_over(made.task)
    return made.ready.copy()
