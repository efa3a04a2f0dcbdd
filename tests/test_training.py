"""Networks, feeds and stages: what is frozen stays, what gets worse is undone."""

import inspect
from dataclasses import replace

import keras
import numpy as np
import pytest

from tlearn.backbones import load_registry
from tlearn.config import Augmentation, Head, RunConfig, Stage
from tlearn.data.scan import scan
from tlearn.data.splits import Splits
from tlearn.data.views import Rendering
from tlearn.errors import BackboneError
from tlearn.features.activation_cache import Cache
from tlearn.features.activations import Activations
from tlearn.features.built_backbone import FEATURES, load_backbone
from tlearn.features.engines import Choice
from tlearn.progress import Silent
from tlearn.training import loop, regression
from tlearn.training.feed import Feed
from tlearn.training.loop import Training, run_stages
from tlearn.training.network import Network, copies
from tlearn.training.probe import FITS, fit_probe
from tlearn.training.regression import MANY_CLASSES, log_loss, probabilities
from tlearn.training.rules import WORST, ValidationScore
from tlearn.training.setup import Setup
from tlearn.training.stages import plan
from tlearn.training.state import StageResult, TrainingPlan, TrainingState

BACKBONE = "toy"


@pytest.fixture
def built():
    return load_backbone(load_registry().get(BACKBONE), None, "none", 0)


@pytest.fixture
def kept(built, photos, cache):
    files = scan(photos).files
    rendering, choice = Rendering(32, "crop", Augmentation()), Choice("openvino", "float32")
    with Cache(cache) as store:
        kept = Activations(built, rendering, built.boundaries, store, choice)
        kept.cache_missing([(f, v) for f in files for v in range(2)])
        yield kept, files


def random_pixels(n=6):
    return np.random.default_rng(1).uniform(0, 255, (n, 32, 32, 3)).astype("float32")


def training_of(
    kept, network, stages, record=lambda state: None, callbacks=lambda stage: (), **config
):
    """What stages work with that train and validate on the same files."""
    activations, files = kept
    plans, built = plan(stages, network.built), network.built
    splits = Splits(("blue", "green", "red"), tuple(files), tuple(files))
    config = RunConfig(**config)
    setup = Setup(config, built, plans, 2, activations, None, splits, Silent())
    return Training(setup, network, callbacks, record)


def run(training, best=None):
    """Train all stages from the network as it is."""
    network, stages = training.network, tuple(p.stage for p in training.setup.stages)
    decided = TrainingPlan(stages, 2, (), StageResult("probe", "head"), {}, None)
    arrays = {"best": copies(network.changing(())), "seeds": network.seeds}
    return run_stages(training, TrainingState(decided, best=best, arrays=arrays))


def classes_of(files):
    return np.array([("blue", "green", "red").index(f.label) for f in files])


@pytest.mark.parametrize("boundary", [None, 0, 1, 2], ids=["head", "pixels", "first", "second"])
@pytest.mark.parametrize("taps", ["multi", "top"])
def test_prefix_and_suffix_make_the_whole(built, kept, boundary, taps):
    activations, files = kept
    chosen = built.taps if taps == "multi" else built.taps[-1:]
    network = Network(built, chosen, 3, Head(hidden=(5,)), 0)
    place = None if boundary is None else built.boundaries[boundary]
    feed = Feed(activations, place, network.columns_below(place), files[:7], 1, 0)
    (inputs, _), *_ = feed.plain(7)
    logits = np.asarray(network.suffix(place)(inputs, training=False))
    pixels = activations.rows([(f, 0) for f in files[:7]], "pixels").astype("float32")
    expected = np.asarray(network.whole(pixels, training=False))
    found = np.asarray(keras.ops.softmax(logits))
    np.testing.assert_allclose(found, expected, rtol=5e-3, atol=1e-4)


