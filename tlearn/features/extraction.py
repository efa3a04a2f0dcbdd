"""The features of any layer for every image of a folder, written to a file as they come."""

import contextlib
import json
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tlearn.config import Resize
from tlearn.data.file_table import ImageFile
from tlearn.data.prefetch import batched, prefetch_map, readers
from tlearn.data.views import to_square
from tlearn.errors import BackboneError, ConfigError, nearest
from tlearn.features.activations import read_scanned
from tlearn.features.built_backbone import BuiltBackbone, preprocess_pixels, tensors_at
from tlearn.features.engines import Choice
from tlearn.keras_import import keras
from tlearn.progress import Progress

PICTURES = ("png", "svg", "pdf")
OUTPUT = "output"
GROUP = 2**24  # bytes of features written at a time

Parts = Sequence[tuple[list[ImageFile], np.ndarray]]  # images and their rows
Append = Callable[[Parts], None]


@dataclass(frozen=True)
class Layer:
    """One layer of a backbone, for whoever chooses a boundary.

    Attributes:
        index: Its place in the network, from 0.
        kind: Its class.
        shape: Of its output, without the batch; ``None`` where it is not one tensor.
        boundary: ``before`` or ``after`` if a boundary is there, else empty.
    """

    index: int
    name: str
    kind: str
    shape: tuple[int, ...] | None
    parameters: int
    block: int
    boundary: str


def layers(built: BuiltBackbone) -> list[Layer]:
    """Return all layers of a backbone, from the pixels upwards."""
    boundaries = built.boundaries[1:]
    positions = {boundary.name: boundary.position for boundary in boundaries}
    rows = []
    for index, layer in enumerate(built.base.layers):
        name, tensors = layer.name, tensors_at(built.base, layer.name, "after")
        shape = tuple(tensors[0].shape[1:]) if len(tensors) == 1 else None
        block = sum(name in built.layers_above(boundary) for boundary in boundaries)
        kind, weights = type(layer).__name__, int(layer.count_params())
        rows.append(Layer(index, name, kind, shape, weights, block, positions.get(name, "")))
    return rows


def draw(built: BuiltBackbone, path: Path) -> None:
    """Draw the network with Graphviz.

    Raises:
        ConfigError: If Graphviz or pydot is not there, or the file cannot be written.
    """
    kind = path.suffix.lower().lstrip(".")
    if kind not in PICTURES or not path.parent.is_dir():
        raise ConfigError(
            f"--plot takes a file that ends in .{', .'.join(PICTURES)}, in an existing folder. "
            f"Received: {str(path)!r}"
        )
    try:
        keras.utils.plot_model(built.base, str(path), show_shapes=True, show_layer_names=True)
    except ImportError:
        raise ConfigError(
            "drawing needs pydot and Graphviz: 'pip install pydot', and Graphviz from the system's "
            "packages or https://graphviz.org/download; without --plot the layers are listed"
        ) from None


def layer_model(built: BuiltBackbone, layer: str, pool: str) -> Any:
    """Return a Keras model from RGB pixels, 0 to 255, to what a layer gives, float32.

    Args:
        built: The backbone.
        layer: Name of the layer; empty for the topmost.
        pool: ``avg`` for global average pooling, ``none`` for the full feature map.

    Raises:
        BackboneError: If there is no such layer, or its output is not one tensor.
    """
    names = [known.name for known in built.base.layers]
    if layer and layer not in names:
        raise BackboneError(
            f"{built.backbone.name} has no layer {layer!r}{nearest(layer, names)}; 'tlearn layers "
            f"{built.backbone.name}' lists them"
        )
    tensors = tensors_at(built.base, layer, "after") if layer else [built.base.output]
    if len(tensors) != 1 or None in tensors[0].shape[1:]:
        raise BackboneError(
            f"the layer {layer!r} of {built.backbone.name} has several outputs, or one of variable "
            f"shape; choose another"
        )
    pixels = keras.Input((built.size, built.size, 3))
    network = keras.Model(built.base.input, tensors[0])
    output = network(preprocess_pixels(pixels, built.backbone.preprocess))
    if pool == "avg" and len(output.shape) > 2:
        output = keras.ops.mean(output, axis=tuple(range(1, len(output.shape) - 1)))
    return keras.Model(pixels, output)


