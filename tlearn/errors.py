"""Errors that users can act on, in one line.

Every message states three things: what was received, what is allowed, and what to do next.

    TlearnError
    ├── ConfigError      an option or a configuration file
    ├── DataError        a data folder or an image
    ├── BackboneError    a backbone, its weights
    ├── PluginError      what a plugin does
    ├── CacheError       the activation cache
    ├── ClusterError     a cluster of machines
    ├── RunError         a run directory
    └── StoreError       an object store
"""

import contextlib
import difflib
from collections.abc import Iterable, Iterator


class TlearnError(Exception):
    """An error a user can act on; the command line prints it in one line and exits with 2.

    Attributes:
        key: The dotted configuration key whose value is at fault, else empty.
    """

    def __init__(self, message: str, key: str = "") -> None:
        super().__init__(message)
        self.key = key


class ConfigError(TlearnError):
    """An option or a configuration file cannot be used."""


class DataError(TlearnError):
    """A data folder or an image cannot be used."""


class BackboneError(TlearnError):
    """A backbone is unknown, cannot be built, or its weights cannot be loaded."""


class PluginError(TlearnError):
    """A plugin does something else than it should."""


class CacheError(TlearnError):
    """Activations cannot be cached or read."""


class ClusterError(TlearnError):
    """A cluster of machines cannot be reached, or cannot compute what is asked for."""


class RunError(TlearnError):
    """A run directory is missing, not finished, or exists already."""


class StoreError(TlearnError, OSError):
    """A store does not answer, or refuses what is asked of it."""


@contextlib.contextmanager
def os_errors_as(kind: type[TlearnError], what: str, advice: str) -> Iterator[None]:
    """Raise errors of the system, such as a full disk, as one line for users.

    Those of stores are raised as they are: they say what and why by themselves.

    Args:
        kind: The error to raise instead of an ``OSError``.
        what: What could not be done, as in "'a.npz' cannot be written".
        advice: What to do about it.
    """
    try:
        yield
    except StoreError:
        raise
    except OSError as error:
        raise kind(f"{what}: {error.strerror or error}; {advice}") from None


def one_line(error: BaseException, limit: int = 200) -> str:
    """Return what an exception says, on one line of at most ``limit`` characters.

    Keras wraps an exception in the text of another, and that again: the innermost is returned.
    """
    innermost = str(error).rpartition("Exception encountered:")[2]
    text = " ".join(innermost.split()) or type(error).__name__
    return text if len(text) <= limit else text[: limit - 3] + "..."


def hint_of(error: BaseException) -> str:
    """Return what to do next, where something was noted with an exception."""
    return "; ".join(getattr(error, "__notes__", ()))


def nearest(word: str, known: Iterable[str]) -> str:
    """Return ``" (did you mean 'x'?)"`` for the known word closest to ``word``, or ``""``."""
    names = {name.lower(): name for name in known}
    close = difflib.get_close_matches(word.lower(), names, n=1, cutoff=0.5)
    return f" (did you mean {names[close[0]]!r}?)" if close else ""
