"""Export to OpenVINO, in the folder of a version, as OpenVINO Model Server reads it."""

import json
import sys
from pathlib import Path
from typing import Any

from tlearn.backbones import Exporter


def _export_openvino(run: Any, folder: Path) -> None:
    # It would report the conversion to its makers.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    import openvino as ov

    from .frozen_graph import callable_of, quietly

    call, pixels = callable_of(run)
    with quietly():
        network = ov.convert_model(call.get_concrete_function(pixels))
    labels = json.dumps(run.labels, ensure_ascii=False)
    for name, value in {"labels": labels, "resize_type": run.classifier.resize}.items():
        network.set_rt_info(value, ["model_info", name])
    network.input(0).set_names({"pixels"})
    network.output(0).set_names({"probabilities"})
    (folder / "1").mkdir()
    ov.save_model(network, folder / "1" / "model.xml", compress_to_fp16=False)


def load_openvino(folder: Path) -> Any:
    """Needs: pip install numpy pillow openvino."""
    import openvino

    precise = {"INFERENCE_PRECISION_HINT": "f32"}  # else bfloat16 where the CPU has it
    model = openvino.Core().compile_model(folder / "1" / "model.xml", "CPU", precise)
    return lambda pixels: model(pixels.astype("float32"))[0]


FORMATS = (
    Exporter(
        "openvino",
        "for OpenVINO, on Intel's and other CPUs, and its Model Server",
        _export_openvino,
        load_openvino,
        modules=("openvino",),
        install="openvino",
    ),
)
