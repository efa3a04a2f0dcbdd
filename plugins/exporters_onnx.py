"""Export to ONNX."""

import json
from pathlib import Path
from typing import Any

from tlearn.backbones import Exporter


def _export_onnx(run: Any, folder: Path) -> None:
    import onnx
    import tf2onnx

    from .frozen_graph import callable_of, quietly

    call, pixels = callable_of(run)
    with quietly():
        network, _ = tf2onnx.convert.from_function(call, [pixels], opset=18)
    labels = json.dumps(run.labels, ensure_ascii=False)
    onnx.helper.set_model_props(network, {"labels": labels, "resize": run.classifier.resize})
    onnx.save(network, folder / "model.onnx")


def load_onnx(folder: Path) -> Any:
    """Needs: pip install numpy pillow onnxruntime."""
    import onnxruntime

    session = onnxruntime.InferenceSession(
        str(folder / "model.onnx"), providers=["CPUExecutionProvider"]
    )
    return lambda pixels: session.run(None, {"pixels": pixels.astype("float32")})[0]


FORMATS = (
    Exporter(
        "onnx",
        "for ONNX Runtime and whatever else reads ONNX",
        _export_onnx,
        load_onnx,
        modules=("tf2onnx", "onnx", "onnxruntime"),
        install="tlearn[onnx]",
    ),
)
