"""A network from random weights is trained as plain Keras trains it, normalisation included."""

import keras
import numpy as np
from test_training import built, classes_of, kept, run, shared_cache, training_of  # noqa: F401

from tlearn.config import Head, Stage
from tlearn.training.feed import Feed
from tlearn.training.network import Network, copies

EPOCHS, RATE, BATCH = 2, 0.01, 8


def by_keras(base, logits, kept):  # noqa: F811
    """Train a copy of a network as a tutorial does; return its model."""
    activations, files = kept
    layers = keras.layers
    inputs = keras.Input((32, 32, 3))
    x = keras.models.clone_model(base)(layers.Rescaling(1 / 127.5, offset=-1)(inputs))
    pooled = [layers.GlobalAveragePooling2D()(x), layers.GlobalMaxPooling2D()(x)]
    outputs = layers.Dense(3)(layers.Concatenate()(pooled))
    model = keras.Model(inputs, outputs)
    model.set_weights([*base.get_weights(), *logits.get_weights()])
    model.compile("adam", keras.losses.CategoricalCrossentropy(from_logits=True))
    model.optimizer.learning_rate = RATE
    feed = Feed(activations, activations.built.boundaries[0], np.arange(0), files, 2, 0)
    one_hot = np.eye(3, dtype="float32")[classes_of(files)]
    for epoch in range(EPOCHS):
        for (pixels,), rows in feed.epoch(epoch, BATCH):
            model.train_on_batch(pixels, one_hot[rows])
    return model


def test_training_from_scratch_is_what_plain_keras_does(built, kept):  # noqa: F811
    network = Network(built, built.taps[-1:], 3, Head(dropout=0.0), 0)
    expected = by_keras(built.base, network.logits, kept)
    options = {"learning_rate": RATE, "schedule": "constant", "batch_size": BATCH}
    stage, seen = Stage(unfreeze="all", epochs=EPOCHS, **options), []
    training = training_of(kept, network, (stage,), seen.append)
    assert training.setup.stages[0].batch_norm  # because the weights are random
    before = copies(built.base.weights)
    run(training)
    variables = network.changing([built.layers_to_train("all")])
    found = dict(zip((v.path for v in variables), seen[EPOCHS - 1].arrays["network"], strict=True))
    ours = [found[v.path] for v in [*built.base.weights, *network.logits.weights]]
    names = [v.path for v in [*built.base.weights, *network.logits.weights]]
    for name, one, other in zip(names, ours, expected.get_weights(), strict=True):
        if "moving" in name:  # they begin with the statistics of a batch, not with 0 and 1
            continue
        # A step of Adam divides what is nearly nothing by itself.
        np.testing.assert_allclose(one, other, rtol=0.02, atol=5e-4, err_msg=name)
    moved = {n: np.abs(a - b).max() for n, a, b in zip(names, ours, before, strict=False)}
    assert all(value > 1e-3 for value in moved.values()), moved
