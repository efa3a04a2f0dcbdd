"""How long each part of a training took."""

import contextlib
import time
from collections.abc import Iterator, Mapping


class Stopwatch:
    """Adds up seconds by part; parts may lie within each other.

    Args:
        earlier: What the parts took before, where a training is continued.
    """

    def __init__(self, earlier: Mapping[str, float] | None = None) -> None:
        self._done = dict(earlier or {})
        self._begun: dict[str, float] = {}

    @contextlib.contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Count the time until the end of the block to a part."""
        self._begun[name] = time.monotonic()
        try:
            yield
        finally:
            self._done[name] = self.seconds()[name]
            del self._begun[name]

    def seconds(self) -> dict[str, float]:
        """Return the seconds of every part, those that go on up to now."""
        now = time.monotonic()
        going = {n: self._done.get(n, 0.0) + now - begun for n, begun in self._begun.items()}
        return self._done | going
