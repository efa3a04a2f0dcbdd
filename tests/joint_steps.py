"""Some training steps on a toy network; run as a program, by each worker or over split devices.

python joint_steps.py OUT.npz [DEVICES]
"""

import contextlib
import json
import sys

import numpy as np

from tlearn.errors import RunError

SIZE = 7  # of batches: of two and of three workers, some have fewer images than others


def network(kind):
    """Return a network with what could go wrong: penalty, normalisation that learns, clipping."""
    from tlearn.keras_import import keras

    keras.utils.set_random_seed(1)
    x = inputs = keras.Input((6, 6, 3))
    x = keras.layers.Conv2D(4, 3, use_bias=False)(x)
    x = keras.layers.BatchNormalization(momentum=0.8)(x)
    x = keras.layers.Flatten()(keras.layers.ReLU()(x))
    x = keras.layers.Dense(3, kernel_regularizer=keras.regularizers.L2(0.01))(x)
    model = kind([inputs], x)
    model.compile(
        keras.optimizers.Adam(0.01, global_clipnorm=0.5, gradient_accumulation_steps=2),
        keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.1),
        metrics=[keras.metrics.CategoricalAccuracy("accuracy")],
    )
    model.optimizer.build(model.trainable_variables)
    return model


def steps(model, own=lambda n: slice(None)):
    """Train on four batches, of which ``own`` gives a worker's part; return logs and variables."""
    rng, logs = np.random.default_rng(0), []
    for _ in range(4):
        x = rng.normal(size=(SIZE, 6, 6, 3)).astype("float32")
        y = np.eye(3, dtype="float32")[rng.integers(0, 3, SIZE)]
        weights = rng.uniform(0.5, 2, SIZE).astype("float32")
        part = own(SIZE)
        batch = [x[part]], y[part], weights[part]
        logs.append(model.train_on_batch(*batch, return_dict=True))
    from tlearn.keras_import import keras

    values = [np.array(keras.ops.convert_to_numpy(v)) for v in model.variables]
    return [[log["loss"], log["accuracy"]] for log in logs], values


def main(out, devices="1"):
    from tlearn.keras_import import tensorflow

    config = tensorflow.config
    parts = [config.LogicalDeviceConfiguration()] * int(devices)
    config.set_logical_device_configuration(config.list_physical_devices("CPU")[0], parts)
    from tlearn.training.replicas import Replicas
    from tlearn.training.split_step import split_step
    from tlearn.training.workers import Workers

    replicas = Replicas.of(Workers.from_environment())
    logs, values = steps(network(split_step(replicas)), replicas.own)
    rows = np.arange(10, dtype="float32").reshape(5, 2)
    assert np.array_equal(replicas.rows(rows[replicas.own(5)], 5), rows)
    number = replicas.workers.index if replicas.workers else 0
    assert replicas.sent_by(0, f"from {number}".encode()) == b"from 0"
    assert replicas.any(number == 0) and not replicas.any(False)
    replicas.check_same(photos="the same", weights="too")
    if replicas.workers:
        with contextlib.suppress(RunError):
            replicas.check_same(photos="the same", weights=f"of {number}")
            raise AssertionError
    np.savez(out, *values, logs=logs)
    print(json.dumps({"replicas": replicas.number}))


if __name__ == "__main__":
    main(*sys.argv[1:])
