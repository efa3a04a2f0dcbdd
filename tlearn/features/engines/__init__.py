"""What runs a network over pixels: one interface, and the rule that chooses an engine."""

import importlib.util
import os
import platform
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np

from tlearn.config import EngineName, Precision
from tlearn.errors import ConfigError

T = TypeVar("T")
# Values of ONEDNN_MAX_CPU_ISA, which limits the kernels of both engines.
WITHOUT_BFLOAT16 = ("SSE41", "AVX", "AVX2", "AVX2_VNNI", "AVX512_CORE", "AVX512_CORE_VNNI")
AMPERE = 8  # the first compute capability with bfloat16


class Engine(Protocol):
    """A network from pixels to one or several outputs, compiled for one batch shape.

    Every call computes a full batch, a short one padded. With OpenVINO a row's result does not
    depend on the rows beside it; with TensorFlow it may in the last bits (relative 1e-5), because
    on some CPUs its kernels sum in another order at another place of the batch.

    Attributes:
        batch: Images per batch, at most.
    """

    batch: int

    def map(
        self, batches: Iterable[tuple[T, Sequence[np.ndarray]]]
    ) -> Iterator[tuple[T, list[np.ndarray]]]:
        """Yield the outputs of each batch, ``(n, ...)`` each, in order.

        A batch is a tag of the caller's, and up to ``batch`` images ``(size, size, 3)`` uint8; it
        may be empty. Batches are taken while others are computed, so that they are made meanwhile.
        """
        ...


def outputs_of(engine: Engine, pixels: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Return an engine's outputs for any number of images, at least one."""
    parts = (
        (start, pixels[start : start + engine.batch])
        for start in range(0, len(pixels), engine.batch)
    )
    results = [outputs for _, outputs in engine.map(parts)]
    return [np.concatenate(rows) for rows in zip(*results, strict=True)]


@dataclass(frozen=True)
class Choice:
    """An engine and the precision it computes in."""

    engine: EngineName
    precision: Precision

    def __str__(self) -> str:
        return f"{self.engine} in {self.precision}"

    def engine_for(
        self,
        model: Callable[[Sequence[str]], Any],
        names: Sequence[str],
        size: int,
        path: Path | None = None,
        outputs: Sequence[str] = (),
    ) -> Engine:
        """Compile a Keras model for pixels of ``size``.

        Args:
            model: Gives the model with the outputs of these names; called only if it is needed.
            names: All outputs that it may have; the compiled file has them all.
            size: Side of its input.
            path: The compiled file, without a suffix; ``None`` for no file.
            outputs: Those that are wanted; all if not given.
        """
        outputs = outputs or names
        if self.engine == "openvino":
            from tlearn.features.engines.openvino import OpenVINOEngine, convert

            network = convert(lambda: model(names), names, size, path)
            return OpenVINOEngine(network, outputs, self.precision)
        from tlearn.features.engines.tensorflow import TensorFlowEngine

        return TensorFlowEngine(model(outputs), outputs, size, self.precision)


def choose(engine: str = "auto", precision: str = "auto") -> Choice:
    """Choose by a written rule; nothing is measured.

    The engine is TensorFlow where it sees a GPU, else OpenVINO where it is installed, else
    TensorFlow. The precision is bfloat16 on a GPU that computes in it, and with OpenVINO on such a
    CPU; else float32, because TensorFlow on a CPU gains nothing from it for depthwise networks.

    Raises:
        ConfigError: If the engine asked for is not installed, or the machine lacks the precision.
    """
    installed = importlib.util.find_spec("openvino") is not None
    gpus = _gpus() if engine != "openvino" else []
    if engine == "auto":
        engine = "openvino" if installed and not gpus else "tensorflow"
    elif engine == "openvino" and not installed:
        raise ConfigError(
            "OpenVINO is not installed; 'pip install openvino' where there are wheels for this "
            "machine, or use --engine tensorflow"
        )
    can = all(major >= AMPERE for major in gpus) if gpus else cpu_has_bfloat16()
    if precision == "auto":
        precision = "bfloat16" if can and (gpus or engine == "openvino") else "float32"
    elif precision == "bfloat16" and not can:
        raise ConfigError(
            "this machine does not compute in bfloat16 (which needs a CPU with AVX512-BF16 or AMX, "
            "or a GPU of compute capability 8); use --precision float32 or auto"
        )
    return Choice(
        "openvino" if engine == "openvino" else "tensorflow",
        "bfloat16" if precision == "bfloat16" else "float32",
    )


@cache
def cpu_has_bfloat16() -> bool:
    """Return whether the CPU multiplies in bfloat16, and oneDNN is not told to do without."""
    if os.environ.get("ONEDNN_MAX_CPU_ISA", "").upper() in WITHOUT_BFLOAT16:
        return False
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace")
    except OSError:
        return False  # other systems than Linux do not say
    return "avx512_bf16" in flags or "amx_bf16" in flags


@cache
def _gpus() -> list[int]:
    """Return the major compute capability of each GPU that TensorFlow sees, 0 if it says none.

    TensorFlow is asked, and imported, only where there may be one.
    """
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1")
    if hidden or not (Path("/dev/nvidiactl").exists() or platform.system() == "Darwin"):
        return []
    from tlearn.keras_import import tensorflow as tf

    details = map(tf.config.experimental.get_device_details, tf.config.list_physical_devices("GPU"))
    return [gpu.get("compute_capability", (0, 0))[0] for gpu in details]


def batch_for(largest: int, limit: int) -> int:
    """Return how many images to compute at a time: a power of two from 1 to 32.

    ``largest`` is the bytes of the largest activation of one image, ``limit`` of a batch.
    """
    fitting = max(1, min(32, limit // max(1, largest)))
    return int(2 ** (fitting.bit_length() - 1))
