"""The whole way, from a folder of pictures to a run that predicts."""

import csv
import errno
import itertools
import json
import random
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
import yaml
from conftest import draw_photos, once

import tlearn
from tlearn.data import images
from tlearn.data.read_data import read_source
from tlearn.errors import RunError, hint_of
from tlearn.features.activation_cache import Cache
from tlearn.metrics import MONITORS
from tlearn.progress import Silent
from tlearn.runs import charts
from tlearn.runs.run_state import state_of
from tlearn.settings import make_config
from tlearn.training.costs import Throughput
from tlearn.training.failures import explain_failure
from tlearn.training.setup import read_setup

TOY = {"backbone": "toy", "weights": "none", "quiet": True}
TWO_STAGES = "1:3@1e-3,all:2@1e-4"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A run on pictures with some dirt, and where the pictures are."""

    def make(place):
        photos = draw_photos(place / "photos", per_class=14)
        (photos / "red" / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 cut off")
        (photos / "red" / "notes.txt").write_text("not a picture")
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("TLEARN_CACHE", str(place / "cache"))
            tlearn.finetune(photos, place / "run", stages=TWO_STAGES, test=0.2, **TOY)

    place = once(tmp_path_factory, "run with dirt", make)
    return tlearn.Run(place / "run"), place / "photos"


def read_csv(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_the_run_holds_everything(made):
    run, _ = made
    names = {path.name for path in run.path.iterdir()}
    assert names == {
        "run.yaml",
        "splits.csv",
        "problems.csv",
        "history.csv",
        "metrics.json",
        "model.keras",
        "labels.json",
        "events.jsonl",
        "figures",
        "report.html",
        "predictions.csv",
        "outputs.npz",
    }
    assert json.loads((run.path / "labels.json").read_text()) == ["blue", "green", "red"]
    record = yaml.safe_load((run.path / "run.yaml").read_text())
    assert record["config"]["views"] == 2 and record["config"]["size"] == 32
    assert record["plugin"] == {"name": "toy", "distribution": "tlearn-toy", "version": "1.0"}
    assert {"tlearn", "tensorflow", "keras", "openvino", "scipy"} <= record["versions"].keys()
    assert len(record["data"]["digest"]) == 32
    for name in ("accuracy", "loss", "confusion"):
        assert (run.path / f"figures/{name}.png").read_bytes()[:4] == b"\x89PNG"
        assert (run.path / f"figures/{name}.svg").read_text().startswith("<svg")


def test_every_image_is_on_one_side_and_problems_are_named(made):
    run, _ = made
    rows = read_csv(run.path / "splits.csv")
    assert len(rows) == len({row["file"] for row in rows}) == 42
    assert {row["split"] for row in rows} == {"train", "validation", "test"}
    problems = {row["file"]: row["kind"] for row in run.problems()}
    assert problems == {"red/broken.jpg": "unreadable", "red/notes.txt": "not an image"}


def test_metrics_say_how_good_it_is_and_how_it_came(made):
    run, _ = made
    metrics = run.metrics
    for side in ("validation", "test"):
        low, high = metrics[side]["accuracy_ci95"]
        assert low <= metrics[side]["accuracy"] <= high
        assert metrics[side]["n"] == sum(c["n"] for c in metrics[side]["per_class"].values())
        assert {"macro_f1", "log_loss"} <= metrics[side].keys()
    names = [stage["name"] for stage in metrics["stages"]]
    assert names == ["probe", "top 1 block", "all blocks"]
    assert [stage["boundary"] for stage in metrics["stages"]] == ["head", "block3_conv", "pixels"]
    assert all({"epochs", "seconds", "accuracy"} <= stage.keys() for stage in metrics["stages"])
    assert metrics["seconds"]["total"] > 0 and metrics["images_per_second"]["activation_views"] > 0
    assert sum(stage["share"] for stage in metrics["stages"]) == pytest.approx(1, abs=0.01)


def test_history_and_events_tell_each_epoch(made):
    run, _ = made
    history = read_csv(run.path / "history.csv")
    columns = (run.path / "history.csv").read_text().splitlines()[0].split(",")
    assert len(set(columns)) == len(columns)
    events = [json.loads(line) for line in (run.path / "events.jsonl").read_text().splitlines()]
    kinds = [event["event"] for event in events]
    assert kinds[:2] == ["started", "scanned"] and kinds[-1] == "finished"
    assert kinds.count("epoch") == len(history) > 0
    assert {float(row["learning_rate"]) >= 0 for row in history} == {True}
    assert all(first["time"] <= second["time"] for first, second in itertools.pairwise(events))


def test_plain_keras_loads_the_model_in_safe_mode(made):
    run, photos = made
    model = keras.models.load_model(run.path / "model.keras", safe_mode=True)
    files = sorted((photos / "blue").iterdir())[:4]
    pixels = np.stack([images.load_image(f, 32, "squash") for f in files]).astype("float32")
    found = model.predict(pixels, verbose=0)
    np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-5)
    expected = [p.probability for p in run.predict(files)]
    np.testing.assert_allclose(found.max(axis=1), expected, rtol=1e-4)
    with zipfile.ZipFile(run.path / "model.keras") as archive:
        card = json.loads(archive.read("tlearn.json"))
    expected = {
        "labels": ["blue", "green", "red"],
        "size": 32,
        "resize": "squash",
        "backbone": "toy",
    }
    assert card.items() >= expected.items()


def test_a_new_process_measures_the_same(made, monkeypatch):
    run, photos = made
    monkeypatch.setenv("TLEARN_CACHE", str(run.path.parent / "cache"))  # without TensorFlow
    command = [sys.executable, "-m", "tlearn", "evaluate", str(run.path), str(photos)]
    command += ["--split", "test", "--json", "--quiet"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found, expected = json.loads(done.stdout), run.metrics["test"]
    assert (found["accuracy"], found["n"]) == (expected["accuracy"], expected["n"])
    assert found["log_loss"] == pytest.approx(expected["log_loss"], abs=1e-5)


def test_evaluate_knows_trained_images_again_wherever_they_lie(made, tmp_path):
    run, photos = made
    moved = tmp_path / "moved" / "red"
    moved.mkdir(parents=True)
    for i, path in enumerate(sorted((photos / "red").glob("*.png"))):
        (moved / f"{i}.img").write_bytes(path.read_bytes())
    rows = [row for row in read_csv(run.path / "splits.csv") if row["class"] == "red"]
    trained = sum(row["split"] == "train" for row in rows)
    found = run.evaluate(tmp_path / "moved")
    assert found.trained_on == trained
    assert found.metrics["n"] == len(rows) - trained
    assert run.evaluate(tmp_path / "moved", "all").metrics["n"] == len(rows)
    held_out = {row["file"] for row in rows if row["split"] != "train"}
    for i, path in enumerate(sorted((photos / "red").glob("*.png"))):
        if f"red/{path.name}" in held_out:
            (moved / f"{i}.img").unlink()
    with pytest.raises(tlearn.DataError, match=f"all {trained} images below .* were trained on"):
        run.evaluate(tmp_path / "moved")


def computed(run):
    """Return how many views a run computed."""
    events = [json.loads(line) for line in (run.path / "events.jsonl").read_text().splitlines()]
    return next(e["computed"] for e in events if e["event"] == "activations")


def test_a_warm_run_computes_nothing_and_its_default_place_is_numbered(
    photos, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    cold, warm = (tlearn.finetune(photos, preset="quick", **TOY) for _ in range(2))
    assert computed(cold) and not computed(warm)
    assert [run.path.as_posix() for run in (cold, warm)] == ["runs/photos", "runs/photos-2"]


def test_fresh_views_are_not_kept_and_never_thought_free(photos, tmp_path, monkeypatch):
    options = {"views": "fresh", "stages": "1:3", **TOY}
    run = tlearn.finetune(photos, tmp_path / "one", **options)
    assert run.metrics["stages"][1]["epochs"] == 3 and computed(run) == 36
    monkeypatch.setattr(
        "tlearn.training.execution_plan.throughput", lambda kept, items: Throughput(2.0, True)
    )
    run = tlearn.finetune(photos, tmp_path / "two", **options)  # its plain views are known
    assert run.metrics["plan"]["seconds"] > 3 * 36 / 2


def test_a_hidden_head_by_yaml_recipe(photos, tmp_path):
    stages_for = tmp_path / "recipe.yaml"
    stages_for.write_text(
        "backbone: toy\nweights: none\nhead: {taps: top, hidden: [32]}\nstages:\n"
        "  - {unfreeze: none, epochs: 4, learning_rate: 1e-2}\n"
        "  - {unfreeze: block3_conv, epochs: 2, optimizer: {name: sgd, momentum: 0.9}}\n"
    )
    run = tlearn.finetune(photos, tmp_path / "run", config=stages_for, quiet=True)
    assert "hidden_1" in {layer.name for layer in run.model._flatten_layers()}
    probe, head, tuned = run.metrics["stages"]
    assert not probe["share"] and head["share"] + tuned["share"] == pytest.approx(1, abs=0.01)
    assert run.metrics["validation"]["accuracy"] > 0.5


class Spoil(keras.callbacks.Callback):
    """Has a training diverge."""

    def on_epoch_begin(self, epoch, logs=None):
        for weight in self.model.trainable_weights:
            weight.assign(weight * np.nan)


def test_a_training_that_diverges_leaves_the_probe(photos, tmp_path):
    run = tlearn.finetune(photos, tmp_path / "run", stages="none:1", callbacks=[Spoil()], **TOY)
    probe, stage = run.metrics["stages"]
    assert probe["share"] == 1 and stage["share"] == 0 and stage["log_loss"] is None
    assert run.metrics["validation"]["accuracy"] == pytest.approx(probe["accuracy"])
    for line in (run.path / "events.jsonl").read_text().splitlines():
        json.loads(line, parse_constant=lambda word: pytest.fail(f"{word} is not JSON"))


def test_a_random_head_that_diverges_is_an_error(photos, tmp_path):
    options = {"head": {"hidden": [4]}, "stages": "none:2", "callbacks": [Spoil()], **TOY}
    with pytest.raises(tlearn.ConfigError, match="'head'; give its stages a lower"):
        tlearn.finetune(photos, tmp_path / "run", **options)
    assert not (tmp_path / "run").exists()


def test_own_splits_are_used_as_they_are(photos, tmp_path):
    data = tmp_path / "data"
    for side, numbers in {"train": range(8), "val": range(8, 10), "test": range(10, 12)}.items():
        for label in ("blue", "green", "red"):
            (data / side / label).mkdir(parents=True)
            for i in numbers:
                source = photos / label / f"{label}{i:02d}.png"
                (data / side / label / source.name).write_bytes(source.read_bytes())
    run = tlearn.finetune(data, tmp_path / "run", preset="quick", test=0.5, **TOY)
    assert {side: run.metrics[side]["n"] for side in ("validation", "test")} == {
        "validation": 6,
        "test": 6,
    }
    assert sum(side == "train" for side in run.splits().values()) == 24


def test_imbalance_is_weighted_by_default(photos, cache):
    for i in range(4, 12):
        (photos / "red" / f"red{i:02d}.png").unlink()
    for mode in ("auto", "none"):
        config = make_config(options={"backbone": "toy", "weights": "none", "class_weights": mode})
        with Cache(cache) as store:
            targets = read_setup(config, read_source(photos), store, Silent()).targets
        counts = np.bincount(targets.train)
        wanted = counts.mean() / counts if mode == "auto" else [1, 1, 1]
        np.testing.assert_allclose(targets.class_weights, wanted, rtol=1e-6)


def test_what_fails_leaves_nothing_behind(photos, tmp_path, monkeypatch):
    def broken(*args, **kwargs):
        raise RuntimeError("a defect of ours")

    monkeypatch.setattr("tlearn.training.network_training.train_network", broken)
    with pytest.raises(RuntimeError):
        tlearn.finetune(photos, tmp_path / "run", stages="1:1", **TOY)
    assert not (tmp_path / "run").exists()


def test_a_model_whose_backbone_is_not_installed_says_what_to_install(made, tmp_path, monkeypatch):
    monkeypatch.setenv("TLEARN_DISABLE_PLUGINS", "toy")
    monkeypatch.setenv("TLEARN_CACHE", str(tmp_path / "cache"))
    broken = RuntimeError("Could not locate class 'Strange'")
    monkeypatch.setattr("keras.models.load_model", lambda *a, **k: (_ for _ in ()).throw(broken))
    with pytest.raises(RunError, match=r"locate class 'Strange'; install a package with .*'toy'"):
        _ = tlearn.Run(made[0].path).model


def test_what_is_refused_leaves_no_folder(photos, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for label in ("blue", "green"):
        shutil.rmtree(photos / label)
    with pytest.raises(tlearn.DataError, match="one class"):
        tlearn.finetune(photos, **TOY)
    with pytest.raises(tlearn.DataError, match="is not there"):
        tlearn.finetune(tmp_path / "nothing", **TOY)
    assert not (tmp_path / "runs").exists()


def test_a_place_that_cannot_be_written_is_told_before_photos_are_read(
    photos, tmp_path, monkeypatch
):
    def read(*arguments):
        raise AssertionError("the photos were read")

    monkeypatch.setattr("tlearn.training.setup.read_setup", read)
    (tmp_path / "file").write_text("")
    for out in (tmp_path / "file" / "run", Path("/proc/nothing/run")):
        with pytest.raises(RunError, match=r"cannot be made: .*; choose another place"):
            tlearn.finetune(photos, out, **TOY)


def test_two_images_per_class_are_enough(tmp_path):
    def draw():
        return random.random(), np.random.rand(), float(keras.random.uniform(()))

    photos = draw_photos(tmp_path / "photos", per_class=2)
    keras.utils.set_random_seed(5)
    expected = draw()
    keras.utils.set_random_seed(5)
    run = tlearn.finetune(photos, tmp_path / "run", stages="1:1", **TOY)
    assert run.metrics["validation"]["n"] == 3
    assert draw() == expected  # the random numbers of the caller are left alone


def test_evaluation_says_which_images_chose(made):
    run, photos = made
    found = run.evaluate(photos)
    assert found.selected_on == run.metrics["validation"]["n"]
    assert found.metrics["n"] == found.selected_on + run.metrics["test"]["n"]
    assert run.evaluate(photos, "test").selected_on == 0


def test_a_run_with_a_damaged_file_is_refused(made, tmp_path):
    run, photos = made
    copy = Path(shutil.copytree(run.path, tmp_path / "copy"))
    splits = ("x\n", "", "content,split\na,b\n", None)
    for name, contents in {"splits.csv": splits, "metrics.json": ("{", "[1]")}.items():
        whole = (copy / name).read_bytes()
        for content in contents:
            (copy / name).unlink()
            if content is not None:
                (copy / name).write_text(content)
            with pytest.raises(RunError, match=f"{name} of the run .* is missing or damaged"):
                tlearn.Run(copy).evaluate(photos)
            (copy / name).write_bytes(whole)


def test_a_probe_is_fitted_to_all_images_where_its_strength_is_chosen_on_a_sample(
    photos, tmp_path, monkeypatch
):
    monkeypatch.setattr("tlearn.training.probe.PROBE_NUMBERS", 2000)
    monkeypatch.setattr("tlearn.training.probe.FEWER", 20)
    options = {"preset": "quick", "backbone": "toy", "weights": "none", "quiet": True}
    width = 2 * (8 + 16 + 24)  # averages and maxima of the channels at each depth
    images = []
    for number in (2**28, 25 * width):
        monkeypatch.setattr("tlearn.training.large_sets.NUMBERS", number)
        run = tlearn.finetune(photos, tmp_path / str(number), **options)
        assert [stage["name"] for stage in run.metrics["stages"]] == ["probe"]
        events = (run.path / "events.jsonl").read_text(encoding="utf-8").splitlines()
        records = {row["event"]: row for row in map(json.loads, events)}
        images.append(records["probe"]["images"])
        splits = [row["split"] for row in read_csv(run.path / "splits.csv")]
        if len(images) == 1:  # one view of each image, because the probe sees no other
            assert records["activations"]["computed"] == len(splits) - splits.count("test")
    assert images == [splits.count("train"), 25]


WRONG_BOUNDARY = """
from tlearn.backbones import Backbone, Blocks, Preprocess, hookimpl

