"""An export to TensorFlow Lite: one file, and the classes beside it."""

import contextlib
import io
from pathlib import Path
from typing import Any

from tlearn.backbones import Exporter, hookimpl


def export(run: Any, path: Path) -> None:
    """Write ``model.tflite`` and ``labels.txt``."""
    import tensorflow as tf

    with contextlib.redirect_stdout(io.StringIO()):  # it prints every tensor
        content = tf.lite.TFLiteConverter.from_keras_model(run.model).convert()
    (path / "model.tflite").write_bytes(content)
    lines = "".join(f"{label}\n" for label in run.labels)
    (path / "labels.txt").write_text(lines, encoding="utf-8")


@hookimpl
def tlearn_exporters() -> Exporter:
    """Offer it."""
    return Exporter("tflite", "a folder for TensorFlow Lite, with one file for phones", "", export)
