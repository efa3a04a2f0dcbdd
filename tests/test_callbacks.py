"""What ends a stage or lowers its rate, and what callbacks remember."""

import json
from types import SimpleNamespace

import keras
import numpy as np
import pytest

import tlearn
from tlearn.config import Stage
from tlearn.errors import ConfigError
from tlearn.metrics import METRICS, MONITORS
from tlearn.training.callbacks import Fit, StageCallbacks, earliest_end, is_settled, steering
from tlearn.training.compile import check_arguments, loss_for, optimizer_for
from tlearn.training.score import WORST, ValidationScore, is_better


def score(accuracy, loss, macro_f1=0.5):
    others = dict.fromkeys(MONITORS, 0.5)
    figures = {"val_loss": loss, "val_accuracy": accuracy, "val_macro_f1": macro_f1}
    return ValidationScore(others | figures)


def rows(accuracies, losses=None):
    losses = losses or [1.0] * len(accuracies)
    return [
        {"loss": 1.0, **score(a, loss, 1 - a).figures}
        for a, loss in zip(accuracies, losses, strict=True)
    ]


def trained(stage, history, broken_off=None, say=print):
    """Return the rate after each epoch until the stage ends; it may be broken off and go on."""
    model = SimpleNamespace(stop_training=False, optimizer=keras.optimizers.SGD(1.0), metrics=[])
    nobody, rates, memory = Fit([], model), [], ()
    for epoch, row in enumerate(history):
        if epoch in (0, broken_off):
            callbacks = StageCallbacks(nobody, Fit(steering(stage, say), model, memory), 0, 9, 1)
            callbacks.start()
        callbacks.epoch("on_epoch_end", epoch, dict(row))
        memory = json.loads(json.dumps(callbacks.memory()))["stage"]
        rates.append(float(model.optimizer.learning_rate))
        if callbacks.stopped:
            break
    return rates


def ended_after(history, **options):
    stage = Stage(unfreeze=1, schedule="constant", **options)
    epochs = {len(trained(stage, history, broken_off)) for broken_off in range(len(history))}
    assert len(epochs) == 1
    return epochs.pop()


def test_early_stopping_counts_from_the_best_epoch():
    falling = rows([0.5, 0.9, 0.8, 0.8, 0.8, 0.8])
    assert ended_after(falling, patience=2, epochs=1) == 4
    assert ended_after(falling, patience=2, epochs=10) == 6
    assert ended_after(falling, patience=5, epochs=1) == len(falling)
    assert ended_after(falling, patience=1, epochs=1, start_from_epoch=3) == 5
    lines, stage = [], Stage(unfreeze=1, schedule="constant", patience=2, epochs=10)
    trained(stage, falling, say=lines.append)
    assert lines == ["no improvement in 4 epochs: ending the stage here"]
    rising = rows([0.5, 0.51, 0.52, 0.53])
    assert ended_after(rising, patience=2, epochs=1, min_delta=0.1) == 3
    assert ended_after(rising, patience=2, epochs=1) == len(rising)


def test_the_monitor_decides_what_is_an_improvement():
    history = rows([0.9, 0.8, 0.7, 0.6], [0.9, 0.8, 0.7, 0.6])
    assert ended_after(history, monitor="val_accuracy", patience=2, epochs=1) == 3
    assert ended_after(history, monitor="val_loss", patience=2, epochs=1) == len(history)
    assert ended_after(history, monitor="val_macro_f1", patience=2, epochs=1) == len(history)
    one, other = score(0.9, 0.9, 0.7), score(0.8, 0.8, 0.8)
    assert is_better(one, other, "val_accuracy") and not is_better(one, other, "val_loss")
    assert is_better(other, one, "val_macro_f1") and not is_better(one, other, "val_macro_f1")


def test_of_equal_accuracies_the_smaller_loss_is_better_and_nothing_beats_by_not_being_finite():
    for monitor in ("val_accuracy", "val_macro_f1"):
        assert is_better(score(0.9, 0.2), score(0.9, 0.3), monitor)
    assert is_better(score(0.1, 9.0), None, "val_loss")
    assert not is_better(WORST, None, "val_accuracy")
    assert not is_better(score(0.9, 0.2), score(0.9, 0.2), "val_loss")


