"""An optimizer in a stage does what it does under plain Keras."""

import keras
import numpy as np
import pytest
from test_training import built, classes_of, kept, run, shared_cache, training_of  # noqa: F401

from tlearn.config import Head, Stage
from tlearn.keras_objects import OPTIMIZERS
from tlearn.training import stage_fit
from tlearn.training.feed import Feed
from tlearn.training.network import Network, copies

RATE, EPOCHS = 0.01, 2


def network_of(built):  # noqa: F811
    return Network(built, built.taps, 3, Head(dropout=0.0), 0)


def trained(built, kept, monkeypatch, **options):  # noqa: F811
    """Train from block 2 upwards; return the weights at the end and those of the best network."""
    monkeypatch.setattr(stage_fit, "AVERAGES", ())
    monkeypatch.setattr(stage_fit, "is_settled", lambda stage, epoch: epoch == EPOCHS)
    fixed = {"unfreeze": "block2_conv", "epochs": EPOCHS, "schedule": "constant"}
    stage = Stage(**fixed, batch_norm="frozen", **options)
    seen = []
    state = run(training_of(kept, network_of(built), (stage,), seen.append))
    (member,) = state.members
    return seen[EPOCHS - 1].arrays["network"], member.weights


def by_keras(built, kept, optimizer):  # noqa: F811
    """Do the same in plain Keras; return the weights at the end and with averages swapped in."""
    activations, files = kept
    network, (place,) = network_of(built), [b for b in built.boundaries if b.name == "block2_conv"]
    trainable = built.layers_to_train("block2_conv")
    network.freeze(trainable)
    model, variables = network.suffix(place), network.changing([trainable])
    model.compile(optimizer, keras.losses.CategoricalCrossentropy(from_logits=True))
    feed = Feed(activations, place, network.columns_below(place), files, 2, 0)
    one_hot = np.eye(3, dtype="float32")[classes_of(files)]
    for epoch in range(EPOCHS):
        for inputs, rows in feed.epoch(epoch, 32):
            model.train_on_batch(inputs, one_hot[rows])
    end = copies(variables)
    optimizer.finalize_variable_values(model.trainable_variables)
    return end, copies(variables)


@pytest.mark.parametrize(
    "given",
    [
        *({"name": name} for name in OPTIMIZERS),
        {"name": "sgd", "momentum": 0.9, "nesterov": True, "clipnorm": 0.01},
        {"name": "adamw", "weight_decay": 0.1},
        {"name": "rmsprop", "use_ema": True, "ema_momentum": 0.5},
        {"name": "adam", "gradient_accumulation_steps": 2},
    ],
    ids=lambda given: " ".join(given.values() if len(given) == 1 else given),
)
def test_a_stage_is_what_plain_keras_does(built, kept, monkeypatch, given):  # noqa: F811
    initial = copies(network_of(built).changing([built.layers_to_train("block2_conv")]))
    whole = built.base.get_weights()
    found = trained(built, kept, monkeypatch, optimizer=given, learning_rate=RATE)
    built.base.set_weights(whole)
    arguments = {key: value for key, value in given.items() if key != "name"}
    optimizer = getattr(keras.optimizers, OPTIMIZERS[given["name"]])(RATE, **arguments)
    expected = by_keras(built, kept, optimizer)
    for ours, plain in zip(found, expected, strict=True):
        for one, other in zip(ours, plain, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)
    moved = [np.abs(one - other).max() for one, other in zip(found[0], initial, strict=True)]
    assert max(moved) > 1e-5


def test_each_block_moves_by_its_own_rate(built, kept, monkeypatch):  # noqa: F811
    loaded, network = built.base.get_weights(), network_of(built)
    variables = network.changing([built.layers_to_train("all")])
    initial, moved = copies(variables), {}
    stage = {"unfreeze": "all", "epochs": 1, "batch_size": 99}
    stage |= {"schedule": "constant", "batch_norm": "frozen"}
    for factor in (1.0, 0.25):
        seen = []
        one = Stage(**stage, optimizer="sgd", learning_rate=RATE, block_rate=factor)
        run(training_of(kept, network_of(built), (one,), seen.append))
        moved[factor] = [w - old for w, old in zip(seen[0].arrays["network"], initial, strict=True)]
        built.base.set_weights(loaded)
    for variable, whole, part in zip(variables, moved[1.0], moved[0.25], strict=True):
        block = {"block1": 0.25**2, "block2": 0.25, "block3": 1.0}.get(variable.path[:6], 1.0)
        np.testing.assert_allclose(part, whole * block, rtol=1e-2, atol=1e-8)
    names = [v.path for v, whole in zip(variables, moved[1.0], strict=True) if np.any(whole)]
    assert {name[:6] for name in names} == {"block1", "block2", "block3", "logits"}
