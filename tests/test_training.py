"""Networks, feeds and stages: what is frozen stays, what gets worse is undone."""

import inspect
from dataclasses import replace
from itertools import pairwise

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
from tlearn.features.image_views import ImageViews
from tlearn.metrics import MONITORS
from tlearn.progress import Silent
from tlearn.training import loop, stage_fit
from tlearn.training.feed import Feed
from tlearn.training.loop import run_stages
from tlearn.training.network import Network, assign, copies
from tlearn.training.probe import fit_probe
from tlearn.training.score import WORST, ValidationScore
from tlearn.training.setup import Setup
from tlearn.training.stage_fit import Training
from tlearn.training.stages import plan_stages
from tlearn.training.state import StageResult, TrainingPlan, TrainingState


@pytest.fixture
def built():
    return load_backbone(load_registry().get("toy"), None, "none", 0)


@pytest.fixture
def network(built):
    return Network(built, built.taps, 3, Head(), 0)


@pytest.fixture(scope="module")
def shared_cache(tmp_path_factory):
    """A cache that all tests share: every backbone that is built has the same weights."""
    return tmp_path_factory.mktemp("kept")


@pytest.fixture
def kept(built, photo_template, shared_cache):
    """Activations of two views at every boundary, and the files that they are of."""
    files = scan(photo_template).files
    rendering, choice = Rendering(32, "crop", Augmentation()), Choice("openvino", "float32")
    with Cache(shared_cache) as store:
        kept = Activations(built, rendering, built.boundaries, store, choice)
        kept.cache_missing(ImageViews.of(files, 2))
        yield kept, files


def random_pixels(n=6):
    return np.random.default_rng(1).uniform(0, 255, (n, 32, 32, 3)).astype("float32")


def training_of(kept, network, stages, record=lambda state: None, callbacks=(), **config):
    """What stages work with that train and validate on the same files."""
    activations, files = kept
    plans, built = plan_stages(stages, network.built), network.built
    splits = Splits(("blue", "green", "red"), files, files, files[:0])
    config = RunConfig(**config)
    setup = Setup(config, built, plans, 2, activations, None, splits, Silent())
    return Training(setup, network, callbacks, lambda stage: (), record)


def run(training, best=None):
    """Train all stages from the network as it is."""
    network, stages = training.network, tuple(p.stage for p in training.setup.stages)
    decided = TrainingPlan(stages, 2, (), StageResult("probe", "head"), {}, None)
    arrays = {"seeds": network.seeds}
    return run_stages(training, TrainingState(decided, best=best, arrays=arrays))


def classes_of(files):
    return np.array([("blue", "green", "red").index(f.label) for f in files])


def test_prefix_and_suffix_make_the_whole(built, kept):
    activations, files = kept
    pixels = activations.rows(ImageViews(files[:7]), "pixels").astype("float32")
    for taps in (built.taps, built.taps[-1:]):
        network = Network(built, taps, 3, Head(hidden=(5,)), 0)
        expected = np.asarray(network.whole(pixels, training=False))
        for place in (None, *built.boundaries):
            feed = Feed(activations, place, network.columns_below(place), files[:7], 1, 0)
            (inputs, _), *_ = feed.plain(7)
            logits = network.suffix(place)(inputs, training=False)
            found = np.asarray(keras.ops.softmax(logits))
            np.testing.assert_allclose(found, expected, rtol=5e-3, atol=1e-4)


def test_the_probe_becomes_the_head(network, kept):
    activations, files = kept
    y = classes_of(files)
    features = activations.rows(ImageViews.of(files, 2), FEATURES)
    groups = [f.content for f in files]
    probe = fit_probe(features.reshape(len(files), 2, -1), y, groups, [1.0] * 3, 0)
    network.start_from(probe)
    plain = activations.rows(ImageViews(files), FEATURES)
    by_head = np.asarray(network.suffix(None)([plain], training=False))
    np.testing.assert_allclose(by_head, probe.logits(plain), rtol=1e-3, atol=1e-3)
    assert (probe.logits(plain).argmax(axis=1) == y).mean() > 0.9