def test_a_score_has_every_figure():
    y, logits = np.array([0, 0, 0, 0, 1]), np.log([[0.9, 0.1, 1e-9]] * 4 + [[0.8, 0.2, 1e-9]])
    found = ValidationScore.of(y, logits)
    losses = [-np.log(0.9)] * 4 + [-np.log(0.2)]
    expected = {"log_loss": np.mean(losses), "accuracy": 0.8, "macro_f1": (8 / 9 + 0) / 2}
    assert {key: found.by_key()[key] for key in expected} == pytest.approx(expected)
    assert WORST.by_key() == {
        key: 0.0 if metric.higher_is_better else np.inf for key, metric in METRICS.items()
    }


@pytest.mark.parametrize(
    ("options", "first"),
    [
        ({"epochs": 10, "schedule": "constant"}, 6),
        ({"epochs": 10, "schedule": "plateau"}, 6),
        ({"epochs": 10, "schedule": "polynomial"}, 8),
        ({"epochs": 10}, 8),
        ({"epochs": 1}, 1),
        ({"epochs": 2}, 2),
    ],
)
def test_a_stage_ends_early_in_its_second_half_at_a_low_rate(options, first):
    stage = Stage(unfreeze=1, **options)
    assert earliest_end(stage) == first and is_settled(stage, first)


def test_a_plateau_lowers_the_rate_as_keras_does_and_early_stopping_still_counts():
    history = rows([0.5, 0.6, 0.6, 0.6, 0.6, 0.7, 0.6, 0.6, 0.6, 0.6])
    stage = Stage(unfreeze=1, schedule="plateau", patience=4, epochs=1)
    expected = [1, 1, 1, 0.1, 0.1, 0.1, 0.1, 0.01, 0.01, 0.001]
    for broken_off in range(len(history)):
        np.testing.assert_allclose(trained(stage, history, broken_off), expected, rtol=1e-5)
    options = {"monitor": "val_loss", "factor": 0.5, "patience": 3, "cooldown": 1, "min_lr": 0.2}
    plain = keras.callbacks.ReduceLROnPlateau(**options)
    plain.set_model(SimpleNamespace(optimizer=keras.optimizers.SGD(1.0), metrics=[]))
    plain.on_train_begin()
    rates, history = [], rows([0.5] * 12)
    for epoch, row in enumerate(history):
        plain.on_epoch_end(epoch, dict(row))
        rates.append(float(plain.model.optimizer.learning_rate))
    stage = Stage(unfreeze=1, schedule={"name": "plateau", **options}, patience=20)
    assert trained(stage, history) == rates and rates[-1] == pytest.approx(0.2)


def test_a_loss_that_is_not_finite_ends_the_stage():
    for loss, ends in {1.0: False, np.nan: True, np.inf: True}.items():
        model, lines = SimpleNamespace(stop_training=False), []
        fit = Fit(steering(Stage(unfreeze=1), lines.append), model)
        fit.list.on_train_batch_end(2, {"loss": loss})
        assert model.stop_training is ends and len(lines) == ends
    assert lines == ["the loss is not finite in batch 3: ending the stage here"]


class Counting(keras.callbacks.Callback):
    """Remembers what JSON can hold, and what it cannot."""

    def __init__(self, limit):
        super().__init__()
        self.limit, self.seen, self.hidden, self.best = limit, [], object(), np.float32(0)

    def on_epoch_end(self, epoch, logs=None):
        self.seen.append(epoch)
        self.best = max(self.best, np.float32(epoch))


def test_callbacks_go_on_with_what_changed_and_keep_what_they_were_made_with():
    model = SimpleNamespace(stop_training=False)
    first = Fit([Counting(3), keras.callbacks.History()], model)
    first.start()
    for epoch in range(2):
        first.list.on_epoch_end(epoch, {"loss": 1.0 / (epoch + 1)})
    memory = json.loads(json.dumps(first.memory()))
    again = Fit([Counting(5), keras.callbacks.History()], model, memory)
    again.start()
    again.list.on_epoch_end(2, {"loss": 0.1})
    counting, history = again.list.callbacks
    assert (counting.limit, counting.seen, counting.best) == (5, [0, 1, 2], 2)
    assert history.epoch == [0, 1, 2] and history.history == {"loss": [1.0, 0.5, 0.1]}
    lines = []
    Fit([Counting(5), keras.callbacks.History()], model, say=lines.append).start()
    assert lines == [
        "the callback Counting has hidden, which a checkpoint does not hold: a resumed training "
        "begins without"
    ]
    others = Fit([keras.callbacks.History(), Counting(5)], model, memory)
    others.start()
    assert others.list.callbacks[1].seen == [] == others.list.callbacks[0].epoch


