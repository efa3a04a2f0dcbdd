"""The callbacks of Keras in a training of several stages: as under ``fit``."""

import csv

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import draw_photos
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from test_resume import Interrupt

import tlearn
from tlearn.metrics import MONITORS

STAGES = [{"unfreeze": "none", "epochs": 2}, {"unfreeze": 1, "epochs": 3, "patience": 9}]


class Restoring(keras.callbacks.EarlyStopping):
    """Counts how often weights are restored."""

    restored = 0

    def on_train_end(self, logs=None):
        self.restored += self.best_weights is not None
        super().on_train_end(logs)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A training with all that writes, and the history that was kept."""
    history, stopping = keras.callbacks.History(), Restoring("val_loss", restore_best_weights=True)
    stopping.patience = 9

    place, kinds = tmp_path_factory.mktemp("callbacks of keras"), keras.callbacks
    draw_photos(place / "photos")
    callbacks = [
        history,
        stopping,
        kinds.CSVLogger(place / "log.csv"),
        kinds.TensorBoard(place / "tensorboard", histogram_freq=1),
        kinds.ModelCheckpoint(place / "epoch{epoch}.keras"),
        kinds.ModelCheckpoint(place / "last.weights.h5", save_weights_only=True),
    ]
    options = {"backbone": "toy", "weights": "none", "stages": STAGES, "quiet": True}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TLEARN_CACHE", str(place / "cache"))
        tlearn.finetune(place / "photos", place / "run", callbacks=callbacks, **options)
    return place, history, stopping


def rows_of(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_one_history_counts_on_over_the_stages(trained):
    place, history, stopping = trained
    rows = rows_of(place / "run" / "history.csv")
    assert history.epoch == list(range(5)) and stopping.restored == 1
    logged = rows_of(place / "log.csv")
    assert [int(row["epoch"]) for row in logged] == history.epoch
    for name in ("loss", "accuracy", "learning_rate", *MONITORS):
        expected = [float(row[name]) for row in rows]
        assert history.history[name] == pytest.approx(expected)
        assert [float(row[name]) for row in logged] == pytest.approx(expected)


def test_a_model_that_is_saved_takes_pictures(trained):
    place, *_ = trained
    pixels = np.random.default_rng(0).uniform(0, 255, (4, 32, 32, 3)).astype("float32")
    paths = [place / f"epoch{epoch}.keras" for epoch in range(1, 6)]
    models = [keras.models.load_model(path, compile=False) for path in paths]
    for model in models:
        assert model.input_shape == (None, 32, 32, 3) and model.output_shape == (None, 3)
        np.testing.assert_allclose(np.asarray(model(pixels)).sum(axis=1), 1, rtol=1e-5)
    first, *_, last = models
    first.load_weights(place / "last.weights.h5")
    for one, other in zip(first.get_weights(), last.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_tensorboard_reads_one_curve_over_all_stages(trained):
    place, history, _ = trained
    for side, prefix in {"train": "", "validation": "val_"}.items():
        events = EventAccumulator(str(place / "tensorboard" / side))
        events.Reload()
        for name in ("loss", "accuracy"):
            points = events.Tensors(f"epoch_{name}")
            assert [point.step for point in points] == history.epoch
            values = [float(tf.make_ndarray(point.tensor_proto)) for point in points]
            assert values == pytest.approx(history.history[prefix + name])


def test_models_of_single_epochs_are_saved_and_the_last_ones_stay(photos, tmp_path, monkeypatch):
    monkeypatch.setenv("TLEARN_CACHE", str(tmp_path / "cache"))
    toy = {"backbone": "toy", "weights": "none", "stages": "none:2,1:5", "quiet": True}
    for name, checkpoint in {"models": {"every": 2, "keep": 2}, "weights": {"every": 3}}.items():
        checkpoint |= {"weights_only": name == "weights"}
        tlearn.finetune(photos, tmp_path / name, checkpoint=checkpoint, **toy)
    saved = [path.name for path in sorted((tmp_path / "models" / "checkpoints").iterdir())]
    assert saved == ["epoch-0004.keras", "epoch-0006.keras"]
    weights = [path.name for path in sorted((tmp_path / "weights" / "checkpoints").iterdir())]
    assert weights == ["epoch-0003.weights.h5", "epoch-0006.weights.h5"]
    model = keras.models.load_model(tmp_path / "models" / "checkpoints" / saved[-1], compile=False)
    before = model.get_weights()
    model.load_weights(tmp_path / "weights" / "checkpoints" / weights[-1])
    for one, other in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


class Slow(keras.callbacks.Callback):
    """Remembers the mean of the weights of the head, in arrays of its own."""

    def __init__(self):
        super().__init__()
        self.mean, self.last = np.zeros(3, "float32"), []

    def on_epoch_end(self, epoch, logs=None):
        bias = self.model.get_layer("logits").get_weights()[1]
        self.mean += (bias - self.mean) / (epoch + 1)
        self.last = [*self.last, bias][-2:]


def test_arrays_that_callbacks_remember_are_resumed(photos, tmp_path, monkeypatch):
    monkeypatch.setenv("TLEARN_CACHE", str(tmp_path / "cache"))
    toy = {"backbone": "toy", "weights": "none", "stages": "1:6@1e-2", "quiet": True}

    def callbacks():
        best = keras.callbacks.EarlyStopping(
            "loss", mode="max", patience=4, restore_best_weights=True
        )
        file = tmp_path / "best.weights.h5"
        kept = keras.callbacks.ModelCheckpoint(
            file, "loss", mode="max", save_best_only=True, save_weights_only=True
        )
        return [best, kept, Slow()]  # the first epoch has the greatest loss

    whole = callbacks()
    one = tlearn.finetune(photos, tmp_path / "whole", callbacks=whole, **toy)
    part = [*callbacks(), Interrupt(0, 3, first=(0,))]
    assert tlearn.finetune(photos, tmp_path / "part", callbacks=part, **toy).metrics["stopped"]
    resumed = callbacks()
    other = tlearn.resume(tmp_path / "part", callbacks=resumed, quiet=True)
    assert whole[0].stopped_epoch == resumed[0].stopped_epoch == 4
    assert whole[1].best == resumed[1].best > 0
    pairs = [(one.model.get_weights(), other.model.get_weights())]
    pairs += [(whole[0].best_weights, resumed[0].best_weights)]
    pairs += [([whole[2].mean, *whole[2].last], [resumed[2].mean, *resumed[2].last])]
    for these, those in pairs:
        for a, b in zip(these, those, strict=True):
            np.testing.assert_array_equal(a, b)