def test_an_ensemble_is_the_mean_of_networks_that_differ_above_a_boundary(built, tmp_path):
    rng, x = np.random.default_rng(0), random_pixels()
    loaded = built.base.get_weights()
    for boundary in (built.boundaries[0], built.boundaries[-1], None):
        network = Network(built, built.taps, 3, Head(hidden=(5,)), 0)
        network.standardise_by(np.ones(len(network.columns)), np.full(len(network.columns), 2.0))
        trained = [built.layers_above(boundary) if boundary else frozenset()]
        variables, members, each = network.changing(trained), [], []
        for scale in (0, 0.1, 0.2):
            assign(variables, [w + rng.normal(0, scale, w.shape) for w in copies(variables)])
            members.append(copies(variables))
            each.append(np.asarray(network.whole(x)))
        shares = 0.2, 0.3, 0.5
        network.average_with(members[:-1], shares, variables, boundary)
        place = tmp_path / f"{boundary and boundary.name}.keras"
        network.classifier.save(place)
        model = keras.models.load_model(place, compile=False)
        assert all(abs(p - q).max() > 0.01 for p, q in pairwise(each))
        mean = np.average(each, axis=0, weights=shares)
        np.testing.assert_allclose(np.asarray(model(x)), mean, atol=1e-5)
        np.testing.assert_array_equal(np.asarray(network.whole(x)), each[-1])
        network.divide_logits(2.0)
        halves = [np.sqrt(p) / np.sqrt(p).sum(axis=1, keepdims=True) for p in each]
        divided = np.asarray(network.classifier(x))
        mean = np.average(halves, axis=0, weights=shares)
        np.testing.assert_allclose(divided, mean, atol=1e-5)
        built.base.set_weights(loaded)


FREEZING = [  # unfreeze, the first trained layer, the boundary that feeds the stage
    ("none", None, None),
    (1, "block3_conv", "block3_conv"),
    (2, "block2_conv", "block2_conv"),
    ("all", "block1_conv", "pixels"),
    (3, "block1_conv", "pixels"),
    ("block2_conv", "block2_conv", "block2_conv"),
    ("block2_pool", "block3_conv", "block3_conv"),
    ("block3_pool", None, "block3_conv"),
]


def test_a_stage_freezes_what_lies_below(built, network):
    for unfreeze, first_trained, boundary in FREEZING:
        (found,) = plan_stages((Stage(unfreeze=unfreeze),), built)
        for _ in range(2):  # doing it twice changes nothing
            network.freeze(found.trainable)
            trained = [layer.name for layer in built.base.layers if layer.trainable_weights]
            assert (trained or [None])[0] == first_trained, unfreeze
            assert not any("bn" in name for name in trained)
        assert (found.boundary.name if found.boundary else None) == boundary, unfreeze
    for unfreeze in (4, "block9"):
        with pytest.raises(BackboneError, match=r"toy"):
            plan_stages((Stage(unfreeze=unfreeze),), built)


def test_a_later_stage_is_never_fed_above_trained_layers(built):
    plans = plan_stages(tuple(Stage(unfreeze=u) for u in (2, 1, "all", "none")), built)
    names = [p.boundary.name for p in plans]
    assert names == ["block2_conv", "block2_conv", "pixels", "pixels"]
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


def test_statistics_of_random_weights_begin_with_those_of_a_batch(
    built, network, kept, monkeypatch
):
    found = []
    norm = built.base.get_layer("block3_bn")

    def record(state):  # after the only epoch, and after the stage
        found.append(copies([norm.moving_mean, norm.moving_variance]))

    def interrupt(*args):
        raise KeyboardInterrupt

    stage = Stage(unfreeze=1, epochs=1, learning_rate=1e-30)
    training = training_of(kept, network, (stage,), record)
    with monkeypatch.context() as patch:  # Ctrl-C in the middle of it
        patch.setattr(Feed, "epoch", interrupt)
        assert run(training).stopped and norm.momentum == 0.99
    run(training)
    activations, files = kept
    below = activations.rows(ImageViews.of(files, 2)[1::2], "block3_conv").astype("float32")
    maps = np.asarray(built.base.get_layer("block3_conv")(below))
    mean, variance = maps.mean(axis=(0, 1, 2)), maps.var(axis=(0, 1, 2))
    np.testing.assert_allclose(found[0][0], mean, atol=np.sqrt(variance.max()))
    np.testing.assert_allclose(found[0][1], variance, rtol=0.9)
    assert norm.momentum == 0.99


def test_what_is_kept_below_a_boundary_stays_right_whatever_is_trained_above(built, kept):
    activations, files = kept
    items = ImageViews(files[:5])
    before = activations.rows(items, "block3_conv")
    changed_by(built, kept, unfreeze=1, batch_norm="train")
    pixels = activations.rows(items, "pixels")
    again = activations.compute(pixels, ["block3_conv"])["block3_conv"]
    np.testing.assert_allclose(again.astype("float32"), before.astype("float32"), rtol=2e-3)


