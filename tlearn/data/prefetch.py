"""A parallel map that prefetches a limited number of results, and batches of items."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")

LOOKAHEAD = 64


def prefetch_map(work: Callable[[T], R], items: Iterable[T], depth: int = LOOKAHEAD) -> Iterator[R]:
    """Yield ``work(item)`` in order, computed in threads with at most ``depth`` results waiting.

    ``Executor.map`` would submit all items at once, whose images do not fit into memory.
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


def batched(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Yield lists of ``size`` items each, the last one of those that remain."""
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch
