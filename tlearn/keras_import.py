"""Keras and TensorFlow, imported quietly; all of tlearn takes them from here.

TensorFlow writes to the file descriptor of standard error while it loads and looks for devices,
whatever log level is asked for. An exception is raised as ever.
"""

import contextlib
import gc
import os
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Send what is written to standard error, by C++ too, nowhere."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.stderr.flush()
    screen, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(screen, 2)
        os.close(nowhere)
        os.close(screen)


@contextlib.contextmanager
def _hurried() -> Iterator[None]:
    """Spare a command what it has no use for: pandas, pyplot, and a search for garbage.

    Keras imports both if they are there, for data frames and for galleries; that takes half a
    second, and so does the search among a million new objects, all of which stay.
    """
    spared = [name for name in ("pandas", "matplotlib.pyplot") if name not in sys.modules]
    for name in spared:
        sys.modules[name] = None  # type: ignore[assignment]
    gc.disable()
    try:
        yield
    finally:
        for name in spared:
            del sys.modules[name]
        gc.freeze()
        gc.enable()


# In a process of the command line nobody but tlearn uses Keras; elsewhere somebody may train on
# data frames.
with (
    _hurried() if "tlearn.cli" in sys.modules else contextlib.nullcontext(),
    _quiet() if "tensorflow" not in sys.modules else contextlib.nullcontext(),
):
    import keras
    import tensorflow

    tensorflow.config.list_physical_devices()

__all__ = ["keras", "tensorflow"]
