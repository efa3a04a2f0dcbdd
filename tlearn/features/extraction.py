"""The features of any layer for every image of a folder, written to a file as they come."""

import contextlib
import json
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from tlearn.config import Resize
from tlearn.data.file_table import ImageFile
from tlearn.data.prefetch import batched, in_store, prefetch_map, readers
from tlearn.data.scanned_photos import render_square
from tlearn.errors import BackboneError, ConfigError, nearest
from tlearn.features.built_backbone import BuiltBackbone, preprocess_pixels, tensors_at
from tlearn.features.cluster_engine import ClusterEngine
from tlearn.features.engines import Choice
from tlearn.features.engines.portable import PortableNetwork
from tlearn.keras_import import keras
from tlearn.progress import Progress

PICTURES = ("png", "svg", "pdf")
OUTPUT = "output"
GROUP = 2**24  # bytes of features written at a time

Parts = Sequence[tuple[Sequence[ImageFile], np.ndarray]]  # images and their rows
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


@dataclass(frozen=True)
class Extraction:
    """How the features of images are computed.

    Attributes:
        model: A Keras model from pixels to one tensor.
        resize: How images become square.
        choice: What computes it.
        cluster: Where, as of :class:`tlearn.config.RunConfig`; here if empty.
        modules: The modules that define layers of the model which are not Keras's own.
    """

    model: Any
    resize: Resize
    choice: Choice
    cluster: str = ""
    modules: Sequence[str] = ()

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of what one image gives."""
        return tuple(self.model.output.shape[1:])

    def __call__(
        self, files: Sequence[ImageFile], say: Callable[[str], None] | None = None
    ) -> Iterator[tuple[Sequence[ImageFile], np.ndarray]]:
        """Yield, in order, some images and their features, ``(n, ...)``.

        Args:
            files: The images.
            say: As of :func:`tlearn.cluster.ray_stream.stream`.

        Raises:
            DataError: If an image can no longer be read.
            ClusterError: If the cluster cannot compute, or is lost.
        """
        size = int(self.model.input.shape[1])
        render = partial(render_square, size, self.resize)
        paths = [file.path for file in files[:1]]
        if self.cluster:
            network = PortableNetwork.of(
                self.choice, lambda _: self.model, [OUTPUT], size, modules=self.modules
            )
            cluster, item_bytes = ClusterEngine(self.cluster, network), int(np.prod(self.shape)) * 4
            for shard, _, (rows,) in cluster.map(
                render, files, item_bytes, in_store(paths), say=say
            ):
                yield shard, rows
            return
        engine = self.choice.engine_for(lambda _: self.model, [OUTPUT], size)
        rendered = prefetch_map(render, files, threads=readers(paths))
        groups = batched(zip(files, rendered, strict=True), engine.batch)
        batches = (([file for file, _ in g], [x for _, (x,) in g]) for g in groups)
        for group, (rows,) in engine.map(batches):
            yield group, rows


def extract(
    compute: Extraction,
    files: Sequence[ImageFile],
    path: Path,
    facts: dict[str, Any],
    progress: Progress,
) -> tuple[int, ...]:
    """Write the features of every image into an ``.npz`` or ``.parquet`` file.

    The facts say what they are, in the file. Memory does not grow with the number of images.
    Returns the shape of what was written.

    Raises:
        DataError: If an image can no longer be read.
        ClusterError: If the cluster cannot compute, or is lost.
    """
    write = _npz if path.suffix.lower() == ".npz" else _parquet
    with (
        write(path, files, compute.shape, facts) as append,
        progress.task("computing features", len(files), "images") as task,
    ):
        parts: list[tuple[Sequence[ImageFile], np.ndarray]] = []
        for batch, rows in compute(files, progress.say):
            parts.append((batch, np.ascontiguousarray(rows, np.float32)))
            task.advance(len(batch))
            if sum(part.nbytes for _, part in parts) >= GROUP:
                append(parts)
                parts = []
        if parts:
            append(parts)
    return (len(files), *compute.shape)


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
