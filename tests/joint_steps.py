"""Some training steps on a toy network; run as a program, by each worker or over split devices.

python joint_steps.py OUT.npz [DEVICES]        (with {} in OUT for the number of the worker)
"""

import contextlib
import json
import sys

import numpy as np

from tlearn.errors import RunError

PRECISIONS = ("float32", "bfloat16")
SIZE = 7  # of batches: of two and of three workers, some have fewer images than others


def network(kind):
    """Return a network with what could go wrong: penalty, normalisation that learns, clipping."""
    from tlearn.keras_import import keras

    keras.utils.set_random_seed(1)
    x = pixels = keras.Input((6, 6, 3))
    x = keras.layers.Conv2D(4, 3, use_bias=False)(x)
    x = keras.layers.BatchNormalization(momentum=0.8)(x)
    x = keras.layers.Flatten()(keras.layers.ReLU()(x))
    body = keras.Model(pixels, x)  # may be computed in bfloat16, as backbones are
    inputs = keras.Input((6, 6, 3))
    x = body(inputs)
    x = keras.layers.Dense(3, kernel_regularizer=keras.regularizers.L2(0.01))(x)
    model = kind([inputs], x)
    model.compile(
        keras.optimizers.Adam(
            0.01, global_clipnorm=0.5, gradient_accumulation_steps=2, use_ema=True, ema_momentum=0.9
        ),
        keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.1),
        metrics=[keras.metrics.CategoricalAccuracy("accuracy")],
    )
    model.optimizer.build(model.trainable_variables)
    return model


def steps(model, precision="float32", own=lambda n: slice(None)):
    """Train on four batches, of which ``own`` gives a worker's part; return logs and variables.

    Those of the optimizer are among them: momenta, accumulated gradients, averages of weights.
    """
    from tlearn.features.precision import computing_in
    from tlearn.keras_import import keras

    with computing_in(precision, model):
        logs = [train(model, seed, own) for seed in range(4)]
    variables = [*model.variables, *model.optimizer.variables]
    return logs, [np.array(keras.ops.convert_to_numpy(v)) for v in variables]


def train(model, seed, own):
    """Do a step on a random batch; return its loss and accuracy."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(SIZE, 6, 6, 3)).astype("float32")
    y = np.eye(3, dtype="float32")[rng.integers(0, 3, SIZE)]
    weights = rng.uniform(0.5, 2, SIZE).astype("float32")
    part = own(SIZE)
    logs = model.train_on_batch([x[part]], y[part], weights[part], return_dict=True)
    return [logs["loss"], logs["accuracy"]]


def main(out, devices="1"):
    from tlearn.keras_import import tensorflow

    config = tensorflow.config
    parts = [config.LogicalDeviceConfiguration()] * int(devices)
    config.set_logical_device_configuration(config.list_physical_devices("CPU")[0], parts)
    from tlearn.training.replicas import Replicas
    from tlearn.training.split_step import split_step
    from tlearn.training.workers import Workers

    replicas = Replicas.of(Workers.from_environment())
    results = {}
    for precision in PRECISIONS:
        logs, values = steps(network(split_step(replicas)), precision, replicas.own)
        results |= {f"{precision} {number}": value for number, value in enumerate(values)}
        results[f"{precision} logs"] = logs
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
    np.savez(out.format(number), **results)
    print(json.dumps({"replicas": replicas.number}))


if __name__ == "__main__":
    main(*sys.argv[1:])
