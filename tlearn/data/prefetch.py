"""A parallel map that prefetches a limited number of results, and batches of items."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import TypeVar

from tlearn.object_stores import StorePath

T = TypeVar("T")
R = TypeVar("R")

LOOKAHEAD = 64
READERS = 16  # threads that read from a store, where most of the time is waiting


def readers(paths: Iterable[Path]) -> int:
    """Return how many threads read files such as the first of some."""
    return READERS if in_store(paths) else os.cpu_count() or 1


def in_store(paths: Iterable[Path]) -> bool:
    """Return whether files such as the first of some are in an object store."""
    return isinstance(next(iter(paths), None), StorePath)


def prefetch_map(
    work: Callable[[T], R], items: Iterable[T], depth: int = LOOKAHEAD, threads: int = 0
) -> Iterator[R]:
    """Yield ``work(item)`` in order, computed in threads with at most ``depth`` results waiting.

    There are as many threads as CPUs if no number is given.

    ``Executor.map`` would submit all items at once, whose images do not fit into memory.
    """
    waiting: deque[Future[R]] = deque()
    with ThreadPoolExecutor(threads or os.cpu_count() or 1) as pool:
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
