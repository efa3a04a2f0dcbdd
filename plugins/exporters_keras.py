"""Export formats of Keras and TensorFlow."""

import json
from pathlib import Path
from typing import Any

from tlearn.backbones import Exporter


def _export_keras(run: Any, folder: Path) -> None:
    (folder / "model.keras").write_bytes((run.path / "model.keras").read_bytes())


def _export_h5(run: Any, folder: Path) -> None:
    from .frozen_graph import quietly

    with quietly():
        run.model.save(folder / "model.h5")
    _add_labels(run, folder / "model.h5")


def _export_weights(run: Any, folder: Path) -> None:
    run.model.save_weights(folder / "model.weights.h5")
    (folder / "architecture.json").write_text(run.model.to_json(), encoding="utf-8")
    _add_labels(run, folder / "model.weights.h5")


def _add_labels(run: Any, path: Path) -> None:
    import h5py

    with h5py.File(path, "a") as file:
        file.attrs["labels"] = list(run.labels)


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


def load_keras(folder: Path) -> Any:
    """Needs: pip install numpy pillow tensorflow keras."""
    import importlib

    import keras

    for module in json.loads((folder / "metadata.json").read_text(encoding="utf-8"))["modules"]:
        importlib.import_module(module)  # it registers layers that are not Keras's own
    if (folder / "architecture.json").exists():
        text = (folder / "architecture.json").read_text(encoding="utf-8")
        model = keras.models.model_from_json(text)
        model.load_weights(folder / "model.weights.h5")
    else:
        model = keras.saving.load_model(next(folder.glob("model.*")), compile=False)
    return lambda pixels: model.predict_on_batch(pixels)


def load_savedmodel(folder: Path) -> Any:
    """Needs: pip install numpy pillow tensorflow."""
    import tensorflow as tf

    model = tf.saved_model.load(str(folder))
    return lambda pixels: model.serve(tf.constant(pixels, tf.float32)).numpy()


FORMATS = (
    Exporter("keras", "the model.keras that the run has", _export_keras, load_keras),
    Exporter("h5", "one HDF5 file, as of older Keras", _export_h5, load_keras),
    Exporter("weights", "layers as JSON, weights as .weights.h5", _export_weights, load_keras),
    Exporter("savedmodel", "for TensorFlow Serving", _export_savedmodel, load_savedmodel),
)
