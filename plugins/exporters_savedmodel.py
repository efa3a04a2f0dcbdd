"""Export to TensorFlow's SavedModel, in the folder of a version, as TensorFlow Serving reads it."""

from pathlib import Path
from typing import Any

from tlearn.backbones import Exporter

VERSION = "1"


def _export_savedmodel(run: Any, folder: Path) -> None:
    """Write it as a module of TensorFlow: Keras's own export holds the weights twice."""
    import tensorflow as tf

    from .tf_pictures import pixels_of

    model, card = run.model, run.classifier
    pixels = tf.TensorSpec((None, card.size, card.size, 3), tf.float32, name="pixels")
    files = tf.TensorSpec((None,), tf.string, name="image_bytes")
    labels = tf.constant(list(run.labels))

    def of_pixels(pixels: Any) -> Any:
        return {"probabilities": model(pixels, training=False)}

    def of_files(image_bytes: Any) -> Any:
        views = pixels_of(image_bytes, card.size, card.resize)
        p = model(views, training=False)
        if card.tta > 1:
            p = (p + model(views[:, :, ::-1], training=False)) / 2
        return {"probabilities": p, "label": tf.gather(labels, tf.argmax(p, axis=1))}

    module = tf.Module()
    module.variables_of_model = [variable.value for variable in model.variables]
    module.of_pixels = tf.function(of_pixels, [pixels])
    module.of_files = tf.function(of_files, [files])
    module.labels = tf.function(lambda: labels, [])
    signatures = {"serving_default": module.of_pixels, "image_bytes": module.of_files}
    tf.saved_model.save(module, str(folder / VERSION), signatures)


def load_savedmodel(folder: Path) -> Any:
    """Needs: pip install numpy pillow tensorflow."""
    import tensorflow as tf

    model = tf.saved_model.load(str(folder / "1"))
    return lambda pixels: model.of_pixels(tf.constant(pixels, tf.float32))["probabilities"].numpy()


FORMATS = (
    Exporter(
        "savedmodel", "for TensorFlow and TensorFlow Serving", _export_savedmodel, load_savedmodel
    ),
)
