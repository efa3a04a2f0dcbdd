"""Export to LiteRT, in floats and in whole numbers, for phones and microcontrollers."""

import zipfile
from pathlib import Path
from typing import Any

from tlearn.backbones import Exporter

SAMPLE = 200  # training photos that show which values occur


def _export_litert(run: Any, folder: Path) -> None:
    from . import frozen_graph

    _convert(run, frozen_graph.frozen_function(run, 1), folder)


def _export_int8(run: Any, folder: Path) -> None:
    """Quantise activations and weights; see Jacob et al., arXiv:1712.05877."""
    from . import frozen_graph
    from .joined_features import standardise_before_joining

    images = run.images("train")
    graph = frozen_graph.folded_graph(frozen_graph.frozen_function(run, 1))
    function = frozen_graph.function_of(standardise_before_joining(graph))
    _convert(run, function, folder, images[:: -(-len(images) // SAMPLE)])


def _convert(run: Any, function: Any, folder: Path, images: Any = ()) -> None:
    import tensorflow as tf

    from .frozen_graph import quietly

    def sample() -> Any:
        for path, _ in images:
            _, views = run.classifier.read_views(path)
            if not isinstance(views, Exception):
                pixels = views[:1].astype("float32")
                pixels[0, 0, 0], pixels[0, 0, 1] = 0, 255  # so that a step of the input is 1
                yield [pixels]

    with quietly():
        converter = tf.lite.TFLiteConverter.from_concrete_functions([function])
        if images:
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            converter.representative_dataset = sample
            converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
            converter.inference_input_type = converter.inference_output_type = tf.uint8
        content = converter.convert()
    (folder / "model.tflite").write_bytes(content)
    with zipfile.ZipFile(folder / "model.tflite", "a") as archive:  # as LiteRT's tools do
        archive.writestr("labels.txt", "\n".join(run.labels))


def load_litert(folder: Path) -> Any:
    """Needs: pip install numpy pillow ai-edge-litert."""
    import numpy as np
    from ai_edge_litert.interpreter import Interpreter

    model = Interpreter(str(folder / "model.tflite"))
    model.allocate_tensors()
    (source,), (result,) = model.get_input_details(), model.get_output_details()

    def predict(pixels: Any) -> Any:
        (scale, zero), rows = result["quantization"], []  # uint8 counts in steps of the scale
        for image in pixels:
            model.set_tensor(source["index"], image[None].astype(source["dtype"]))
            model.invoke()
            rows.append(model.get_tensor(result["index"])[0].astype("float32"))
        return (np.stack(rows) - zero) * (scale or 1)

    return predict


NEEDS: Any = {"modules": ("ai_edge_litert",), "install": "tlearn[litert]"}
FORMATS = (
    Exporter("litert", "for phones, in floats", _export_litert, load_litert, **NEEDS),
    Exporter("litert-int8", "in bytes", _export_int8, load_litert, **NEEDS, agreement=0.97),
)
