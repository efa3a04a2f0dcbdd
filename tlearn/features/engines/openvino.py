"""The engine for CPUs: OpenVINO, from a network kept on disk, without importing TensorFlow."""

import contextlib
import functools
import os
import sys
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tlearn.config import Precision
from tlearn.errors import one_line
from tlearn.features.engines import T, batch_for

# OpenVINO tells its makers of every import and conversion, if this package can be imported.
# What a user does with photos is nobody's business.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]

import openvino as ov  # noqa: E402

LIMIT = 2**24  # bytes that the largest activation of a batch may take: it should stay in the cache
SPARE = 2  # requests that wait, so that no stream does
BYTES = {"float32": 4, "bfloat16": 2}


class OpenVINOEngine:
    """A network compiled for this CPU, with one request in flight for every stream of it.

    Args:
        network: As :func:`converted` gives it.
        names: Which of its outputs are wanted; the rest is not computed.
        precision: What it computes in.
    """

    def __init__(self, network: Any, names: Sequence[str], precision: Precision) -> None:
        wanted = [network.output(name) for name in names]
        network = ov.Model(wanted, network.get_parameters(), "prefix")
        shape = list(network.input(0).get_partial_shape())
        largest = BYTES[precision] * max(_sizes(network))
        self.batch = batch_for(largest, LIMIT)
        network.reshape({0: ov.PartialShape([self.batch, *shape[1:]])})
        compiled = _core().compile_model(
            network,
            "CPU",
            {
                "PERFORMANCE_HINT": "THROUGHPUT",
                "INFERENCE_PRECISION_HINT": "bf16" if precision == "bfloat16" else "f32",
            },
        )
        self._compiled = compiled
        count = int(compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS"))
        # Whoever computes takes requests from here and brings them back: several may, in turns.
        self._idle = deque(compiled.create_infer_request() for _ in range(count + SPARE))

    def map(
        self, batches: Iterable[tuple[T, Sequence[np.ndarray]]]
    ) -> Iterator[tuple[T, list[np.ndarray]]]:
        """Yield the outputs of each batch; see :class:`tlearn.features.engines.Engine`."""
        running: deque[tuple[Any, T, int]] = deque()

        def collected() -> tuple[T, list[np.ndarray]]:
            request, tag, n = running.popleft()
            request.wait()
            outputs = [np.array(tensor.data[:n]) for tensor in request.output_tensors]
            self._idle.append(request)
            return tag, outputs

        try:
            for tag, images in batches:
                while (request := self._taken(needed=not running)) is None:
                    yield collected()
                pixels = request.input_tensors[0].data
                pixels[len(images) :] = 0
                for row, image in zip(pixels, images, strict=False):
                    row[:] = image
                request.start_async()
                running.append((request, tag, len(images)))
            while running:
                yield collected()
        finally:
            for request, _, _ in running:
                request.wait()
                self._idle.append(request)

    def _taken(self, needed: bool) -> Any:
        """Return an idle request; where there is none, a new one if it is needed, else nothing."""
        try:
            return self._idle.popleft()
        except IndexError:
            return self._compiled.create_infer_request() if needed else None


@functools.cache
def _core() -> Any:
    """Return the one core of this process.

    Each core gives the thread that makes it a stack for signals, and takes away that of the one
    before: when two have gone, the next signal, such as Ctrl-C, finds none and ends the process.
    """
    return ov.Core()


def converted(model: Callable[[], Any], names: Sequence[str], size: int, path: Path | None) -> Any:
    """Convert a Keras model and keep it on disk, or read it from there.

    Args:
        model: A function that returns the Keras model, called only if it is not on disk yet.
        names: What its outputs are called.
        size: Side of its input in pixels.
        path: Where it belongs, without a suffix; ``None`` to keep it nowhere.
    """
    if path and path.with_suffix(".xml").exists():
        with contextlib.suppress(RuntimeError):  # damaged: made again
            network = _core().read_model(path.with_suffix(".xml"))
            _used(path)
            return network
    from tlearn.features.engines.tensorflow import traced

    # OpenVINO reads a variable ten times over as it converts, a constant once.
    network = ov.convert_model(traced(model(), names, size, constant=True))
    if path:
        with contextlib.suppress(OSError):  # not kept, then: it is made again the next time
            _write(network, path)
    return network


def _write(network: Any, path: Path) -> None:
    """Write a network; its weights come first, so that what is found by name is whole."""
    part = path.with_name(f"{path.name}-{uuid.uuid4().hex}")
    ends = (".bin", ".xml")
    try:
        ov.save_model(network, part.with_suffix(".xml"), compress_to_fp16=False)
        for end in ends:
            part.with_suffix(end).replace(path.with_suffix(end))
    except RuntimeError as error:  # OpenVINO's own word for a full disk
        raise OSError(one_line(error)) from None
    finally:
        for end in ends:
            part.with_suffix(end).unlink(missing_ok=True)


def _used(path: Path) -> None:
    with contextlib.suppress(OSError):
        for end in (".bin", ".xml"):
            os.utime(path.with_suffix(end))


def _sizes(network: Any) -> Iterator[int]:
    """Yield how many numbers each operation gives for one image."""
    for operation in network.get_ordered_ops():
        if operation.get_type_name() in ("Constant", "Parameter", "Convert", "Result"):
            continue
        for output in operation.outputs():
            dimensions = list(output.get_partial_shape())[1:]
            if all(d.is_static for d in dimensions):
                yield int(np.prod([d.get_length() for d in dimensions]))
