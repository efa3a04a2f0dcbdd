"""A clock of the parts of a training."""

import contextlib
import time
from collections.abc import Iterator, Mapping


class Stopwatch:
    """Adds up seconds by part; parts may lie within each other.

    Attributes:
        earlier: Seconds by part before a training was resumed.
    """

    def __init__(self) -> None:
        self.earlier: Mapping[str, float] = {}
        self._done: dict[str, float] = {}
        self._begun: dict[str, float] = {}

    @contextlib.contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Count the time until the end of the block to a part."""
        self._begun[name] = time.monotonic()
        try:
            yield
        finally:
            self._done[name] = self.own_seconds(name)
            del self._begun[name]

    def own_seconds(self, name: str) -> float:
        """Return the seconds of a part up to now, without earlier ones."""
        running = time.monotonic() - self._begun[name] if name in self._begun else 0.0
        return self._done.get(name, 0.0) + running

    def seconds(self) -> dict[str, float]:
        """Return the seconds of every part, those of running parts up to now."""
        names = (*self.earlier, *self._done, *self._begun)
        return {n: self.earlier.get(n, 0.0) + self.own_seconds(n) for n in dict.fromkeys(names)}
