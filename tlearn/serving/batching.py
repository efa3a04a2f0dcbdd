"""Batches for an engine from pictures of many requests."""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Generic, TypeVar

I = TypeVar("I")  # noqa: E741
O = TypeVar("O")  # noqa: E741


class Batcher(Generic[I, O]):
    """Threads that compute items in batches of what has arrived while they computed the last.

    A lone item waits for nothing, and under load batches are full: no time to wait is set.

    Args:
        compute: Gives the outputs of a batch, in order; may be called by all threads at once.
        most: Items per batch, at most.
        threads: How many batches are computed at a time.
    """

    def __init__(
        self,
        compute: Callable[[Sequence[I]], Sequence[O]],
        most: int,
        threads: int,
    ) -> None:
        self._compute, self._most = compute, most
        self._items = deque[tuple[I, Future[O]]]()
        self._arrived = threading.Condition()
        self._open = True
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(threads)]
        for thread in self._threads:
            thread.start()

    def submit(self, item: I) -> "Future[O]":
        """Add an item; the future has its output, or what computing its batch raised.

        Raises:
            RuntimeError: After :meth:`close`.
        """
        future: Future[O] = Future()
        with self._arrived:
            if not self._open:
                raise RuntimeError("the batcher is closed")
            self._items.append((item, future))
            self._arrived.notify()
        return future

    def close(self, wait: bool = True) -> None:
        """Compute what has been added, and end the threads; wait for that, or not."""
        with self._arrived:
            self._open = False
            self._arrived.notify_all()
        if not wait:
            return
        for thread in self._threads:
            thread.join()

    def _next(self) -> list[tuple[I, "Future[O]"]]:
        """Wait for items; return up to a batch of them, none once all is done."""
        with self._arrived:
            while not self._items and self._open:
                self._arrived.wait()
            return [self._items.popleft() for _ in range(min(self._most, len(self._items)))]

    def _work(self) -> None:
        while batch := self._next():
            # Who asked may have gone away meanwhile.
            batch = [(item, future) for item, future in batch if _begins(future)]
            if not batch:
                continue
            try:
                outputs = self._compute([item for item, _ in batch])
            except Exception as error:  # noqa: BLE001  # whatever it is, those who wait get it
                for _, future in batch:
                    future.set_exception(error)
                continue
            for (_, future), output in zip(batch, outputs, strict=True):
                future.set_result(output)


def _begins(future: "Future[O]") -> bool:
    return future.set_running_or_notify_cancel()
