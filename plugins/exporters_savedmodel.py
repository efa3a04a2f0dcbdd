"""Export to TensorFlow's SavedModel."""

from pathlib import Path
from typing import Any

from tlearn.backbones import Exporter


def _export_savedmodel(run: Any, folder: Path) -> None:
    import keras
    import tensorflow as tf

    model, size = run.model, run.classifier.size
    archive = keras.export.ExportArchive()
    archive.track(model)
    pixels = tf.TensorSpec((None, size, size, 3), tf.float32, name="pixels")
    archive.add_endpoint("serve", lambda pixels: model(pixels, training=False), [pixels])
    archive.add_endpoint("labels", lambda: tf.constant(list(run.labels)), [])
    archive.write_out(str(folder), verbose=False)


def load_savedmodel(folder: Path) -> Any:
    """Needs: pip install numpy pillow tensorflow."""
    import tensorflow as tf

    model = tf.saved_model.load(str(folder))
    return lambda pixels: model.serve(tf.constant(pixels, tf.float32)).numpy()


FORMATS = (Exporter("savedmodel", "for TensorFlow Serving", _export_savedmodel, load_savedmodel),)
