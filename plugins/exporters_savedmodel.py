"""Export to TensorFlow's SavedModel."""

from pathlib import Path
from typing import Any

from tlearn.backbones import Exporter


def _export_savedmodel(run: Any, folder: Path) -> None:
    """Write it as a module of TensorFlow: Keras's own export holds the weights twice."""
    import tensorflow as tf

    model, size = run.model, run.classifier.size
    pixels = tf.TensorSpec((None, size, size, 3), tf.float32, name="pixels")
    module = tf.Module()
    module.variables_of_model = [variable.value for variable in model.variables]
    module.serve = tf.function(lambda pixels: model(pixels, training=False), [pixels])
    module.labels = tf.function(lambda: tf.constant(list(run.labels)), [])
    tf.saved_model.save(module, str(folder), {"serving_default": module.serve})


def load_savedmodel(folder: Path) -> Any:
    """Needs: pip install numpy pillow tensorflow."""
    import tensorflow as tf

    model = tf.saved_model.load(str(folder))
    return lambda pixels: model.serve(tf.constant(pixels, tf.float32)).numpy()


FORMATS = (Exporter("savedmodel", "for TensorFlow Serving", _export_savedmodel, load_savedmodel),)
