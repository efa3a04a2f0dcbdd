"""Writes a training for TensorBoard, into a folder of its own.

``train`` and ``validation`` hold what Keras's callback writes: the figures of each epoch, counted
over all stages; beside it histograms of the weights that are trained and of their gradients. The
folder itself holds what is known at the end: configuration and final figures (HParams), figures by
stage, confusions, mistakes, the graph of the whole network, and features for the projector.
"""

import contextlib
import json
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tlearn.config import RunConfig
from tlearn.data.file_table import FileTable, ImageFile
from tlearn.data.views import resample
from tlearn.errors import DataError, one_line
from tlearn.features.extraction import layers
from tlearn.keras_import import keras, tensorflow as tf
from tlearn.metrics import METRICS
from tlearn.runs import charts
from tlearn.runs.directory import FIGURES
from tlearn.runs.measurement import measured_split
from tlearn.runs.predictions import HeldOutPrediction
from tlearn.runs.run import Run
from tlearn.runs.tensorboard_folder import folder_of
from tlearn.settings import flow
from tlearn.text import percent, printable
from tlearn.training.network import Network
from tlearn.training.setup import Setup

MISTAKES = 12
COLUMNS = 3
MISTAKE_PIXELS = 104  # so many columns fill a card
POINTS = 2000  # validation images in the projector
SPRITE_PIXELS = 64
BATCH = 64
Hyperparameter = bool | float | str
Say = Callable[[str], None]
Batch = tuple[Sequence[np.ndarray], np.ndarray, np.ndarray]  # inputs, targets, weights


@contextlib.contextmanager
def saying_why_not(say: Say) -> Iterator[None]:
    """Say why the log cannot be written: a full disk is no reason to lose the training."""
    try:
        yield
    except (OSError, DataError, tf.errors.OpError) as error:
        reason = one_line(error)
        if isinstance(error, tf.errors.OpError):  # it names its operation and the file first
            reason = error.message.splitlines()[0].rpartition("; ")[2]
        say(f"the log for TensorBoard is incomplete: {reason}")


class TensorBoardLog(keras.callbacks.TensorBoard):  # type: ignore[misc]
    """Keras's callback, with histograms of what is trained and of its gradients.

    The gradients are those of one batch, the same in all epochs of a stage, without dropout: they
    are computed apart from the training, which they do not change.

    Args:
        folder: Where it is written.
        say: Is given a line if it cannot be.
    """

    def __init__(self, folder: Path, say: Say) -> None:
        super().__init__(folder, write_graph=False)
        self._say = say

    def enter_stage(self, number: int, model: Any, batch: Batch) -> None:
        """Go on with another stage.

        Args:
            number: The stage, from 1.
            model: The suffix that it trains, compiled.
            batch: What the gradients are computed on.
        """
        self._stage = number, model, batch

    def _say_once(self, reason: str) -> None:
        self._say(reason)
        self._say = lambda reason: None

    def on_test_end(self, logs: Mapping[str, float] | None = None) -> None:
        """Write a validation."""
        with saying_why_not(self._say_once):
            super().on_test_end(logs)

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        """Write an epoch, so that nothing of it is lost if the training is killed."""
        with saying_why_not(self._say_once):
            self._write_epoch(epoch, logs)

    def on_train_end(self, logs: Mapping[str, float] | None = None) -> None:
        """Close the files."""
        with saying_why_not(self._say_once):
            super().on_train_end(logs)

    def _write_epoch(self, epoch: int, logs: Mapping[str, float] | None) -> None:
        number, model, batch = self._stage
        super().on_epoch_end(epoch, {**(logs or {}), "stage": number})
        variables = model.trainable_variables
        with self._train_writer.as_default(epoch):
            for variable, gradient in zip(variables, _gradients(model, batch), strict=True):
                for name, values in (("histogram", variable.value), ("gradient", gradient)):
                    if values is not None and np.isfinite(values).all():
                        tf.summary.histogram(f"{variable.path}/{name}", values)
        for writer in self._writers.values():
            writer.flush()


