"""Back-pressure: what a server takes on at a time, in bytes and in images."""

import math
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from prometheus_client import Gauge

WINDOW = 8  # times as many as use all cores: the rate is measured over so many answers
LOWEST = 0.1  # answers a second that are reckoned with at the least
LONGEST = 60  # seconds that a client is asked to wait, at most


class BusyError(Exception):
    """More is asked for than is taken on at a time.

    Attributes:
        retry_after: Whole seconds after which it is worth to try again.
    """

    def __init__(self, retry_after: int) -> None:
        super().__init__(f"the server is busy; try again in {retry_after} s")
        self.retry_after = retry_after


class Admission:
    """Counts what is in flight, and refuses more than a limit. For one thread.

    Args:
        most: The limit. What is larger alone is taken on when nothing else is in flight.
        gauge: Shows what is in flight; others may count with it, too.
        seconds: What would be answered later than this, by the rate, is refused, too.
        rate: Answers a second, until they are measured.
        full: As many in flight use all cores. The rate is measured while there are so many, or half
            the limit: with fewer it would be that at which is asked.
    """

    def __init__(
        self,
        most: int,
        gauge: Gauge,
        seconds: float = math.inf,
        rate: float = math.inf,
        full: int = 1,
    ) -> None:
        self.most, self.seconds, self.in_flight = most, seconds, 0
        self._gauge, self._first_rate, self._full = gauge, rate, full
        self._loaded, self._changed = 0.0, time.monotonic()  # seconds with enough in flight
        self._answers = deque[float](maxlen=WINDOW * full)  # when, in these seconds

    def check(self, number: int = 1) -> None:
        """Refuse so many if they are too many now; nothing is counted.

        Raises:
            BusyError: If they are.
        """
        self._pass_time()
        missing = self.in_flight + number - self._limit()
        if self.in_flight and missing > 0:
            raise BusyError(min(LONGEST, max(1, math.ceil(missing / self._rate()))))

    def add(self, number: int) -> None:
        """Count so many more, until they are removed.

        Raises:
            BusyError: If they are too many now.
        """
        self.check(number)
        self._change(number)

    def remove(self, number: int) -> None:
        """Count so many less."""
        self._change(-number)

    @contextmanager
    def admit(self, number: int) -> Iterator[Callable[[], None]]:
        """Count so many more; give what is to be called when one of them is answered.

        The others count until the block ends: given up, or answered without work.

        Raises:
            BusyError: If they are too many now.
        """
        self.add(number)
        left = number

        def answer() -> None:
            nonlocal left
            left -= 1
            self._pass_time()
            if self._is_loaded():
                self._answers.append(self._loaded)
            self._change(-1)

        try:
            yield answer
        finally:
            self._change(-left)

    def _change(self, number: int) -> None:
        self._pass_time()
        self.in_flight += number
        self._gauge.inc(number)

    def _pass_time(self) -> None:
        now = time.monotonic()
        self._loaded += now - self._changed if self._is_loaded() else 0.0
        self._changed = now

    def _is_loaded(self) -> bool:
        return self.in_flight >= min(self._full, max(1, self._limit() / 2))

    def _limit(self) -> float:
        return min(self.most, self.seconds * self._rate())

    def _rate(self) -> float:
        """Return how many were answered a second of late, while enough were in flight."""
        if len(self._answers) < WINDOW * self._full:
            return self._first_rate
        return max(len(self._answers) / max(self._loaded - self._answers[0], 1e-3), LOWEST)