def test_a_stage_that_makes_things_worse_is_rolled_back(network, kept):
    before = network.whole.get_weights()
    stage = Stage(unfreeze="all", epochs=2, learning_rate=5.0, optimizer="sgd")
    perfect = ValidationScore({n: float(m.higher_is_better) for n, m in MONITORS.items()})
    state = run(training_of(kept, network, (stage,)), perfect)
    assert state.results[0].score.accuracy < 1
    for old, new in zip(before, network.whole.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def score_of(network, kept):
    """Score a network as it is on all files."""
    activations, files = kept
    feed = Feed(activations, None, network.columns_below(None), files, 1, 0)
    (inputs, _), *_ = feed.plain(len(files))
    logits = np.asarray(network.suffix(None)(inputs, training=False))
    return ValidationScore.of(classes_of(files), logits)


@pytest.mark.parametrize("monitor", MONITORS)
def test_a_stage_that_helps_is_kept_with_its_best_epoch(network, kept, monitor):
    stage = Stage(unfreeze="none", epochs=6, learning_rate=3e-3, monitor=monitor)
    state = run(training_of(kept, network, (stage,)))
    (result,) = state.results
    assert state.best == result.score and not state.stopped and result.epochs == 6
    rows = result.history[-2:]
    best = max(ValidationScore({name: r[name] for name in MONITORS}).rank(monitor) for r in rows)
    found = score_of(network, kept)
    assert found.accuracy == result.score.accuracy == state.best.accuracy
    assert found.figures == pytest.approx(result.score.figures)
    assert found.rank(monitor) >= best


def test_ctrl_c_ends_a_stage_and_keeps_the_best(network, kept):
    seen = []

    def interrupt(state):
        seen.append(state)
        if len(seen) == 3:
            raise KeyboardInterrupt

    stages = (Stage(unfreeze="none", epochs=9), Stage(unfreeze=1))
    state = run(training_of(kept, network, stages, interrupt))
    assert state.stopped and len(state.results) == 1 and state.best == state.results[0].score
    assert [s.stopped for s in seen] == [False] * 3 + [True]
    assert score_of(network, kept) == state.best


def test_ctrl_c_between_the_epochs_keeps_the_best_too(network, kept, monkeypatch):
    calls = []

    def impatient(before, after, part):
        calls.append(part)
        if len(calls) > 1:
            raise KeyboardInterrupt
        return after

    monkeypatch.setattr(stage_fit, "between", impatient)
    stages = (Stage(unfreeze="none", epochs=4), Stage(unfreeze=1, epochs=2))
    state = run(training_of(kept, network, stages))
    assert state.stopped and len(state.results) == 1 and state.best == state.results[0].score
    assert score_of(network, kept) == state.results[0].score


def test_ctrl_c_while_a_state_is_saved_leaves_the_best(built, kept):
    stages = (Stage(unfreeze="none", epochs=2), Stage(unfreeze=1, epochs=2))
    for number in range(1, 5):
        left = iter(range(number - 1))

        def interrupt(state, left=left):  # after an epoch, after the stage, and again
            if next(left, None) is None:
                raise KeyboardInterrupt

        training = training_of(kept, Network(built, built.taps, 3, Head(), 0), stages, interrupt)
        state = run(training, WORST)
        assert state.stopped
        (best,) = [m.weights for m in state.members if m.number == state.best_number]
        for one, other in zip(training.variables, best, strict=True):
            np.testing.assert_array_equal(one.numpy(), other)


def test_a_stage_that_ends_early_offers_what_it_reached(built, kept, monkeypatch):
    parts, real = [], stage_fit.between
    monkeypatch.setattr(stage_fit, "between", lambda *a: parts.append(a[2]) or real(*a))
    stages = (Stage(unfreeze="none", epochs=4), Stage(unfreeze="none", epochs=4))
    averages = list(stage_fit.AVERAGES)
    for budget, epochs, wanted in ((1e-9, [1], [1.0, *averages]), (None, [4, 4], averages * 2)):
        network = Network(built, built.taps, 3, Head(), 0)
        state = run(training_of(kept, network, stages, time_budget=budget))
        assert [result.epochs for result in state.results] == epochs and not state.stopped
        assert parts == wanted
        parts.clear()


def test_logits_that_are_not_finite_have_the_worst_score():
    assert ValidationScore.of(np.array([0, 1]), np.array([[np.nan, 1.0], [0.0, 1.0]])) == WORST


def test_batches_of_an_epoch_have_one_size(kept):
    activations, files = kept
    feed = Feed(activations, None, np.arange(4), files, 2, 0)
    expected = {8: [7] * 5, 12: [12] * 3, 99: [36], 35: [18, 18], 1: [1] * 36}
    for batch, sizes in expected.items():
        batches = [rows for _, rows in feed.epoch(0, batch)]
        assert [len(rows) for rows in batches] == sizes and feed.steps(batch) == len(sizes)
        assert len(set(np.concatenate(batches).tolist())) == sum(sizes)


def views_of(feed, epoch, batch):
    """Return what an epoch shows of each image, by its number."""
    batches = feed.epoch(epoch, batch)
    return {int(row): x for inputs, rows in batches for row, x in zip(rows, inputs[0], strict=True)}


def test_an_epoch_shows_each_image_once_and_takes_turns_with_views(built, kept):
    activations, files = kept
    feed = Feed(activations, None, np.arange(4), files, 2, 0)
    epochs = [np.concatenate([rows for _, rows in feed.epoch(e, 9)]) for e in range(2)]
    assert all(sorted(rows) == list(range(len(files))) for rows in epochs)
    assert not np.array_equal(*epochs)
    first, second, third = (views_of(feed, epoch, 9) for epoch in range(3))
    for i in range(len(files)):
        assert np.array_equal(first[i], third[i]) and not np.array_equal(first[i], second[i])


def test_fresh_views_differ_every_epoch_and_come_again(built, kept):
    activations, files = kept
    feed = Feed(activations, built.boundaries[1], np.arange(0), files[:4], 0, 0)
    again, first, second = (views_of(feed, epoch, 4) for epoch in (0, 0, 1))
    for i in first:
        assert np.array_equal(again[i], first[i]) and not np.array_equal(first[i], second[i])


def test_the_loop_fits_one_screen():
    source = inspect.getsource(loop.run_stages)
    body = source[source.index('"""', source.index('"""') + 3) :]
    assert len(body.splitlines()) <= 25
    for word in (".freeze(", "compile_for(", "fit.run(", ".record(state)"):
        assert word in body


class Recorder(keras.callbacks.Callback):
    """Notes what Keras would call; stops a stage after three epochs."""

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
        self.model.stop_training = epoch in (2, 5)

    def on_train_end(self, logs=None):
        self.calls.append("end")


def test_all_stages_are_one_fit_to_keras_callbacks(network, kept):
    recorder, csv = Recorder(), keras.callbacks.LambdaCallback(on_epoch_end=lambda e, logs: None)
    stages = (Stage(unfreeze="none", epochs=9), Stage(unfreeze=1, epochs=9))
    state = run(training_of(kept, network, stages, callbacks=[recorder, csv]))
    assert [result.epochs for result in state.results] == [3, 3]
    both = ["accuracy", "loss"]
    checked = sorted([*both, *MONITORS, "learning_rate"])
    epochs = [call for e in range(6) for call in ((0, both), (1, both), (e, checked))]
    assert recorder.calls == ["begin", *epochs, "end"]


def test_products_in_bfloat16_leave_the_saved_model_as_it_is(built, network, kept, tmp_path):
    before = network.suffix(built.boundaries[2])
    seen = []

    class Policies(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            seen.append(built.base.get_layer("block3_conv").compute_dtype)

    kept[0].choice = Choice("openvino", "bfloat16")
    stages, callbacks = (Stage(unfreeze=1, epochs=2),), [Policies()]
    run(training_of(kept, network, stages, callbacks=callbacks))
    assert seen == ["bfloat16"]
    assert {layer.compute_dtype for layer in built.base.layers} == {"float32"}
    assert all(weight.dtype == "float32" for weight in before.weights)
    network.whole.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras", compile=False)
    x = random_pixels()
    np.testing.assert_array_equal(np.asarray(again(x)), np.asarray(network.whole(x)))
    assert again.output.dtype == "float32"


def test_a_plateau_lowers_the_rate(network, kept):
    stage = Stage(unfreeze="none", epochs=6, learning_rate=1e-30, schedule="plateau", patience=4)
    state = run(training_of(kept, network, (stage,)))
    rates = [row["learning_rate"] for row in state.history]
    # Lowered after half the patience; with all of it gone, the stage ends.
    np.testing.assert_allclose(rates, [1e-30] * 3 + [1e-31] * 2, rtol=1e-5)


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