def test_callbacks_of_the_training_count_epochs_on_and_those_that_steer_begin_anew():
    class Note(keras.callbacks.Callback):
        def __init__(self):
            super().__init__()
            self.calls = []

        def on_train_begin(self, logs=None):
            self.calls.append("begin")

        def on_epoch_begin(self, epoch, logs=None):
            self.calls.append(epoch)

    model = SimpleNamespace(stop_training=False, metrics=[])
    every, own = Note(), Note()
    stopping = keras.callbacks.EarlyStopping("val_loss", patience=5)
    whole = Fit([every, stopping], model)
    for past, epochs in ((0, 2), (2, 1)):
        callbacks = StageCallbacks(whole, Fit([own], model), past, epochs, 1)
        callbacks.start()
        assert stopping.wait == 0
        for epoch in range(epochs):
            callbacks.epoch("on_epoch_begin", epoch)
            callbacks.epoch("on_epoch_end", epoch, {"val_loss": 1.0 + epoch})
    assert every.calls == ["begin", 0, 1, 2] and own.calls == ["begin", 0, 1, "begin", 0]


SCHEDULES = [
    ("constant", {}, lambda k: k.ExponentialDecay(0.1, 1, 1.0)),
    (
        "cosine",
        {"alpha": 0.1},
        lambda k: k.CosineDecay(0.0, 9, 0.1, warmup_target=0.1, warmup_steps=1),
    ),
    ("exponential", {}, lambda k: k.ExponentialDecay(0.1, 5, 0.9)),
    (
        "exponential",
        {"decay_steps": 3, "decay_rate": 0.5, "staircase": True},
        lambda k: k.ExponentialDecay(0.1, 3, 0.5, True),
    ),
    (
        "inverse_time",
        {"decay_steps": 3, "decay_rate": 0.5, "staircase": True},
        lambda k: k.InverseTimeDecay(0.1, 3, 0.5, True),
    ),
    ("polynomial", {"power": 2.0}, lambda k: k.PolynomialDecay(0.1, 10, 0.0, 2.0)),
    (
        "piecewise",
        {"rates": [[0, 0.2], [1, 0.02]]},
        lambda k: k.PiecewiseConstantDecay([4], [0.2, 0.02]),
    ),
]


@pytest.mark.parametrize(("name", "arguments", "plain"), SCHEDULES)
def test_schedules_are_those_of_keras(name, arguments, plain):
    options = {"unfreeze": 1, "epochs": 2, "learning_rate": 0.1}
    stage = Stage(**options, schedule={"name": name, **arguments})
    check_arguments(stage)
    optimizer, expected = optimizer_for(stage, 5, {}), plain(keras.optimizers.schedules)
    for step in range(10):
        optimizer.iterations.assign(step)
        assert float(optimizer.learning_rate) == pytest.approx(float(expected(step)), rel=1e-5)


