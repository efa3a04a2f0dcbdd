"""A run's model as one TensorFlow graph with its weights as constants, for converters."""

import contextlib
import logging
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def callable_of(run: Any, images: int | None = None) -> tuple[Any, Any]:
    """Return the model as a ``tf.function`` and its pixels, of so many images or of any number."""
    import tensorflow as tf

    model, size = run.model, run.classifier.size
    pixels = tf.TensorSpec((images, size, size, 3), tf.float32, name="pixels")
    call = tf.function(lambda pixels: {"probabilities": model(pixels, training=False)})
    return call, pixels


def frozen_function(run: Any, images: int | None = None) -> Any:
    """Return the model as a function with its weights as constants."""
    from tensorflow.python.framework import convert_to_constants

    call, pixels = callable_of(run, images)
    function = call.get_concrete_function(pixels)
    return convert_to_constants.convert_variables_to_constants_v2(function)


def folded_graph(function: Any) -> Any:
    """Return the graph of a frozen function with everything computed that is constant."""
    from tensorflow.core.protobuf import config_pb2, meta_graph_pb2
    from tensorflow.python.grappler import tf_optimizer
    from tensorflow.python.training.saver import export_meta_graph

    graph = export_meta_graph(graph_def=function.graph.as_graph_def(), graph=function.graph)
    ends = meta_graph_pb2.CollectionDef()
    ends.node_list.value.extend(t.name for t in [*function.inputs, *function.outputs])
    graph.collection_def["train_op"].CopyFrom(ends)
    config = config_pb2.ConfigProto()
    rewriting = config.graph_options.rewrite_options
    rewriting.optimizers.extend(["constfold", "arithmetic", "dependency"])
    return tf_optimizer.OptimizeGraph(config, graph)


def function_of(graph: Any) -> Any:
    """Return a graph with pixels and one output, as of :func:`frozen_function`, as a function."""
    import tensorflow as tf

    whole = tf.compat.v1.wrap_function(lambda: tf.graph_util.import_graph_def(graph, name=""), [])
    return whole.prune("pixels:0", "Identity:0")


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Discard what converters report, from Python and from C++."""
    logger = logging.getLogger("absl")
    level, stderr = logger.level, os.dup(2)
    with warnings.catch_warnings(action="ignore"), Path(os.devnull).open("w") as null:
        logger.setLevel(logging.ERROR)
        os.dup2(null.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
            logger.setLevel(level)
