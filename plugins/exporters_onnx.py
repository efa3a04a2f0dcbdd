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
        network, _ = tf2onnx.convert.from_function(
            call, [pixels], opset=18, custom_op_handlers={"Erfc": (_erfc, [])}
        )
    labels = json.dumps(run.labels, ensure_ascii=False)
    onnx.helper.set_model_props(network, {"labels": labels, "resize": run.classifier.resize})
    onnx.save(network, folder / "model.onnx")


def _erfc(graph: Any, node: Any, name: str, arguments: Any) -> None:
    """Replace erfc, which gelu has and ONNX has not, by 1 - erf."""
    import numpy as np
    from tf2onnx.utils import map_onnx_to_numpy_type

    kind = map_onnx_to_numpy_type(graph.get_dtype(node.output[0]))
    one = graph.make_const(f"{name}_one", np.array(1, kind))
    erf = graph.make_node("Erf", node.input)
    graph.remove_node(name)
    graph.make_node("Sub", [one.output[0], erf.output[0]], outputs=node.output, name=name)


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