def extract(
    model: Any,
    files: Sequence[ImageFile],
    resize: Resize,
    choice: Choice,
    path: Path,
    facts: dict[str, Any],
    progress: Progress,
) -> tuple[int, ...]:
    """Write what a model gives for every image into an ``.npz`` or ``.parquet`` file.

    The model is one from pixels to one tensor; the facts say what it is, in the file. Memory does
    not grow with the number of images. Returns the shape of what was written.

    Raises:
        DataError: If an image can no longer be read.
    """
    size, shape = int(model.input.shape[1]), tuple(model.output.shape[1:])
    engine = choice.engine_for(lambda _: model, [OUTPUT], size)
    write = _npz if path.suffix.lower() == ".npz" else _parquet

    def render(file: ImageFile) -> tuple[ImageFile, np.ndarray]:
        with read_scanned(file, size) as image:
            return file, to_square(image, size, resize)

    images = batched(
        prefetch_map(render, files, threads=readers(file.path for file in files[:1])), engine.batch
    )
    batches = (([file for file, _ in batch], [x for _, x in batch]) for batch in images)
    with (
        write(path, files, shape, facts) as append,
        progress.task("computing features", len(files), "images") as task,
    ):
        parts: list[tuple[list[ImageFile], np.ndarray]] = []
        for batch, (rows,) in engine.map(batches):
            parts.append((batch, np.ascontiguousarray(rows, np.float32)))
            task.advance(len(batch))
            if sum(part.nbytes for _, part in parts) >= GROUP:
                append(parts)
                parts = []
        if parts:
            append(parts)
    return (len(files), *shape)


@contextlib.contextmanager
def _npz(
    path: Path, files: Sequence[ImageFile], shape: tuple[int, ...], facts: dict[str, Any]
) -> Iterator[Append]:
    columns = {
        "paths": np.array([f.name for f in files]),
        "labels": np.array([f.label for f in files]),
        "facts": np.array(json.dumps(facts, ensure_ascii=False)),
    }
    with zipfile.ZipFile(path, "w") as archive:
        for name, column in columns.items():
            with archive.open(f"{name}.npy", "w") as member:
                np.lib.format.write_array(member, column, allow_pickle=False)
        with archive.open("features.npy", "w", force_zip64=True) as member:
            header = {"descr": "<f4", "fortran_order": False, "shape": (len(files), *shape)}
            np.lib.format.write_array_header_2_0(member, header)
            yield lambda parts: member.writelines(rows.tobytes() for _, rows in parts)


@contextlib.contextmanager
def _parquet(
    path: Path, files: Sequence[ImageFile], shape: tuple[int, ...], facts: dict[str, Any]
) -> Iterator[Append]:
    import pyarrow as pa
    from pyarrow import parquet

    width = int(np.prod(shape))
    metadata = {"tlearn": json.dumps({**facts, "shape": list(shape)}, ensure_ascii=False)}
    columns = [("path", pa.string()), ("label", pa.string())]
    columns += [("features", pa.list_(pa.float32(), width))]
    schema = pa.schema(columns, metadata=metadata)
    with parquet.ParquetWriter(path, schema) as writer:

        def append(parts: Parts) -> None:
            group = [file for batch, _ in parts for file in batch]
            numbers = pa.array(np.concatenate([rows for _, rows in parts]).ravel())
            features = pa.FixedSizeListArray.from_arrays(numbers, width)
            arrays = [[f.name for f in group], [f.label for f in group], features]
            writer.write_table(pa.table(arrays, schema=schema))

        yield append