def test_the_probe_becomes_the_head(built, kept):
    activations, files = kept
    y = classes_of(files)
    features = activations.rows([(f, v) for f in files for v in range(2)], FEATURES)
    probe = fit_probe(
        features.reshape(len(files), 2, -1),
        y,
        [f.content for f in files],
        [1.0] * 3,
        0,
    )
    network = Network(built, built.taps, 3, Head(), 0)
    network.start_from(probe)
    plain = activations.rows([(f, 0) for f in files], FEATURES)
    by_head = np.asarray(network.suffix(None)([plain], training=False))
    np.testing.assert_allclose(by_head, probe.logits(plain), rtol=1e-3, atol=1e-3)
    assert (probe.logits(plain).argmax(axis=1) == y).mean() > 0.9


def test_two_classes_give_a_probe_with_two_columns_that_heeds_their_weights():
    rng = np.random.default_rng(0)
    y = np.arange(30) % 2
    features = rng.normal(y[:, None, None], 0.5, (30, 1, 4)).astype(np.float32)
    groups = [str(i) for i in range(30)]
    probe, other = (fit_probe(features, y, groups, [1.0, w], 0) for w in (1.0, 9.0))
    assert probe.kernel.shape == (4, 2)
    second = [(found.logits(features[:, 0]) @ [-1, 1]).mean() for found in (probe, other)]
    assert second[1] > second[0] + 1
    assert (probe.logits(features[:, 0]).argmax(axis=1) == y).mean() > 0.9
    assert probe.cross_validated.accuracy > 0.8


@pytest.mark.parametrize(
    ("unfreeze", "first_trained", "boundary"),
    [
        ("none", None, None),
        (1, "block3_conv", "block3_conv"),
        (2, "block2_conv", "block2_conv"),
        ("all", "block1_conv", "pixels"),
        (3, "block1_conv", "pixels"),
        ("block2_conv", "block2_conv", "block2_conv"),
        ("block2_pool", "block3_conv", "block3_conv"),
        ("block3_pool", None, "block3_conv"),
    ],
)
def test_a_stage_freezes_what_lies_below(built, unfreeze, first_trained, boundary):
    (found,) = plan((Stage(unfreeze=unfreeze),), built)
    network = Network(built, built.taps, 3, Head(), 0)
    for _ in range(2):  # doing it twice changes nothing
        network.freeze(found.trainable)
        trained = [layer.name for layer in built.base.layers if layer.trainable_weights]
        assert (trained or [None])[0] == first_trained
        assert not any("bn" in name for name in trained)
    assert (found.boundary.name if found.boundary else None) == boundary


@pytest.mark.parametrize("unfreeze", [4, "block9"])
def test_a_stage_that_asks_for_too_much_is_refused(built, unfreeze):
    with pytest.raises(BackboneError, match=r"toy"):
        plan((Stage(unfreeze=unfreeze),), built)


def test_a_later_stage_is_never_fed_above_trained_layers(built):
    plans = plan(tuple(Stage(unfreeze=u) for u in (2, 1, "all", "none")), built)
    assert [p.boundary.name if p.boundary else None for p in plans] == [
        "block2_conv",
        "block2_conv",
        "pixels",
        "pixels",
    ]
    assert not plans[-1].trainable


def changed_by(built, kept, **stage):
    """Train one stage; return the layers whose weights are others then."""
    network = Network(built, built.taps, 3, Head(), 0)
    before = {w.path: w.numpy().copy() for w in built.base.weights}
    run(training_of(kept, network, (Stage(epochs=1, **stage),)))
    changed = {w.path for w in built.base.weights if not np.array_equal(before[w.path], w.numpy())}
    return {path.split("/")[-2] for path in changed}


def test_frozen_weights_and_statistics_stay_bit_for_bit(built, kept):
    pretrained = replace(built, weights="a file")
    assert changed_by(pretrained, kept, unfreeze=1) == {"block3_conv"}
    assert changed_by(built, kept, unfreeze=1, batch_norm="frozen") == {"block3_conv"}


def test_batch_normalisation_is_trained_with_random_weights_or_if_asked_for(built, kept):
    top = {"block3_conv", "block3_bn"}
    assert changed_by(built, kept, unfreeze=1) == top
    assert changed_by(replace(built, weights="a file"), kept, unfreeze=1, batch_norm="train") == top


