"""A network that is sent to other processes, which compute the same with it."""

import importlib
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tlearn.backbones import load_registry
from tlearn.features.engines import Choice, Engine


@dataclass(frozen=True)
class PortableNetwork:
    """A network with its weights, as bytes: it is the same wherever it is computed.

    Attributes:
        choice: What computes it.
        outputs: The names of the outputs that are wanted.
        size: Side of its input in pixels.
        files: Of OpenVINO its structure and its weights; of Keras the model's one file.
        modules: The modules that define its layers which are not Keras's own, for TensorFlow.
    """

    choice: Choice
    outputs: tuple[str, ...]
    size: int
    files: tuple[bytes, ...]
    modules: tuple[str, ...] = ()

    @classmethod
    def of(
        cls,
        choice: Choice,
        model: Callable[[Sequence[str]], Any],
        names: Sequence[str],
        size: int,
        path: Path | None = None,
        outputs: Sequence[str] = (),
        modules: Sequence[str] = (),
    ) -> "PortableNetwork":
        """Return a network; arguments are as of :meth:`Choice.engine_for`."""
        outputs = tuple(outputs or names)
        if choice.engine == "openvino":
            from tlearn.features.engines.openvino import convert, to_bytes

            network = convert(lambda: model(names), names, size, path)
            return cls(choice, outputs, size, to_bytes(network))
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "network.keras"
            model(outputs).save(file)
            return cls(choice, outputs, size, (file.read_bytes(),), tuple(modules))

    def engine(self, threads: int = 0) -> Engine:
        """Return an engine for it.

        Args:
            threads: How many compute, with OpenVINO; all processors if 0.
        """
        if self.choice.engine == "openvino":
            from tlearn.features.engines.openvino import OpenVINOEngine, from_bytes

            network = from_bytes(*self.files)
            return OpenVINOEngine(network, self.outputs, self.choice.precision, threads)
        from tlearn.features.engines.tensorflow import TensorFlowEngine
        from tlearn.keras_import import keras

        load_registry()  # imports the plugins of folders
        for module in self.modules:
            importlib.import_module(module)
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "network.keras"
            file.write_bytes(self.files[0])
            model = keras.models.load_model(file, compile=False, safe_mode=True)
        return TensorFlowEngine(model, self.outputs, self.size, self.choice.precision)
