"""The engine for CPUs: OpenVINO, from a compiled file where there is one, without TensorFlow."""

import contextlib
import functools
import os
import sys
import tempfile
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tlearn.config import Precision
from tlearn.errors import one_line
from tlearn.features.engines import T, batch_for

# OpenVINO reports every import and conversion to its makers, if this package can be imported.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]

import openvino as ov  # noqa: E402

LIMIT = 2**24  # bytes that the largest activation of a batch may take: it should stay in the cache
SPARE = 2  # requests that wait, so that no stream does
BYTES = {"float32": 4, "bfloat16": 2}
SUFFIXES = (".bin", ".xml")  # of a saved network: weights, then structure


class OpenVINOEngine:
    """A network compiled for this CPU, with one request in flight for every stream of it.

    Its head computes in float32: eight bits of a logit would move probabilities by per cents.

    Args:
        network: As :func:`convert` gives it.
        names: Which of its outputs are wanted; the rest is not computed.
        precision: What it computes in.
        threads: How many compute; all processors if 0.
    """

    def __init__(
        self, network: Any, names: Sequence[str], precision: Precision, threads: int = 0
    ) -> None:
        wanted = [network.output(name) for name in names]
        network = ov.Model(wanted, network.get_parameters(), "prefix")
        shape = list(network.input(0).get_partial_shape())
        largest = BYTES[precision] * max(_sizes(network))
        self.batch = batch_for(largest, LIMIT)
        network.reshape({0: ov.PartialShape([self.batch, *shape[1:]])})
        head = _cut_head(network) if precision == "bfloat16" else None
        body = network if head is None else ov.Model(head[0], network.get_parameters(), "body")
        compiled = _core().compile_model(
            body,
            "CPU",
            {
                "PERFORMANCE_HINT": "THROUGHPUT",
                "INFERENCE_PRECISION_HINT": "bf16" if precision == "bfloat16" else "f32",
                "INFERENCE_NUM_THREADS": threads,
            },
        )
        self._compiled = compiled
        self._head = head and _core().compile_model(
            head[1], "CPU", {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
        )
        self._most = int(compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS")) + SPARE
        # Requests of all callers of map that are done, each with one of the head.
        self._idle = deque[tuple[Any, Any]]()

    def map(
        self, batches: Iterable[tuple[T, Sequence[np.ndarray]]]
    ) -> Iterator[tuple[T, list[np.ndarray]]]:
        """Yield the outputs of each batch; see :class:`tlearn.features.engines.Engine`."""
        running: deque[tuple[tuple[Any, Any], T, int]] = deque()

        def collect() -> tuple[T, list[np.ndarray]]:
            requests, tag, n = running.popleft()
            body, head = requests
            body.wait()
            if head:
                head.infer(dict(enumerate(body.output_tensors)), share_inputs=True)
            tensors = (head or body).output_tensors
            outputs = [np.array(tensor.data[:n]) for tensor in tensors]
            self._idle.append(requests)
            return tag, outputs

        try:
            for tag, images in batches:
                if len(running) == self._most:
                    yield collect()
                requests = self._idle_requests()
                pixels = requests[0].input_tensors[0].data
                pixels[len(images) :] = 0
                for row, image in zip(pixels, images, strict=False):
                    row[:] = image
                requests[0].start_async()
                running.append((requests, tag, len(images)))
            while running:
                yield collect()
        finally:
            for requests, _, _ in running:
                requests[0].wait()
                self._idle.append(requests)

    def _idle_requests(self) -> tuple[Any, Any]:
        """Return idle requests of body and head, or new ones where there are none."""
        try:
            return self._idle.popleft()
        except IndexError:
            head = self._head.create_infer_request() if self._head else None
            return self._compiled.create_infer_request(), head


@functools.cache
def _core() -> Any:
    """Return the one core of this process.

    Each core replaces the signal stack of the thread that makes it: once two are gone, the next
    signal, such as Ctrl-C, has no stack and kills the process.
    """
    return ov.Core()


def convert(model: Callable[[], Any], names: Sequence[str], size: int, path: Path | None) -> Any:
    """Return a Keras model as an OpenVINO network, read from a file or converted and saved there.

    The model, with outputs of these names, is asked for only if there is no file yet. The path is
    without a suffix; ``None`` for no file.
    """
    if path and path.with_suffix(".xml").exists():
        with contextlib.suppress(RuntimeError):  # damaged: converted again
            network = _core().read_model(path.with_suffix(".xml"))
            with contextlib.suppress(OSError):
                for suffix in SUFFIXES:
                    os.utime(path.with_suffix(suffix))  # the cache deletes the least recently used
            return network
    from tlearn.features.engines.tensorflow import trace

    # OpenVINO reads a variable ten times over as it converts, a constant once.
    network = ov.convert_model(trace(model(), names, size, constant=True))
    if path:
        with contextlib.suppress(OSError):  # it is converted again the next time
            _write(network, path)
    return network


def to_bytes(network: Any) -> tuple[bytes, bytes]:
    """Return the structure and the weights of a network, for :func:`from_bytes`."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.xml"
        ov.save_model(network, path, compress_to_fp16=False)
        return path.read_bytes(), path.with_suffix(".bin").read_bytes()


def from_bytes(structure: bytes, weights: bytes) -> Any:
    """Return a network that :func:`to_bytes` gave."""
    return _core().read_model(structure, weights)


def _write(network: Any, path: Path) -> None:
    """Save a network; the weights are renamed first, so that a network with its name is whole."""
    part = path.with_name(f"{path.name}-{uuid.uuid4().hex}")
    try:
        ov.save_model(network, part.with_suffix(".xml"), compress_to_fp16=False)
        for suffix in SUFFIXES:
            part.with_suffix(suffix).replace(path.with_suffix(suffix))
    except RuntimeError as error:  # as OpenVINO reports a full disk
        raise OSError(one_line(error)) from None
    finally:
        for suffix in SUFFIXES:
            part.with_suffix(suffix).unlink(missing_ok=True)


def _cut_head(network: Any) -> tuple[list[Any], Any] | None:
    """Cut off the head: all behind the outputs of which an image has a vector, with a product.

    Returns:
        The outputs of the body, and the head as a network from these; nothing without a head.
    """

    def has_vector(output: Any) -> bool:
        return len(output.get_partial_shape()) <= 2

    cuts, head = dict[tuple[str, int], Any](), dict[str, Any]()
    behind = [result.input(0) for result in network.get_results()]
    while behind:
        target = behind.pop()
        source = target.get_source_output()
        node = source.get_node()
        inputs = node.inputs()
        if node.get_friendly_name() in head or node.get_type_name() == "Constant":
            continue
        if inputs and all(has_vector(one.get_source_output()) for one in inputs):
            head[node.get_friendly_name()] = node
            behind += inputs
        else:
            cut = cuts.setdefault((node.get_friendly_name(), source.get_index()), (source, []))
            cut[1].append(target)
    if not any(node.get_type_name() == "MatMul" for node in head.values()):
        return None
    parameters = []
    for source, targets in cuts.values():
        parameter = ov.opset8.parameter(source.get_partial_shape(), source.get_element_type())
        parameters.append(parameter)
        for target in targets:
            target.replace_source_output(parameter.output(0))
    sources = [source for source, _ in cuts.values()]
    return sources, ov.Model(network.get_results(), parameters, "head")


def _sizes(network: Any) -> Iterator[int]:
    """Yield how many numbers each operation gives for one image."""
    for operation in network.get_ordered_ops():
        if operation.get_type_name() in ("Constant", "Parameter", "Convert", "Result"):
            continue
        for output in operation.outputs():
            dimensions = list(output.get_partial_shape())[1:]
            if all(d.is_static for d in dimensions):
                yield int(np.prod([d.get_length() for d in dimensions]))