def test_statistics_of_random_weights_begin_with_those_of_a_batch(built, kept):
    network, found = Network(built, built.taps, 3, Head(), 0), []
    norm = built.base.get_layer("block3_bn")

    def record(state):  # after the only epoch, and after the stage
        found.append(copies([norm.moving_mean, norm.moving_variance]))

    stage = Stage(unfreeze=1, epochs=1, learning_rate=1e-30)
    run(training_of(kept, network, (stage,), record))
    activations, files = kept
    below = activations.rows([(f, 1) for f in files], "block3_conv").astype("float32")
    maps = np.asarray(built.base.get_layer("block3_conv")(below))
    mean, variance = maps.mean(axis=(0, 1, 2)), maps.var(axis=(0, 1, 2))
    np.testing.assert_allclose(found[0][0], mean, atol=np.sqrt(variance.max()))
    np.testing.assert_allclose(found[0][1], variance, rtol=0.9)
    assert norm.momentum == 0.99


def test_what_is_kept_below_a_boundary_stays_right_whatever_is_trained_above(built, kept):
    activations, files = kept
    items = [(f, 0) for f in files[:5]]
    before = activations.rows(items, "block3_conv")
    changed_by(built, kept, unfreeze=1, batch_norm="train")
    pixels = activations.rows(items, "pixels")
    again = activations.compute(pixels, ["block3_conv"])["block3_conv"]
    np.testing.assert_allclose(again.astype("float32"), before.astype("float32"), rtol=2e-3)


