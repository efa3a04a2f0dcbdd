"""What a training writes for TensorBoard, read back with TensorBoard's own readers."""

import json
import re
import subprocess
import sys
import urllib.request

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import Heard, draw_photos
from google.protobuf import text_format
from PIL import Image
from serving import free_port, until
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import metadata
from tensorboard.plugins.projector import ProjectorConfig
from test_resume import Interrupt

import tlearn
from tlearn.cli import main
from tlearn.errors import ConfigError, DataError
from tlearn.metrics import METRICS, MONITORS
from tlearn.runs.tensorboard_folder import as_one_folder, folder_of, folders_in
from tlearn.training import tensorboard_log

STAGES = [
    {"unfreeze": "none", "epochs": 2, "schedule": "constant"},
    {"unfreeze": 1, "epochs": 3, "patience": 9, "batch_size": 8},
]
TOY = {"backbone": "toy", "weights": "none", "stages": STAGES, "test": 0.2, "quiet": True}
EPOCHS = range(5)


def train(place, name, **options):
    return tlearn.finetune(place / "photos", place / name, **(TOY | options))


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Photos of colours that are hard to tell apart, and a cache of their own."""
    place = tmp_path_factory.mktemp("tensorboard")
    draw_photos(place / "photos", per_class=20)
    for number, path in enumerate(sorted((place / "photos").rglob("*.png"))):
        if number % 4 == 0:  # a class that is wrong
            path.rename(path.parent.parent / "red" / f"{number}.png")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TLEARN_CACHE", str(place / "cache"))
        yield place


@pytest.fixture(scope="module")
def whole(place):
    """A training, and the callback of Keras beside it."""
    plain = keras.callbacks.TensorBoard(place / "plain", histogram_freq=1)
    return train(place, "whole", tensorboard=str(place / "logs"), callbacks=[plain])


@pytest.fixture(scope="module")
def folder(whole):
    return folder_of(whole.path)


def read(folder):
    events = EventAccumulator(str(folder), size_guidance={"tensors": 0})
    events.Reload()
    return events


def values(folder, tag):
    """Return the numbers of a tag by step, each of which is there once."""
    points = read(folder).Tensors(tag)
    found = {point.step: tf.make_ndarray(point.tensor_proto).tolist() for point in points}
    assert len(found) == len(points)
    return found


def tags(folder, plugin):
    every = read(folder).summary_metadata.items()
    return {tag for tag, written in every if written.plugin_data.plugin_name == plugin}


def test_scalars_of_every_epoch_are_those_of_the_history(whole, folder):
    history = whole.history
    assert folder.parent.name == "logs" and folder.name.startswith("whole-20")
    for column in ("loss", "accuracy", "learning_rate", *MONITORS):
        part = "validation" if column.startswith("val_") else "train"
        found = values(folder / part, f"epoch_{column.removeprefix('val_')}")
        assert list(found) == list(EPOCHS)
        assert list(found.values()) == pytest.approx(history[column].tolist()), column
    assert list(values(folder / "train", "epoch_stage").values()) == [1, 1, 2, 2, 2]
    accuracies = [stage["accuracy"] for stage in whole.metrics["stages"]]
    assert list(values(folder, "stage/accuracy").values()) == pytest.approx(accuracies)


def test_it_is_what_the_callback_of_keras_writes(place, folder):
    for part in ("train", "validation"):
        one, other = folder / part, place / "plain" / part
        scalars = tags(other, "scalars")
        assert tags(one, "scalars") - {"epoch_stage"} == scalars > {"epoch_loss"}
        for tag in scalars:
            assert values(one, tag) == values(other, tag), tag
    ours, plain = tags(folder / "train", "histograms"), tags(place / "plain/train", "histograms")
    weights = {tag for tag in ours if tag.endswith("/histogram")}
    assert weights < plain and ours - weights == {
        tag.replace("/histogram", "/gradient") for tag in weights
    }
    for tag in weights:
        found, expected = values(folder / "train", tag), values(place / "plain/train", tag)
        assert found == {step: expected[step] for step in found}, tag
    assert list(values(folder / "train", "logits/kernel/gradient")) == list(EPOCHS)
    (frozen,) = {len(values(folder / "train", tag)) for tag in weights if "logits" not in tag}
    assert frozen == 3  # the epochs in which it is trained


def test_validations_are_counted_by_the_steps_of_all_stages(place, whole):
    images = sum(split == "train" for split in whole.splits().values())
    first, second = -(-images // 32), -(-images // 8)
    expected = [first, 2 * first, *(2 * first + second * n for n in (1, 2, 3))]
    steps = list(values(place / "plain/validation", "evaluation_accuracy_vs_iterations"))
    assert steps == expected and second > 1


def test_the_end_holds_configuration_figures_and_pictures(whole, folder):
    (content,) = read(folder).PluginTagToContent("hparams").values()
    session = metadata.parse_session_start_info_plugin_data(content)
    found = session.hparams
    assert session.group_name == folder.name
    assert found["head.dropout"].number_value == 0.2 and found["backbone"].string_value == "toy"
    assert found["stages.2.batch_size"].number_value == 8 and found["augment.flip"].bool_value
    assert found["head.hidden"].string_value == "[]" and "tensorboard" not in found
    for split in ("validation", "test"):
        for key in METRICS:
            (value,) = values(folder, f"classifier/{split}_{key}").values()
            assert value == pytest.approx(whole.metrics[split][key])
    assert tags(folder, "images") == {"confusion", "mistakes"}
    for tag in ("confusion", "mistakes"):
        (point,) = read(folder).Tensors(tag)
        assert point.step == 5
        width, height, picture = tf.make_ndarray(point.tensor_proto)[:3]
        assert tf.io.decode_png(picture).shape[:2] == (int(height), int(width))


def test_the_graph_is_that_of_the_layers_by_block(whole, folder):
    nodes = {node.name: list(node.input) for node in read(folder).Graph().node}
    assert nodes["pixels"] == [] and nodes["head/probabilities"] == ["head/logits"]
    assert {name.split("/")[1] for name in nodes if name.startswith("toy/")} >= {"block_0"}
    assert all(source in nodes for sources in nodes.values() for source in sources)


def test_the_projector_has_features_thumbnails_and_labels(whole, folder):
    text = (folder / "projector_config.pbtxt").read_text()
    (embedding,) = text_format.Parse(text, ProjectorConfig()).embeddings
    features = np.fromfile(folder / embedding.tensor_path, np.float32)
    features = features.reshape(embedding.tensor_shape)
    header, *rows = (folder / embedding.metadata_path).read_text().splitlines()
    assert header.split("\t") == ["label", "predicted", "probability", "file"]
    predictions = [p for p in whole.held_out_predictions() if p.split == "validation"]
    expected = [[p.label, p.predicted, f"{p.probability:.3f}", p.file] for p in predictions]
    assert [row.split("\t") for row in rows] == expected
    width, height = embedding.sprite.single_image_dim
    with Image.open(folder / embedding.sprite.image_path) as sprite:
        columns = sprite.width // width
        assert columns**2 >= len(features) == len(rows)
        for number in (0, len(rows) - 1):
            row, column = divmod(number, columns)
            thumbnail = sprite.crop(
                (column * width, row * height, (column + 1) * width, (row + 1) * height)
            )
            photo = whole.photo_folder / rows[number].split("\t")[3]
            with Image.open(photo) as image:
                difference = np.asarray(image.resize((width, height)), float) - thumbnail
            assert np.abs(difference.mean(axis=(0, 1))).max() < 8


def test_features_are_what_the_last_layer_sees(place):
    run = train(place, "probe", tensorboard=str(place / "logs"), stages=[], precision="float32")
    folder = folder_of(run.path)
    rows = (folder / "metadata.tsv").read_text().splitlines()[1:]
    paths = [run.photo_folder / row.split("\t")[3] for row in rows]
    pixels = np.stack([tlearn.load_image(path, run.classifier.size) for path in paths])
    model = keras.Model(run.model.input, run.model.get_layer("logits").input)
    features = np.fromfile(folder / "features.bin", np.float32).reshape(len(rows), -1)
    np.testing.assert_allclose(features, model(pixels.astype("float32")), rtol=1e-3, atol=1e-4)
    assert not (folder / "train").exists()


def test_the_log_changes_nothing_and_a_resumed_training_goes_on_in_its_folder(place, whole, folder):
    silent = train(place, "silent")
    weights = [run.model.get_weights() for run in (whole, silent)]
    for one, other in zip(*weights, strict=True):
        np.testing.assert_array_equal(one, other)
    path, logs = place / "resumed", str(place / "logs")
    stop = Interrupt(0, 3, 1)
    assert train(place, "resumed", tensorboard=logs, callbacks=[stop]).metrics["stopped"]
    again = folder_of(path)
    tlearn.resume(path, quiet=True)
    assert folder_of(path) == again and len(folders_in([place / "logs"])) == 1
    for part in ("train", "validation"):
        for tag in tags(folder / part, "scalars") | tags(folder / part, "histograms"):
            assert values(again / part, tag) == values(folder / part, tag), tag
    assert list(values(again, "classifier/validation_accuracy")) == [3, 5]


def test_runs_and_folders_are_found_and_put_side_by_side(
    place, whole, folder, tmp_path, monkeypatch
):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    logs = place / "logs"
    assert folders_in([whole.path]) == [folder] == folders_in([whole.path, folder])
    assert folder in folders_in([place]) and folders_in([logs]) == [logs]
    assert as_one_folder([folder]) == folder
    links = as_one_folder([folder, logs, place / "plain" / ".." / "logs"])
    assert sorted(path.name for path in links.iterdir()) == [
        *sorted(("logs", "logs-2")),
        folder.name,
    ]
    assert (links / "logs").resolve() == logs.resolve()


def test_a_full_disk_ends_the_log_and_not_the_training(place, monkeypatch):
    def full(*arguments):
        raise tf.errors.ResourceExhaustedError(None, None, "{{node x}} file; No space left\n\tat x")

    monkeypatch.setattr(tensorboard_log, "_gradients", full)
    progress = Heard()
    run = train(place, "full", tensorboard=str(place / "full logs"), progress=progress)
    assert [stage["epochs"] for stage in run.metrics["stages"]] == [0, 2, 3]
    lines = [line for line in progress.lines if "incomplete" in line]
    assert lines == ["the log for TensorBoard is incomplete: No space left"]
    with tensorboard_log.saying_why_not(lines.append):
        raise DataError("'x' changed; start again")
    assert lines[1] == "the log for TensorBoard is incomplete: 'x' changed; start again"


def test_tensorboard_shows_them_until_it_is_ended(place, whole, folder):
    words = ["tensorboard", str(whole.path), str(place / "logs"), "--port", str(free_port())]
    command = [sys.executable, "-m", "tlearn", *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            address = re.match(r"TensorBoard is at (http\S+); ", process.stdout.readline())[1]
            assert address.endswith(f":{words[-1]}/")

            def runs():
                with urllib.request.urlopen(f"{address}data/runs", timeout=60) as answer:
                    return set(json.load(answer))

            expected = {f"{folder.name}{part}" for part in ("", "/train", "/validation")}
            until(lambda: expected <= runs())
        finally:
            process.terminate()
    assert process.returncode == 130


def test_what_cannot_be_is_said_in_one_line(place, whole, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"tensorboard: .*file.* cannot be written.*another"):
        train(place, "refused", tensorboard="file")
    assert not (place / "refused").exists()
    for arguments in ([], [str(place / "photos")], ["nothing"]):
        assert main(["tensorboard", *arguments]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert "has nothing for TensorBoard; give a run" in line
    monkeypatch.setattr("tlearn.runs.tensorboard_folder.find_spec", lambda name: None)
    photos = str(place / "photos")
    for words in (["tensorboard", str(whole.path)], ["finetune", photos, "--tensorboard"]):
        assert main(words) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert "pip install 'tlearn[tensorboard]'" in line
