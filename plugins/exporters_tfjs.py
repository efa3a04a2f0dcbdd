"""Export to TensorFlow.js, for browsers and Node.js."""

import json
from pathlib import Path
from typing import Any

SHARD = 4 * 2**20  # bytes of a file of weights, which browsers load several at a time
NODE = """\
// Reads float32 pixels, (n, SIZE, SIZE, 3), and writes the probabilities of each image as JSON.
const fs = require("fs"), path = require("path"), tf = require("@tensorflow/tfjs");
require("@tensorflow/tfjs-backend-wasm");

async function predict(backend) {
  await tf.setBackend(backend);
  const card = JSON.parse(fs.readFileSync(path.join(__dirname, "model.json")));
  const { paths, weights } = card.weightsManifest[0];
  const bytes = Buffer.concat(paths.map((name) => fs.readFileSync(path.join(__dirname, name))));
  const model = await tf.loadGraphModel(tf.io.fromMemory({
    modelTopology: card.modelTopology,
    weightSpecs: weights,
    weightData: new Uint8Array(bytes).buffer,
  }));
  const images = tf.tensor4d(pixels, [pixels.length / (SIZE * SIZE * 3), SIZE, SIZE, 3]);
  return model.predict(images).array();
}

const pixels = new Float32Array(new Uint8Array(fs.readFileSync(0)).buffer);
predict("wasm").catch(() => predict("cpu"))  // which is slow, and has all operations
  .then((answer) => console.log(JSON.stringify(answer)))
  .catch((error) => { console.error(error.message); process.exit(1); });
"""


def export_tfjs(run: Any, folder: Path) -> None:
    """Write what ``tf.loadGraphModel`` reads: the graph as JSON, its constants in shards."""
    import numpy as np
    import tensorflow as tf
    from google.protobuf.json_format import MessageToDict

    from .frozen_graph import folded_graph, frozen_function

    graph, specs, content = folded_graph(frozen_function(run)), [], b""
    for node in graph.node:
        if node.op == "Const":
            tensor = node.attr["value"].tensor
            array = tf.make_ndarray(tensor)
            whole = array.dtype != np.float32
            values = array.astype("<i4" if whole else "<f4")
            content += values.tobytes()
            kind = "int32" if whole else "float32"
            specs.append({"name": node.name, "shape": list(array.shape), "dtype": kind})
            shape = tensor.tensor_shape
            node.attr["value"].tensor.CopyFrom(type(tensor)(dtype=tensor.dtype, tensor_shape=shape))
    shards = [content[start : start + SHARD] for start in range(0, len(content), SHARD)]
    names = [f"group1-shard{k}of{len(shards)}.bin" for k in range(1, len(shards) + 1)]
    for name, shard in zip(names, shards, strict=True):
        (folder / name).write_bytes(shard)
    card = {
        "format": "graph-model",
        "generatedBy": tf.__version__,
        "convertedBy": "tlearn",
        "userDefinedMetadata": {"labels": run.labels, "resize": run.classifier.resize},
        "modelTopology": MessageToDict(graph),
        "weightsManifest": [{"paths": names, "weights": specs}],
    }
    (folder / "model.json").write_text(json.dumps(card), encoding="utf-8")
    script = NODE.replace("SIZE", str(run.classifier.size))
    (folder / "predict.cjs").write_text(script, encoding="utf-8")