def test_every_optimizer_of_keras_takes_its_own_arguments():
    others = {"LossScaleOptimizer", "MultiOptimizer", "Optimizer", "OptimizerMap"}
    others |= {"ScheduleFreeAdamW"}  # its weights must be swapped before each evaluation
    from tlearn.keras_objects import OPTIMIZERS

    assert {n for n in dir(keras.optimizers) if n[0].isupper()} - others == {*OPTIMIZERS.values()}
    for name, kind in OPTIMIZERS.items():
        given = {"name": name, "clipnorm": 1.0, "weight_decay": 0.01}
        stage = Stage(unfreeze=1, optimizer=given, schedule="constant", learning_rate=0.01)
        check_arguments(stage)
        optimizer = optimizer_for(stage, 1, {})
        assert type(optimizer).__name__ == kind
        assert (optimizer.clipnorm, optimizer.weight_decay) == (1.0, 0.01)
        assert float(optimizer.learning_rate) == pytest.approx(0.01)
    stage = Stage(unfreeze=1, optimizer={"name": "rmsprop", "rho": 0.8})
    assert optimizer_for(stage, 1, {}).rho == 0.8
    assert stage.model_dump()["optimizer"] == {"name": "rmsprop", "rho": 0.8}
    assert Stage(unfreeze=1, optimizer="rmsprop").model_dump()["optimizer"] == "rmsprop"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"optimizer": {"name": "sgd", "momentun": 1}}, "sgd takes no 'momentun' .*'momentum'"),
        ({"optimizer": {"name": "sgd", "learning_rate": 1}}, "takes no 'learning_rate'"),
        ({"optimizer": {"name": "sgd", "momentum": "x"}}, "refuses the optimizer sgd with mom"),
        ({"optimizer": {"name": "adam", "clipnorm": "x"}}, "refuses the optimizer adam with clip"),
        ({"schedule": {"name": "exponential", "rate": 1}}, "exponential takes no 'rate'"),
        ({"schedule": {"name": "exponential", "decay_rate": "x"}}, "refuses the schedule expo"),
        ({"schedule": {"name": "piecewise"}}, r"rates must be pairs.*Received: None"),
        ({"schedule": {"name": "piecewise", "rates": [[1, 2]]}}, "rise from 0"),
        ({"schedule": {"name": "plateau", "factor": 2}}, "refuses the schedule plateau"),
        ({"schedule": {"name": "plateau", "x": 2}}, "plateau takes no 'x'"),
        ({"loss": {"name": "focal", "gama": 2}}, "focal takes no 'gama' .*'gamma'"),
        ({"loss": {"name": "focal", "gamma": "x"}}, "refuses the loss focal"),
    ],
)
def test_arguments_that_keras_does_not_take_are_refused(options, words):
    with pytest.raises(ConfigError, match=words) as caught:
        check_arguments(Stage(unfreeze=1, **options))
    assert "\n" not in str(caught.value)


STOPS = """
import keras

class Stop(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        self.model.stop_training = logs["accuracy"] >= 0.0

{}
"""


def test_callbacks_come_from_a_file_that_is_kept_in_the_run(photos, tmp_path, monkeypatch):
    monkeypatch.setenv("TLEARN_CACHE", str(tmp_path / "cache"))
    toy = {"backbone": "toy", "weights": "none", "stages": "none:4,1:4", "quiet": True}
    file = tmp_path / "mine.py"
    for number, end in enumerate(("callbacks = [Stop()]", "def callbacks():\n    return Stop()")):
        file.write_text(STOPS.format(end))
        run = tlearn.finetune(photos, tmp_path / f"run{number}", callbacks=file, **toy)
        assert [stage["epochs"] for stage in run.metrics["stages"]] == [0, 1, 1]
        assert (run.path / "callbacks.py").read_text() == file.read_text()
    for content, words in {
        "callbacks = 7": "mine.py' cannot be used .TypeError",
        "x = 1": "cannot be used .AttributeError",
        "1 / 0": "cannot be used .ZeroDivisionError: division by zero",
        "callbacks = ['x']": "takes Keras callbacks. Received: 'x'",
    }.items():
        file.write_text(content)
        with pytest.raises(ConfigError, match=words):
            tlearn.finetune(photos, tmp_path / "run", callbacks=file, **toy)
        assert not (tmp_path / "run").exists()
    with pytest.raises(ConfigError, match=r"there is no file 'missing\.py'"):
        tlearn.finetune(photos, tmp_path / "run", callbacks="missing.py", **toy)


def test_the_focal_loss_is_that_of_keras():
    stage = Stage(unfreeze=1, loss={"name": "focal", "gamma": 3.0}, label_smoothing=0.1)
    expected = keras.losses.CategoricalFocalCrossentropy(
        gamma=3.0, from_logits=True, label_smoothing=0.1
    )
    y, logits = np.eye(3, dtype="float32"), np.random.default_rng(0).normal(size=(3, 3))
    assert float(loss_for(stage)(y, logits)) == pytest.approx(float(expected(y, logits)))
