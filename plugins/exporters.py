"""Export formats, beside the ``model.keras`` that every run has."""

import json
from pathlib import Path
from typing import Any

from tlearn.backbones import Exporter, hookimpl


def _write_labels(run: Any, folder: Path) -> None:
    names = json.dumps(run.labels, ensure_ascii=False)
    (folder / "labels.json").write_text(names, encoding="utf-8")


def _saved_model(run: Any, path: Path) -> None:
    """Write what TensorFlow Serving and ``tf.saved_model.load`` read."""
    run.model.export(str(path), format="tf_saved_model", verbose=False)
    _write_labels(run, path)


def _openvino(run: Any, path: Path) -> None:
    """Write what the OpenVINO runtime reads."""
    run.model.export(str(path / "model.xml"), format="openvino", verbose=False)
    _write_labels(run, path)


@hookimpl
def tlearn_exporters() -> list[Exporter]:
    """Offer them."""
    return [
        Exporter("saved_model", "a folder for TensorFlow and TensorFlow Serving", "", _saved_model),
        Exporter("openvino", "a folder for the OpenVINO runtime", "", _openvino),
    ]
