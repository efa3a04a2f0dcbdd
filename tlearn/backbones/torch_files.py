"""Reads weights that torch before 1.6 saved, without torch and without running anything in them."""

import io
import pickle
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, NamedTuple

from tlearn.errors import BackboneError, one_line

if TYPE_CHECKING:
    import numpy as np

MAGIC = 0x1950A86A20F9469CFC6C
KINDS = {"FloatStorage": "<f4", "LongStorage": "<i8"}  # torch's names of NumPy's types


class _Tensor(NamedTuple):
    """Where a tensor lies in a storage: ``start`` and ``strides`` count its numbers."""

    storage: tuple[Any, ...]
    start: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class _Unpickler(pickle.Unpickler):
    """Knows the names that a dictionary of tensors needs, and refuses all others."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return lambda storage, start, shape, strides, *_: _Tensor(
                storage, start, shape, strides
            )
        if module == "torch" and name in KINDS:
            return KINDS[name]
        raise pickle.UnpicklingError(f"it names {module}.{name}, which is no tensor")

    def persistent_load(self, pid: Any) -> Any:
        return pid


def read_torch_weights(data: bytes) -> "dict[str, np.ndarray]":
    """Return the tensors of a state dictionary that torch before 1.6 saved, in its order.

    Such a file has pickles of a magic number, a version, the sizes of types, the dictionary with
    references to storages, and the storages' keys; then each storage's length and numbers.
    Tensors have strides: the order of their axes need not be that in memory.

    Args:
        data: The file's content. Only three kinds of names are known to the unpickler, but a file
            should be one whose digest is known: see :meth:`tlearn.backbones.Weights.read`.

    Raises:
        BackboneError: If it is no such file.
    """
    import numpy as np

    def array(tensor: _Tensor) -> "np.ndarray":
        kind, key = tensor.storage[1:3]
        size = np.dtype(kind).itemsize
        strides = [size * stride for stride in tensor.strides]
        return np.ndarray(tensor.shape, kind, storages[key], size * tensor.start, strides)

    stream = io.BytesIO(data)
    try:
        magic, _, _, tensors, keys = (_Unpickler(stream).load() for _ in range(5))
        if magic != MAGIC:
            raise ValueError("it does not begin as such files do")
        sizes = {t.storage[2]: np.dtype(t.storage[1]).itemsize for t in tensors.values()}
        storages = {
            key: stream.read(sizes[key] * int.from_bytes(stream.read(8), "little")) for key in keys
        }
        return {name: array(tensor) for name, tensor in tensors.items()}
    # Bytes that are no such file can make unpickling fail in any way.
    except Exception as error:
        raise BackboneError(f"torch before 1.6 saved no such weights: {one_line(error)}") from error
