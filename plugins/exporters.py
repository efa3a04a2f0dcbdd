"""Export formats, each in a module beside this one."""

from tlearn.backbones import Exporter, hookimpl


@hookimpl
def tlearn_exporters() -> list[Exporter]:
    """Offer them."""
    from . import (
        exporters_keras,
        exporters_litert,
        exporters_onnx,
        exporters_openvino,
        exporters_savedmodel,
        exporters_tfjs,
        tfjs_readers,
    )

    return [
        *exporters_keras.FORMATS,
        *exporters_savedmodel.FORMATS,
        *exporters_litert.FORMATS,
        *exporters_onnx.FORMATS,
        *exporters_openvino.FORMATS,
        Exporter(
            "tfjs",
            "for browsers and Node.js",
            exporters_tfjs.export_tfjs,
            tfjs_readers.load_tfjs,
            tfjs_readers.load_graph,
        ),
    ]