def _gradients(model: Any, batch: Batch) -> list[Any]:
    """Return the gradient of each trainable variable; ``None`` where it has none."""
    inputs, targets, weights = batch
    with tf.GradientTape() as tape:
        logits = model(inputs, training=False)
        loss = model.compute_loss(inputs, targets, logits, weights, training=False)
    return list(tape.gradient(loss, [variable.value for variable in model.trainable_variables]))


def write_log(run: Run, setup: Setup, network: Network) -> None:
    """Write what is known of a training that is over, or was stopped."""
    folder = folder_of(run.path)
    if folder is not None:
        with saying_why_not(setup.progress.say):
            _write_results(folder, run, setup, network)
            _write_projector(folder, run, setup, network)


def _write_results(folder: Path, run: Run, setup: Setup, network: Network) -> None:
    """Write configuration, figures, pictures and the graph."""
    from tensorboard.plugins.hparams import api

    stages = run.metrics["stages"]
    writer = tf.summary.create_file_writer(str(folder))
    with writer.as_default(sum(stage["epochs"] for stage in stages)):
        api.hparams(hyperparameters(setup.config), trial_id=folder.name)
        for split in ("validation", "test"):
            for key in METRICS:
                value = run.metrics.get(split, {}).get(key)
                if value is not None:
                    tf.summary.scalar(f"classifier/{split}_{key}", value)
        for number, stage in enumerate(stages):
            for key in ("accuracy", "log_loss"):
                if stage[key] is not None:
                    tf.summary.scalar(f"stage/{key}", stage[key], number)
        _write_graph(setup, network)
        _write_picture("confusion", (run.path / FIGURES / "confusion.png").read_bytes())
        wrong = _mistakes(run)
        if wrong:
            _write_picture("mistakes", charts.render(_in_rows(wrong, setup))["png"])
    writer.close()


def hyperparameters(config: RunConfig) -> dict[str, Hyperparameter]:
    """Return the values of a configuration by dotted key, as in ``stages.1.epochs``."""

    def leaves(value: Any, key: str) -> Iterator[tuple[str, Hyperparameter]]:
        if isinstance(value, list) and value and isinstance(value[0], dict):
            value = {str(number): item for number, item in enumerate(value, start=1)}
        if isinstance(value, dict):
            for name, inner in value.items():
                yield from leaves(inner, f"{key}.{name}" if key else name)
        elif value is not None:
            yield key, value if isinstance(value, bool | int | float | str) else flow(value)

    return dict(leaves(config.model_dump(mode="json", exclude={"tensorboard"}), ""))


def _write_graph(setup: Setup, network: Network) -> None:
    """Write the graph of the layers: those of the backbone by block, and the head."""
    from tensorboard.plugins.graph import keras_util

    top, names = f"{network.whole.name}/", [layer.name for layer in network.whole.layers]
    head = names[names.index(network.built.backbone.name) + 1 :]
    blocks = {row.name: row.block for row in layers(network.built)}

    def scoped(name: str) -> str:
        name = name.removeprefix(top)
        scope, _, layer = name.partition("/")
        if scope in head:
            return f"head/{name}"
        return f"{scope}/block_{blocks[layer]}/{layer}" if layer in blocks else name

    try:
        graph = keras_util.keras_model_to_graph_def(json.loads(network.whole.to_json()))
    except Exception as error:  # noqa: BLE001 (layers of others may be unlike those of Keras)
        setup.progress.say(f"TensorBoard cannot draw the graph of the network: {one_line(error)}")
        return
    for node in graph.node:
        node.name, node.input[:] = scoped(node.name), [scoped(name) for name in node.input]
    tf.summary.graph(tf.compat.v1.GraphDef.FromString(graph.SerializeToString()))


def _write_picture(name: str, png: bytes) -> None:
    tf.summary.image(name, tf.io.decode_png(png, channels=4)[None])


def _mistakes(run: Run) -> list[HeldOutPrediction]:
    """Return the mistakes of which the model is most confident."""
    split = measured_split(run.metrics)
    wrong = [p for p in run.held_out_predictions() if p.split == split and not p.correct]
    return sorted(wrong, key=lambda p: -p.probability)[:MISTAKES]


