"""Export to the formats of Keras."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tlearn.backbones import Exporter


def _export_keras(run: Any, folder: Path) -> None:
    shutil.copy(run.path / "model.keras", folder)
    _add_heads(run, folder)


def _export_h5(run: Any, folder: Path) -> None:
    from .frozen_graph import quietly

    for name in _operations(run.model):
        raise ValueError(f"HDF5 holds no operation such as {name}; choose keras or weights")
    with quietly():
        run.model.save(folder / "model.h5")
    _add_labels_and_heads(run, folder / "model.h5")


def _export_weights(run: Any, folder: Path) -> None:
    run.model.save_weights(folder / "model.weights.h5")
    (folder / "architecture.json").write_text(run.model.to_json(), encoding="utf-8")
    _add_labels_and_heads(run, folder / "model.weights.h5")


def _operations(model: Any) -> Iterator[str]:
    """Yield the kinds of operations in a model that are no layers."""
    from keras import Layer

    for operation in model.operations:
        if hasattr(operation, "operations"):
            yield from _operations(operation)
        elif not isinstance(operation, Layer):
            yield type(operation).__name__


def _add_heads(run: Any, folder: Path) -> None:
    for path in run.path.glob("head*.py"):  # they may have layers that are not Keras's own
        shutil.copy(path, folder)


def _add_labels_and_heads(run: Any, path: Path) -> None:
    import h5py

    with h5py.File(path, "a") as file:
        file.attrs["labels"] = json.dumps(run.labels, ensure_ascii=False)
    _add_heads(run, path.parent)


def load_keras(folder: Path) -> Any:
    """Needs: pip install numpy pillow tensorflow keras."""
    import runpy

    import keras

    for module in json.loads((folder / "metadata.json").read_text(encoding="utf-8"))["modules"]:
        __import__(module)  # it registers layers that are not Keras's own
    for file in folder.glob("head*.py"):
        runpy.run_path(str(file))
    layers = folder / "architecture.json"
    if layers.exists():
        model = keras.models.model_from_json(layers.read_text(encoding="utf-8"))
        model.load_weights(folder / "model.weights.h5")
    else:
        model = keras.saving.load_model(next(folder.glob("model.*")), compile=False)
    return lambda pixels: model.predict_on_batch(pixels)


FORMATS = (
    Exporter("keras", "the model.keras that the run has", _export_keras, load_keras),
    Exporter("h5", "one HDF5 file, as of older Keras", _export_h5, load_keras),
    Exporter("weights", "layers as JSON, weights as .weights.h5", _export_weights, load_keras),
)
