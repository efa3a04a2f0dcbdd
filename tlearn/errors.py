"""What can go wrong because of what a user gave, said in one line.

Every message states three things: what was received, what is allowed, and what to do next.

    TlearnError
    ├── ConfigError      an option or a configuration file
    ├── DataError        a data folder or an image
    ├── BackboneError    a backbone, its plugin, its weights
    └── RunError         a run directory
"""

import difflib
from collections.abc import Iterable


class TlearnError(Exception):
    """An error a user can mend; the command line prints it in one line and exits with 2."""


class ConfigError(TlearnError):
    """An option or a configuration file is not usable as it stands."""


class DataError(TlearnError):
    """A data folder or an image cannot be used."""


class BackboneError(TlearnError):
    """A backbone is unknown, cannot be built, or its weights cannot be had."""


class RunError(TlearnError):
    """A run directory is missing, unfinished, or in the way."""


def nearest(word: str, known: Iterable[str]) -> str:
    """Return ``" (did you mean 'x'?)"`` for the known word closest to ``word``, or ``""``."""
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f" (did you mean {close[0]!r}?)" if close else ""