def _in_rows(wrong: Sequence[HeldOutPrediction], setup: Setup) -> charts.Chart:
    """Return images as the network sees them, each above what it is and what it is taken for."""
    held_out = FileTable.concatenated([setup.splits.validation, setup.splits.test])
    places = held_out.positions([mistake.file for mistake in wrong])
    rows = []
    for number, mistake in enumerate(wrong):
        pixels = setup.activations.render(held_out[places[mistake.file]], [0])[0]
        png = b64encode(tf.io.encode_png(pixels).numpy()).decode()
        guess = f"as {mistake.predicted}, {percent(mistake.probability)}"
        row, column = divmod(number, COLUMNS)
        rows.append(
            {
                "url": f"data:image/png;base64,{png}",
                "caption": [mistake.label, guess],
                "row": row,
                "column": column,
            }
        )
    side = MISTAKE_PIXELS
    picture = {"type": "image", "width": side, "height": side}
    caption = {"type": "text", "dy": side / 2 + 9, "limit": side}
    return {
        "data": {"values": rows},
        "encoding": {
            axis: {"field": field, "type": "ordinal", "axis": None}
            for axis, field in (("x", "column"), ("y", "row"))
        },
        "layer": [
            {"mark": picture, "encoding": {"url": {"field": "url", "type": "nominal"}}},
            {"mark": caption, "encoding": {"text": {"field": "caption", "type": "nominal"}}},
        ],
        "width": {"step": side + 12},
        "height": {"step": side + 46},
        "config": {"view": {"stroke": None}},
    }


def _write_projector(folder: Path, run: Run, setup: Setup, network: Network) -> None:
    """Write features of validation images with thumbnails and labels for the projector."""
    from tensorboard.plugins import projector

    every = setup.splits.validation
    rows = np.random.default_rng(setup.config.seed).permutation(len(every))[:POINTS]
    files = every[np.sort(rows)]
    features = _features(setup, network, files)
    features.tofile(folder / "features.bin")
    _sprite(setup, files).save(folder / "sprite.png")
    predictions = {p.file: p for p in run.held_out_predictions() if p.split == "validation"}
    lines = ["label\tpredicted\tprobability\tfile"]
    for file in files:
        p = predictions[file.name]
        cells = (p.label, p.predicted, f"{p.probability:.3f}", p.file)
        lines.append("\t".join(printable(cell).replace("\t", " ") for cell in cells))
    (folder / "metadata.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    config = projector.ProjectorConfig()
    embedding = config.embeddings.add(tensor_name="features", tensor_path="features.bin")
    embedding.tensor_shape.extend(features.shape)
    embedding.metadata_path = "metadata.tsv"
    embedding.sprite.image_path = "sprite.png"
    embedding.sprite.single_image_dim.extend([SPRITE_PIXELS, SPRITE_PIXELS])
    projector.visualize_embeddings(str(folder), config)


def _features(setup: Setup, network: Network, files: FileTable) -> np.ndarray:
    """Return what the last layer of the head sees of images, ``(n, features)`` float32."""
    boundaries = [plan.boundary for plan in setup.stages if plan.boundary]
    lowest = min(boundaries, key=lambda boundary: boundary.index, default=None)
    model = network.suffix(lowest, to_logits=False)
    feed = replace(setup.feed(network, lowest), files=files)
    return np.concatenate([model.predict_on_batch(inputs) for inputs, _ in feed.plain(BATCH)])


def _sprite(setup: Setup, files: Sequence[ImageFile]) -> Image.Image:
    """Return the thumbnails of images in one square picture, in rows."""
    columns, side = int(np.ceil(np.sqrt(len(files)))), SPRITE_PIXELS
    sprite = Image.new("RGB", (columns * side, columns * side))
    for number, file in enumerate(files):
        image = Image.fromarray(setup.activations.render(file, [0])[0])
        row, column = divmod(number, columns)
        box = (0, 0, *image.size)
        sprite.paste(resample(image, (side, side), box), (column * side, row * side))
    return sprite
