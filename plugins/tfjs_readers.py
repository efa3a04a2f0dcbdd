"""What reads a model of TensorFlow.js: Node.js, or TensorFlow where there is no Node.js."""

import json
from pathlib import Path
from typing import Any


def load_tfjs(folder: Path) -> Any:
    """Needs: pip install numpy pillow; Node.js; and in this folder, or one above it,
    npm install @tensorflow/tfjs @tensorflow/tfjs-backend-wasm.
    """  # noqa: D205
    import subprocess

    import numpy as np

    def node(*words: str, pixels: bytes = b"") -> bytes:
        command = ["node", *words]
        done = subprocess.run(command, input=pixels, cwd=folder, capture_output=True)
        if done.returncode:
            raise OSError(done.stderr.decode(errors="replace").strip())
        return done.stdout

    def predict(pixels: np.ndarray) -> np.ndarray:
        """Have Node.js run the model."""
        answer = node("predict.cjs", pixels=pixels.astype("<f4").tobytes())
        return np.array(json.loads(answer), np.float32)

    try:
        node("-e", "require('@tensorflow/tfjs'), require('@tensorflow/tfjs-backend-wasm')")
    except OSError:
        raise ImportError(
            "there is no Node.js with @tensorflow/tfjs and its wasm backend"
        ) from None
    return predict


def load_graph(folder: Path) -> Any:
    """Read the graph and its constants back into TensorFlow."""
    import numpy as np
    import tensorflow as tf
    from google.protobuf.json_format import ParseDict
    from tensorflow.core.framework.graph_pb2 import GraphDef

    from .frozen_graph import function_of

    card = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    (group,) = card["weightsManifest"]
    content = b"".join((folder / name).read_bytes() for name in group["paths"])
    graph = ParseDict(card["modelTopology"], GraphDef())
    nodes, start = {node.name: node for node in graph.node}, 0
    for spec in group["weights"]:
        kind = np.dtype(spec["dtype"])
        count = int(np.prod(spec["shape"]))
        array = np.frombuffer(content, kind, count, start).reshape(spec["shape"])
        start += array.nbytes
        nodes[spec["name"]].attr["value"].tensor.CopyFrom(tf.make_tensor_proto(array))
    predict = function_of(graph)
    return lambda pixels: predict(tf.constant(pixels, tf.float32)).numpy()
