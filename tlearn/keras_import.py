"""Keras and TensorFlow, imported quietly; all of tlearn takes them from here.

TensorFlow writes to the file descriptor of standard error while it loads and looks for devices,
whatever the log level. Exceptions are raised as usual.
"""

import contextlib
import gc
import os
import platform
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Discard what is written to standard error, by C++ too."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.stderr.flush()
    stderr, null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    try:
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(null)
        os.close(stderr)


@contextlib.contextmanager
def _fast() -> Iterator[None]:
    """Import neither pandas, Matplotlib nor scikit-learn, and collect no garbage.

    Keras imports them if they are installed, for data frames, galleries and wrappers; each takes
    half a second.
    """
    names = ("pandas", "matplotlib", "matplotlib.pyplot", "sklearn")
    hidden = [name for name in names if name not in sys.modules]
    for name in hidden:
        sys.modules[name] = None  # type: ignore[assignment]
    gc.disable()
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]
        gc.freeze()
        gc.enable()


# TensorFlow leaves oneDNN off where there is no VNNI; with it a training step takes a quarter less.
if platform.machine() in ("x86_64", "AMD64"):
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

# In a process of the command line only tlearn uses Keras; elsewhere users may train on data frames.
with (
    _fast() if "tlearn.cli" in sys.modules else contextlib.nullcontext(),
    _quiet() if "tensorflow" not in sys.modules else contextlib.nullcontext(),
):
    import keras
    import tensorflow

    tensorflow.config.list_physical_devices()

__all__ = ["keras", "tensorflow"]