def build(input_shape, weights):
    import keras
    x = inputs = keras.Input(input_shape)
    x = skip = keras.layers.Conv2D(4, 3, padding="same", name="stem")(x)
    x = keras.layers.Conv2D(4, 3, padding="same", name="inner")(x)
    x = keras.layers.Add()([x, skip])
    return keras.Model(inputs, keras.layers.Conv2D(4, 3, name="last")(x))

@hookimpl
def tlearn_backbones():
    return Backbone(
        name="crossed", summary="s", reference="r", build=build, default_size=32, min_size=32,
        channels=4, preprocess=Preprocess.TF, blocks=Blocks.after("inner"),
    )
"""


def test_a_boundary_that_more_than_one_tensor_crosses_is_named(photos, tmp_path, plugin_file):
    plugin_file("crossed", WRONG_BOUNDARY)
    options = {"backbone": "crossed", "weights": "none", "quiet": True, "stages": "1:1"}
    wanted = "more than one tensor crosses the boundary after 'inner' of crossed: .*plugins check"
    with pytest.raises(tlearn.BackboneError, match=wanted):
        tlearn.finetune(photos, tmp_path / "run", **options)
    assert not (tmp_path / "run").exists()


def test_callbacks_that_set_the_rate_are_refused_before_anything_is_done(photos, tmp_path):
    for callback in (
        keras.callbacks.LearningRateScheduler(lambda epoch, rate: rate),
        keras.callbacks.ReduceLROnPlateau(),
    ):
        name = type(callback).__name__
        with pytest.raises(tlearn.ConfigError, match=f"{name} .*'cosine'.*schedule: constant"):
            tlearn.finetune(photos, tmp_path / "run", callbacks=[callback], **TOY)
        assert not (tmp_path / "run").exists()


def test_callbacks_that_cannot_work_are_refused_before_anything_is_done(
    photos, tmp_path, monkeypatch
):
    monkeypatch.setattr("tlearn.training.run_training.find_spec", lambda name: None)
    for callback, words in (
        ("log.csv", "takes Keras callbacks. Received: 'log.csv'"),
        (keras.callbacks.TensorBoard(tmp_path / "logs"), "pip install tensorboard"),
    ):
        with pytest.raises(tlearn.ConfigError, match=words):
            tlearn.finetune(photos, tmp_path / "run", callbacks=[callback], **TOY)
        assert not (tmp_path / "run").exists()


def test_callbacks_get_what_was_measured_and_set_the_rate_where_no_schedule_does(photos, tmp_path):
    tested, epochs = [], []
    schedule = keras.callbacks.LearningRateScheduler(lambda epoch, rate: 10.0 ** -(epoch + 1))
    notes = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, log: epochs.append(log))
    notes.on_test_end = tested.append
    stages = [{"unfreeze": "none", "epochs": 3, "schedule": "constant"}]
    callbacks = [schedule, notes]
    run = tlearn.finetune(photos, tmp_path / "run", stages=stages, callbacks=callbacks, **TOY)
    rates = [float(row["learning_rate"]) for row in read_csv(run.path / "history.csv")]
    np.testing.assert_allclose(rates, [0.1, 0.01, 0.001], rtol=1e-5)
    assert tested == [{name.removeprefix("val_"): e[name] for name in MONITORS} for e in epochs]


def test_the_result_is_printed_before_charts_are_drawn(photos, tmp_path, monkeypatch, capsys):
    render = charts.render
    monkeypatch.setattr(charts, "render", lambda c: print("drawing", file=sys.stderr) or render(c))
    tlearn.finetune(photos, tmp_path / "run", preset="quick", **TOY | {"quiet": False})
    printed = capsys.readouterr().err
    assert re.search(r"^validation: \d+ of 8 right .*^drawing$", printed, re.M | re.S)


def test_what_memory_does_not_hold_is_said_in_one_line(photos, tmp_path, monkeypatch):
    def full(*args, **kwargs):
        raise MemoryError

    monkeypatch.setattr("tlearn.training.loop.compile_for", full)
    stages = [{"unfreeze": 1, "epochs": 1, "batch_size": 16}]
    words = "^out of memory while toy was trained at 32 pixels with a batch size of 16; .*smaller"
    with pytest.raises(RunError, match=words):
        tlearn.finetune(photos, tmp_path / "run", stages=stages, **TOY)
    assert state_of(tmp_path / "run") == "failed"
    assert (tmp_path / "run" / "checkpoint.npz").exists()  # to be continued
    for error in (
        RuntimeError("Check failed: std::bad_alloc"),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
        tf.errors.ResourceExhaustedError(None, None, "OOM when allocating"),
    ):
        explained = explain_failure(error, make_config(options={"backbone": "toy"}))
        assert "out of memory" in str(explained)


def test_a_full_disk_is_no_fault_of_the_backbone(photos, tmp_path, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(keras.Model, "save", full)
    with pytest.raises(RunError, match=r"^No space left on device .*; make room") as caught:
        tlearn.finetune(photos, tmp_path / "run", stages="none", **TOY)
    assert f"finetune --resume {tmp_path / 'run'}" in hint_of(caught.value)


def test_an_error_of_keras_names_the_backbone_and_one_of_ours_stays_what_it_is(photos):
    config = make_config(options={"backbone": "toy"})
    with pytest.raises(ValueError) as caught:
        keras.layers.Dense(3)(keras.Input(()))
    explained = explain_failure(caught.value, config)
    assert "while toy was trained (ValueError: " in str(explained)
    with pytest.raises(ZeroDivisionError) as caught:
        1 / 0  # noqa: B018
    assert explain_failure(caught.value, config) is None
