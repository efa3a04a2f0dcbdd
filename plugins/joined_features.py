"""Pooled features that are standardised before they are joined, in the graph of a model."""

from typing import Any


def standardise_before_joining(graph: Any) -> Any:
    """Return a graph with ``joined * a + b`` as joined parts, each of them times and plus its own.

    The joined features of several depths have ranges that differ by far. In whole numbers of 8
    bits all that is joined has one range, so that those with the smaller one would be lost.

    Args:
        graph: A folded graph, in which a and b are constants.
    """
    import numpy as np
    import tensorflow as tf
    from tensorflow.core.framework.graph_pb2 import GraphDef

    nodes = {node.name: node for node in graph.node}
    result = GraphDef(versions=graph.versions)

    def is_constant(name: str) -> bool:
        return name in nodes and nodes[name].op == "Const"

    def joined_by(node: Any) -> Any:
        """Return what is joined, where a node is that times a constant plus a constant."""
        product = nodes.get(node.input[0]) if node.op == "AddV2" else None
        if product is None or product.op != "Mul":
            return None
        joined = nodes.get(product.input[0])
        constant = is_constant(node.input[1]) and is_constant(product.input[1])
        return joined if joined is not None and joined.op == "ConcatV2" and constant else None

    def add(name: str, op: str, *inputs: str, value: Any = None) -> str:
        node = result.node.add(name=name, op=op, input=inputs)
        node.attr["dtype" if op == "Const" else "T"].type = tf.float32.as_datatype_enum
        if op == "Const":
            node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(value))
        return name

    widths = _widths(graph)
    for node in graph.node:
        joined = joined_by(node)
        if joined is None:
            result.node.add().CopyFrom(node)
            continue
        product = nodes[node.input[0]]
        factor, summand = (
            tf.make_ndarray(nodes[part.input[1]].attr["value"].tensor) for part in (product, node)
        )
        ends = np.cumsum([widths[part] for part in joined.input[:-1]])[:-1]
        parts = []
        for k, (part, a, b) in enumerate(
            zip(joined.input[:-1], np.split(factor, ends), np.split(summand, ends), strict=True)
        ):
            name = f"{node.name}/{k}"
            scaled = add(f"{name}/mul", "Mul", part, add(f"{name}/a", "Const", value=a))
            parts.append(add(f"{name}/add", "AddV2", scaled, add(f"{name}/b", "Const", value=b)))
        again = result.node.add()
        again.CopyFrom(joined)
        again.name, again.input[:] = node.name, [*parts, joined.input[-1]]
    return result


def _widths(graph: Any) -> dict[str, int]:
    """Return the size of the last axis of the output of each node that has one."""
    import tensorflow as tf

    with tf.Graph().as_default() as built:
        tf.graph_util.import_graph_def(graph, name="")
    outputs = [(op.name, op.outputs[0].shape) for op in built.get_operations() if op.outputs]
    return {name: shape[-1] for name, shape in outputs if shape.rank}
