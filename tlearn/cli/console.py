"""What all commands share: exit codes, failing in one line, a quiet TensorFlow."""

import gc
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tlearn.text import printable

if TYPE_CHECKING:
    from tlearn.runs.run import Run

BAD_INPUT = 2
INTERRUPTED = 130  # 128 + SIGINT, as shells have it


def fail(message: str) -> int:
    """Print an error in one line; return the exit code for it."""
    print(f"tlearn: error: {printable(' '.join(message.split()))}", file=sys.stderr)
    return BAD_INPUT


def quiet_tensorflow() -> None:
    """Import TensorFlow without its remarks on the screen, unless the user asked for them.

    It writes to the file descriptor while it loads and looks for devices, before any log level
    counts. An exception is raised as ever.
    """
    if "TF_CPP_MIN_LOG_LEVEL" in os.environ:
        _import_tensorflow()
        return
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    sys.stderr.flush()
    screen = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        _import_tensorflow()
    finally:
        os.dup2(screen, 2)
        os.close(nowhere)
        os.close(screen)


def _import_tensorflow() -> None:
    """Import TensorFlow and Keras, without what Keras takes along if it is there.

    It asks for pandas to be able to train on data frames, and for pyplot to show galleries, and
    does without if they are missing. A command needs neither, and both take half a second. As long
    takes the search for garbage among a million new objects, all of which stay.
    """
    spared = [name for name in ("pandas", "matplotlib.pyplot") if name not in sys.modules]
    for name in spared:
        sys.modules[name] = None  # type: ignore[assignment]
    gc.disable()
    try:
        import keras  # noqa: F401
        import tensorflow as tf
    finally:
        for name in spared:
            del sys.modules[name]
        gc.freeze()
        gc.enable()
    tf.config.list_physical_devices()


def opened_run(run: Path, engine: str | None, precision: str | None) -> "Run":
    """Open a run, and import TensorFlow quietly if predicting with it will need it."""
    from tlearn.runs.run import Run

    opened = Run(run, engine or "auto", precision or "auto")
    if opened.classifier.needs_tensorflow:
        quiet_tensorflow()
    return opened
