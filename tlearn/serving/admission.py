"""Back-pressure: what a server takes on at a time, in bytes and in images."""

import math
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import Gauge

RECENT = 200  # answers that the rate is taken from
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
    """

    def __init__(self, most: int, gauge: Gauge) -> None:
        self.most, self.in_flight = most, 0
        self._gauge = gauge
        self._answers = deque[tuple[float, int]](maxlen=RECENT)

    def check(self, number: int = 1) -> None:
        """Refuse so many if they are too many now; nothing is counted.

        Raises:
            BusyError: If they are.
        """
        if self.in_flight and self.in_flight + number > self.most:
            raise BusyError(self._seconds_until(number))

    def add(self, number: int) -> None:
        """Count so many more, until they are removed.

        Raises:
            BusyError: If they are too many now.
        """
        self.check(number)
        self._change(number)

    def remove(self, number: int) -> None:
        """Count so many less: they are answered."""
        self._change(-number)
        self._answers.append((time.monotonic(), number))

    @contextmanager
    def admit(self, number: int) -> Iterator[None]:
        """Count so many more until the block ends.

        Raises:
            BusyError: If they are too many now.
        """
        self.add(number)
        try:
            yield
        finally:
            self.remove(number)

    def _change(self, number: int) -> None:
        self.in_flight += number
        self._gauge.set(self.in_flight)

    def _seconds_until(self, number: int) -> int:
        """Return about how long it will be until there is room, by the rate of late."""
        if len(self._answers) < 2:
            return 1
        passed = time.monotonic() - self._answers[0][0]
        rate = sum(count for _, count in self._answers) / max(passed, 0.1)
        missing = self.in_flight + number - self.most
        return min(LONGEST, max(1, math.ceil(missing / max(rate, 0.1))))
