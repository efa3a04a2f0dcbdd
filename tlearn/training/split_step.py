"""A training step in which every replica computes the gradients of a part of the batch."""

import contextlib
from collections.abc import Iterator
from typing import Any

from tlearn.errors import ConfigError
from tlearn.keras_import import keras, tensorflow
from tlearn.training.replicas import Replicas


def split_step(replicas: Replicas, kind: Any = keras.Model) -> Any:
    """Return a class of model that trains with all replicas.

    Each of them computes the gradients of the summed losses of its images. These are added up, and
    so are the numbers of images; the optimizer is given their quotient. That is what one device
    computes for the whole batch, however it is split, so the optimizer clips, accumulates and
    averages as ever. ``data`` are inputs, targets ``(n, classes)`` and weights ``(n,)`` of the
    images of this worker, in batches of one size: another is traced again, which all workers would
    have to do together.

    Args:
        replicas: The replicas.
        kind: The class of model that was asked for.

    Raises:
        ConfigError: If that has a training step of somebody's own.
    """
    if kind is not keras.Model:
        raise ConfigError(
            f"train_step: {kind.__name__} trains on one device, and there are {replicas.number}; "
            f"leave it out, or train with one worker and one device",
            "train_step",
        )
    strategy = replicas.strategy

    class SplitStep(keras.Model):  # type: ignore[misc]
        def compile(self, *arguments: Any, **options: Any) -> None:
            # XLA, which Keras chooses on a GPU, compiles for one device.
            super().compile(*arguments, **options, jit_compile=False)

        def train_step(self, data: Any) -> dict[str, Any]:
            with _same_statistics(self):
                sums = strategy.run(self._sums, args=(_split(strategy, data),))
            *gradients, loss, right, n = [_local(strategy, value)[0] for value in sums]
            means = iter([gradient / n for gradient in gradients])
            variables = self.trainable_variables
            self.optimizer.apply([next(means) if has else None for has in self._has], variables)
            return {"loss": loss / n, "accuracy": right / n}

        def _sums(self, data: Any) -> list[Any]:
            """Return sums over all replicas: gradients, losses, images that are right, images."""
            inputs, targets, weights = data
            n = tensorflow.cast(tensorflow.shape(targets)[0], tensorflow.float32)
            with tensorflow.GradientTape() as tape:
                logits = self(inputs, training=True)
                mean = self.compute_loss(inputs, targets, logits, weights)
                loss = mean * n * replicas.number  # Keras divides by the number of replicas
            gradients = tape.gradient(loss, self.trainable_variables)
            self._has = [gradient is not None for gradient in gradients]
            right = tensorflow.reduce_sum(keras.metrics.categorical_accuracy(targets, logits))
            values = [*(g for g in gradients if g is not None), loss, right, n]
            context = tensorflow.distribute.get_replica_context()
            return list(context.all_reduce(tensorflow.distribute.ReduceOp.SUM, values))

    return SplitStep


def _local(strategy: Any, value: Any) -> Any:
    """Return a value of each replica of this worker."""
    return strategy.experimental_local_results(value)


def _split(strategy: Any, data: Any) -> Any:
    """Return arrays ``(n, ...)`` split between the replicas of this worker."""
    count = len(strategy.extended.worker_devices)
    if count == 1:
        return data

    def split(x: Any) -> Any:
        n = tensorflow.shape(x)[0]
        ends = [n * k // count for k in range(count + 1)]
        parts = iter([x[ends[k] : ends[k + 1]] for k in range(count)])
        return strategy.experimental_distribute_values_from_function(lambda context: next(parts))

    return tensorflow.nest.map_structure(split, data)


@contextlib.contextmanager
def _same_statistics(model: Any) -> Iterator[None]:
    """Have batch normalisations that are trained see the whole batch, while a step is traced.

    Replicas of one machine share a moving average, which each would move: they set it to the
    statistics of the batch, and it is moved afterwards.
    """
    norms = [
        layer
        for layer in model._flatten_layers()
        if isinstance(layer, keras.layers.BatchNormalization) and layer.trainable
    ]
    before = [(norm.momentum, norm.synchronized) for norm in norms]
    averages = [[norm.moving_mean, norm.moving_variance] for norm in norms]
    values = [[tensorflow.identity(v) for v in pair] for pair in averages]
    for norm in norms:
        norm.momentum, norm.synchronized = 0.0, True
    try:
        yield
    finally:
        for norm, attributes in zip(norms, before, strict=True):
            norm.momentum, norm.synchronized = attributes
    for norm, pair, old in zip(norms, averages, values, strict=True):
        for variable, value in zip(pair, old, strict=True):
            variable.assign(norm.momentum * value + (1 - norm.momentum) * variable)
