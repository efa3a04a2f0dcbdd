"""Back-pressure: what a server takes on at a time, in bytes and in images."""

import asyncio
import math
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import Gauge

RECENT = 200  # answers that the rate is taken from, at most
FEWEST = 8  # and at least
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
        gauge: Shows what is in flight.
        seconds: What would be answered later than this, by the rate of late, is refused, too.
    """

    def __init__(self, most: int, gauge: Gauge, seconds: float = math.inf) -> None:
        self.most, self.seconds, self.in_flight = most, seconds, 0
        self._gauge = gauge
        self._busy, self._changed = 0.0, time.monotonic()  # seconds with something in flight
        self._answers = deque[tuple[float, int]](maxlen=RECENT)  # when, in these, and of how many

    def check(self, number: int = 1) -> None:
        """Refuse so many if they are too many now; nothing is counted.

        Raises:
            BusyError: If they are.
        """
        rate = self._rate()
        missing = self.in_flight + number - min(self.most, self.seconds * rate)
        if self.in_flight and missing > 0:
            raise BusyError(min(LONGEST, max(1, math.ceil(missing / rate))))

    def add(self, number: int) -> None:
        """Count so many more, until they are removed.

        Raises:
            BusyError: If they are too many now.
        """
        self.check(number)
        self._change(number)

    def remove(self, number: int, answered: int) -> None:
        """Count so many less, of which so many were answered and the others given up."""
        self._change(-number)
        self._answers.append((self._busy, answered))

    @contextmanager
    def admit(self, number: int) -> Iterator[None]:
        """Count so many more until the block ends.

        Raises:
            BusyError: If they are too many now.
        """
        self.add(number)
        answered = number
        try:
            yield
        except asyncio.CancelledError:  # it took too long
            answered = 0
            raise
        finally:
            self.remove(number, answered)

    def _change(self, number: int) -> None:
        now = time.monotonic()
        self._busy += now - self._changed if self.in_flight else 0.0
        self._changed = now
        self.in_flight += number
        self._gauge.set(self.in_flight)

    def _rate(self) -> float:
        """Return how many were answered a second of late, while something was in flight."""
        if len(self._answers) < FEWEST:
            return math.inf
        self._change(0)
        (start, first), *_ = self._answers
        number = sum(count for _, count in self._answers) - first
        return max(number / max(self._busy - start, 1e-3), 0.1)