def test_a_stage_that_makes_things_worse_is_rolled_back(built, kept):
    network = Network(built, built.taps, 3, Head(), 0)
    before = network.whole.get_weights()
    stage = Stage(unfreeze="all", epochs=2, learning_rate=5.0, optimizer="sgd")
    state = run(training_of(kept, network, (stage,)), ValidationScore(1.0, 0.0))
    assert not state.results[0].improved
    for old, new in zip(before, network.whole.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def score_of(network, kept):
    """Score a network as it is on all files."""
    activations, files = kept
    feed = Feed(activations, None, network.columns_below(None), files, 1, 0)
    (inputs, _), *_ = feed.plain(len(files))
    logits = np.asarray(network.suffix(None)(inputs, training=False))
    return ValidationScore.of(classes_of(files), logits)


@pytest.mark.parametrize("monitor", ["val_accuracy", "val_loss"])
def test_a_stage_that_helps_is_kept_with_its_best_epoch(built, kept, monitor):
    network = Network(built, built.taps, 3, Head(), 0)
    stage = Stage(unfreeze="none", epochs=6, learning_rate=3e-3, monitor=monitor)
    state = run(training_of(kept, network, (stage,)))
    (result,) = state.results
    assert result.improved and not state.stopped and result.epochs == 6
    rows = result.history[-2:]
    best = max(ValidationScore(r["val_accuracy"], r["val_loss"]).rank(monitor) for r in rows)
    found = score_of(network, kept)
    assert found.accuracy == result.score.accuracy == state.best.accuracy
    assert found.log_loss == pytest.approx(result.score.log_loss)
    assert found.rank(monitor) >= best


def test_ctrl_c_ends_a_stage_and_keeps_the_best(built, kept):
    network = Network(built, built.taps, 3, Head(), 0)
    seen = []

    def interrupt(state):
        seen.append(state)
        if len(seen) == 3:
            raise KeyboardInterrupt

    stages = (Stage(unfreeze="none", epochs=9), Stage(unfreeze=1))
    state = run(training_of(kept, network, stages, interrupt))
    assert state.stopped and len(state.results) == 1 and state.results[0].improved
    assert [s.stopped for s in seen] == [False] * 3 + [True]
    assert score_of(network, kept) == state.best


def test_ctrl_c_between_the_epochs_keeps_the_best_too(built, kept, monkeypatch):
    network = Network(built, built.taps, 3, Head(), 0)
    calls = []

    def impatient(before, after, part):
        calls.append(part)
        if len(calls) > 1:
            raise KeyboardInterrupt
        return after

    monkeypatch.setattr(loop, "between", impatient)
    stages = (Stage(unfreeze="none", epochs=4), Stage(unfreeze=1, epochs=2))
    state = run(training_of(kept, network, stages))
    assert state.stopped and len(state.results) == 1 and state.results[0].improved
    assert score_of(network, kept) == state.results[0].score


@pytest.mark.parametrize("number", range(1, 5))
def test_ctrl_c_while_a_state_is_saved_leaves_the_best(built, kept, number):
    network = Network(built, built.taps, 3, Head(), 0)
    seen = []

    def interrupt(state):  # after an epoch, after the stage, and again
        seen.append(state)
        if len(seen) >= number:
            raise KeyboardInterrupt

    stages = (Stage(unfreeze="none", epochs=2), Stage(unfreeze=1, epochs=2))
    training = training_of(kept, network, stages, interrupt)
    state = run(training, ValidationScore(0.0, 99.0))
    assert state.stopped
    variables = training.changing(len(state.results))
    for one, other in zip(variables, state.arrays["best"], strict=True):
        np.testing.assert_array_equal(one.numpy(), other)


def test_a_stage_that_ends_early_offers_what_it_reached(built, kept, monkeypatch):
    parts = []
    real = loop.between
    monkeypatch.setattr(loop, "between", lambda *a: parts.append(a[2]) or real(*a))
    for budget, wanted in ((1e-9, [1.0, *loop.AVERAGES]), (None, list(loop.AVERAGES))):
        network = Network(built, built.taps, 3, Head(), 0)
        run(training_of(kept, network, (Stage(unfreeze="none", epochs=4),), time_budget=budget))
        assert parts == wanted
        parts.clear()


def test_numbers_that_are_none_are_refused():
    features = np.ones((6, 1, 4), np.float32)
    features[2, 0, 1] = np.nan
    y = np.array([0, 1] * 3)
    with pytest.raises(BackboneError, match="gives numbers that are not finite"):
        fit_probe(features, y, list("abcdef"), [1.0, 1.0], 0)


def test_logits_that_are_not_finite_have_the_worst_score():
    assert ValidationScore.of(np.array([0, 1]), np.array([[np.nan, 1.0], [0.0, 1.0]])) == WORST


@pytest.mark.parametrize(
    ("batch", "sizes"), [(8, [7] * 5), (12, [12] * 3), (99, [36]), (35, [18, 18]), (1, [1] * 36)]
)
def test_batches_of_an_epoch_have_one_size(built, kept, batch, sizes):
    activations, files = kept
    feed = Feed(activations, None, np.arange(4), files, 2, 0)
    batches = [rows for _, rows in feed.epoch(0, batch)]
    assert [len(rows) for rows in batches] == sizes and feed.steps(batch) == len(sizes)
    assert len(set(np.concatenate(batches).tolist())) == sum(sizes)


def test_an_epoch_shows_each_image_once_and_takes_turns_with_views(built, kept):
    activations, files = kept
    feed = Feed(activations, None, np.arange(4), files, 2, 0)
    epochs = [np.concatenate([rows for _, rows in feed.epoch(e, 9)]) for e in range(2)]
    assert all(sorted(rows) == list(range(len(files))) for rows in epochs)
    assert not np.array_equal(*epochs)
    seen = [
        {
            int(r): tuple(x)
            for inputs, rows in feed.epoch(e, 9)
            for r, x in zip(rows, inputs[0], strict=True)
        }
        for e in range(3)
    ]
    assert all(seen[0][i] != seen[1][i] and seen[0][i] == seen[2][i] for i in range(len(files)))


def test_fresh_views_differ_every_epoch_and_come_again(built, kept):
    activations, files = kept
    feed = Feed(activations, built.boundaries[1], np.arange(0), files[:4], 0, 0)

    def rows(epoch):
        return {
            int(r): x
            for inputs, rows in feed.epoch(epoch, 4)
            for r, x in zip(rows, inputs[0], strict=True)
        }

    again, first, second = rows(0), rows(0), rows(1)
    assert all(np.array_equal(again[i], first[i]) for i in first)
    assert not any(np.array_equal(first[i], second[i]) for i in first)


def test_the_loop_fits_one_screen():
    source = inspect.getsource(loop.run_stages)
    body = source[source.index('"""', source.index('"""') + 3) :]
    assert len(body.splitlines()) <= 25
    for word in (".freeze(", "compile_for(", "fit.run(", ".record(state)"):
        assert word in body


class Recorder(keras.callbacks.Callback):
    """Notes what Keras would call; stops after three epochs."""

    def __init__(self):
        super().__init__()
        self.calls = []

    def on_train_begin(self, logs=None):
        assert self.model.optimizer and self.params["epochs"] == 9
        self.calls.append("begin")

    def on_train_batch_end(self, batch, logs=None):
        self.calls.append((batch, sorted(logs)))

    def on_epoch_end(self, epoch, logs=None):
        self.calls.append((epoch, sorted(logs)))
        self.model.stop_training = epoch == 2

    def on_train_end(self, logs=None):
        self.calls.append("end")


def test_keras_callbacks_work_in_every_stage(built, kept):
    network = Network(built, built.taps, 3, Head(), 0)
    recorder, csv = Recorder(), keras.callbacks.LambdaCallback(on_epoch_end=lambda e, logs: None)
    stages = (Stage(unfreeze="none", epochs=9), Stage(unfreeze=1, epochs=9))
    state = run(training_of(kept, network, stages, callbacks=lambda stage: [recorder, csv]))
    assert [result.epochs for result in state.results] == [3, 3]
    both = ["accuracy", "loss"]
    checked = [*both, "val_accuracy", "val_loss"]
    epochs = [call for e in range(3) for call in ((0, both), (1, both), (e, checked))]
    assert recorder.calls == ["begin", *epochs, "end"] * 2


def test_a_training_ends_when_the_time_is_over(built, kept):
    network = Network(built, built.taps, 3, Head(), 0)
    stages = (Stage(unfreeze="none", epochs=9), Stage(unfreeze=1, epochs=9))
    state = run(training_of(kept, network, stages, time_budget=1e-9))
    assert [result.epochs for result in state.results] == [1] and not state.stopped


def test_products_in_bfloat16_leave_the_saved_model_as_it_is(built, kept, tmp_path):
    network = Network(built, built.taps, 3, Head(), 0)
    before = network.suffix(built.boundaries[2])
    seen = []

    class Policies(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            seen.append(built.base.get_layer("block3_conv").compute_dtype)

    kept[0].choice = Choice("openvino", "bfloat16")
    stages, callbacks = (Stage(unfreeze=1, epochs=2),), lambda stage: [Policies()]
    run(training_of(kept, network, stages, callbacks=callbacks))
    assert seen == ["bfloat16"]
    assert {layer.compute_dtype for layer in built.base.layers} == {"float32"}
    assert all(weight.dtype == "float32" for weight in before.weights)
    network.whole.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras", compile=False)
    x = random_pixels()
    np.testing.assert_array_equal(np.asarray(again(x)), np.asarray(network.whole(x)))
    assert again.output.dtype == "float32"


def test_a_plateau_lowers_the_rate(built, kept):
    network = Network(built, built.taps, 3, Head(), 0)
    stage = Stage(unfreeze="none", epochs=6, learning_rate=1e-30, schedule="plateau", patience=4)
    state = run(training_of(kept, network, (stage,)))
    rates = [row["learning_rate"] for row in state.history]
    # Lowered after half the patience; with all of it gone, the stage ends.
    np.testing.assert_allclose(rates, [1e-30] * 3 + [1e-31] * 2, rtol=1e-5)


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd", "rmsprop"])
@pytest.mark.parametrize("schedule", ["cosine", "constant", "plateau"])
@pytest.mark.parametrize("weight_decay", [0.0, 0.01])
def test_every_optimizer_can_be_asked_for(built, optimizer, schedule, weight_decay):
    network = Network(built, built.taps, 3, Head(), 0)
    model = network.suffix(None)
    stage = Stage(
        unfreeze="none", optimizer=optimizer, schedule=schedule, weight_decay=weight_decay
    )
    loop.compile_for(model, stage, 3)
    x = [np.ones((4, *i.shape[1:]), np.float32) for i in model.inputs]
    logs = model.train_on_batch(x, np.eye(3, dtype=np.float32)[[0, 1, 2, 0]], return_dict=True)
    assert np.isfinite(logs["loss"])
    assert (model.optimizer.weight_decay or 0.0) == weight_decay


@pytest.mark.parametrize(
    ("y", "groups"),
    [
        ([0, 1], "ab"),
        ([0, 0, 1, 1], "aabb"),
        ([0, 0, 1, 1], "aaaa"),
        ([0, 1, 1, 1, 1, 1], "abcdef"),
    ],
)
def test_a_probe_of_very_few_images(y, groups):
    rng = np.random.default_rng(0)
    y = np.array(y)
    features = rng.normal(y[:, None, None], 0.1, (len(y), 1, 5)).astype(np.float32)
    probe = fit_probe(features, y, list(groups), [1.0, 1.0], 0)
    assert (probe.logits(features[:, 0]).argmax(axis=1) == y).all()


def test_fresh_views_go_on_over_stages(built, kept):
    activations, files = kept
    feeds = [Feed(activations, None, np.arange(4), files[:5], 0, 0, past) for past in (0, 2)]
    third, also_third = (
        np.concatenate([inputs[0] for inputs, _ in feed.epoch(number, 3)])
        for feed, number in zip(feeds, (2, 0), strict=True)
    )
    np.testing.assert_array_equal(third, also_third)


def test_keras_must_be_set_as_needed(monkeypatch):
    monkeypatch.setattr(keras.config, "image_data_format", lambda: "channels_first")
    with pytest.raises(BackboneError, match=r"image_data_format 'channels_first'.*channels_last"):
        load_backbone(load_registry().get("toy"), None, "none", 0)


def test_many_classes_are_told_apart_in_closed_form():
    rng = np.random.default_rng(0)
    y = np.repeat(np.arange(MANY_CLASSES + 20), 4)
    centres = rng.normal(size=(y.max() + 1, 300))
    features, others = (
        (centres[y] + rng.normal(0, 2.5, (len(y), 300))).astype(np.float32) for _ in range(2)
    )
    groups, weights = [str(i) for i in range(len(y))], [1.0] * (y.max() + 1)
    done = []
    probe = fit_probe(features[:, None], y, groups, weights, 0, done.append)
    found = probe.logits(others)
    accuracy = (found.argmax(axis=1) == y).mean()
    assert accuracy > 0.8 and abs(accuracy - probe.cross_validated.accuracy) < 0.1
    # Its logits are calibrated: no other scale of them has a much smaller loss.
    losses = [log_loss(y, probabilities(scale * found)) for scale in (0.5, 1.0, 2.0)]
    assert losses[1] < min(losses[0], losses[2]) and losses[1] < 0.5 * np.log(len(centres))
    assert FITS <= sum(done) <= 31  # of five folds for each strength looked at, and the last


def test_a_ridge_regression_of_few_images_has_every_class(monkeypatch):
    monkeypatch.setattr("tlearn.training.regression.MANY_CLASSES", 2)
    x = np.eye(4, dtype=np.float32)[[0, 0, 1, 1, 2]] + 0.01
    kernel, bias = regression.fit(x, np.array([0, 0, 1, 1, 2]), 1.0, [1.0] * 4)
    scores = x @ kernel + bias
    assert scores.shape == (5, 4) and scores.argmax(axis=1).tolist() == [0, 0, 1, 1, 2]
