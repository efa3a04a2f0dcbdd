"""Work done in threads a little ahead of whoever takes the results."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")

LOOKAHEAD = 64


def prefetch_map(work: Callable[[T], R], items: Iterable[T], depth: int = LOOKAHEAD) -> Iterator[R]:
    """Yield ``work(item)`` in order, with at most ``depth`` results waiting.

    ``Executor.map`` takes all items at once and lets all results wait, which for images is more
    than the memory holds.
    """
    waiting: deque[Future[R]] = deque()
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        try:
            for item in items:
                waiting.append(pool.submit(work, item))
                if len(waiting) > depth:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
