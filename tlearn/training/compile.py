"""Compiles the suffix of a stage: Keras makes its optimizer, its schedule and its loss."""

import contextlib
import inspect
from collections.abc import Iterator, Mapping
from typing import Any

from tlearn.config import Stage
from tlearn.errors import ConfigError, nearest, one_line
from tlearn.keras_import import keras
from tlearn.keras_objects import LOSSES, OPTIMIZERS, KerasObject
from tlearn.schedules import SCHEDULES, Span
from tlearn.training.callbacks import steering

OURS = {"learning_rate", "initial_learning_rate", "loss_scale_factor", "name", "kwargs"}
OURS |= {"from_logits", "axis", "reduction", "dtype"}


def compile_for(
    model: Any, stage: Stage, steps: int, factors: Mapping[str, float] | None = None
) -> None:
    """Compile a suffix with the optimizer and the schedule of a stage of ``steps`` per epoch.

    Args:
        model: The suffix.
        stage: The stage.
        steps: Batches per epoch.
        factors: By the path of a variable, the factor of its learning rate; 1 where it is missing.

    Raises:
        ConfigError: If Keras does not take the arguments of the optimizer or the schedule.
    """
    model.compile(
        optimizer_for(stage, steps, factors or {}),
        loss_for(stage),
        metrics=[keras.metrics.CategoricalAccuracy("accuracy")],  # unweighted, as on validation
    )
    # Variables that were made in the first step would have it traced twice.
    model.optimizer.build(model.trainable_variables)


def check_arguments(stage: Stage) -> None:
    """Refuse arguments that Keras's optimizer or schedule does not take, before anything is read.

    Raises:
        ConfigError: If there are any.
    """
    if stage.schedule.name == "plateau":
        _class_of("schedule", stage.schedule, keras.callbacks, "ReduceLROnPlateau")
        with _errors_of("schedule", stage.schedule):
            steering(stage, print)
    with _errors_of("loss", stage.loss):
        loss_for(stage)(keras.ops.ones((1, 2)), keras.ops.ones((1, 2)))
    variable = keras.Variable([1.0])
    optimizer = optimizer_for(stage, 2, {})
    with _errors_of("optimizer", stage.optimizer):
        optimizer.build([variable])
        for _ in range(2):
            optimizer.apply([keras.ops.ones(1)], [variable])


def optimizer_for(stage: Stage, steps: int, factors: Mapping[str, float]) -> Any:
    """Return the optimizer of a stage; arguments and errors as of :func:`compile_for`."""
    chosen = stage.optimizer
    kind = _class_of("optimizer", chosen, keras.optimizers, OPTIMIZERS[chosen.name])
    # The rate goes by the steps that change weights.
    accumulated = chosen.arguments.get("gradient_accumulation_steps")
    rate = rate_for(stage, -(-steps // accumulated) if isinstance(accumulated, int) else steps)
    with _errors_of("optimizer", chosen):
        return _with_factors(kind, factors)(learning_rate=rate, **chosen.arguments)


def loss_for(stage: Stage) -> Any:
    """Return the loss of a stage, which is given logits.

    Raises:
        ConfigError: If Keras does not take its arguments.
    """
    kind = _class_of("loss", stage.loss, keras.losses, LOSSES[stage.loss.name])
    options = {"from_logits": True, "label_smoothing": stage.label_smoothing}
    with _errors_of("loss", stage.loss):
        return kind(**(options | stage.loss.arguments))


def rate_for(stage: Stage, steps: int) -> Any:
    """Return the learning rate of a stage for Keras: a schedule, or a number.

    Raises:
        ConfigError: If Keras does not take the arguments.
    """
    chosen, schedule = stage.schedule, SCHEDULES[stage.schedule.name]
    if not schedule.keras:
        return stage.learning_rate
    total = stage.epochs * steps
    span = Span(stage.learning_rate, round(stage.warmup * total), steps, total)
    with _errors_of("schedule", chosen):
        given = schedule.reads(chosen.arguments, span)
        kind = _class_of("schedule", chosen, keras.optimizers.schedules, schedule.keras, given)
        rate = kind(**(schedule.arguments(span) | given))
        rate(0)  # Keras looks at the values when they are needed
        return rate


def _class_of(
    key: str, chosen: KerasObject, module: Any, name: str, given: Mapping[str, Any] | None = None
) -> Any:
    """Return a class of Keras, after a check of the names of its arguments."""
    kind = getattr(module, name, None)
    if kind is None:
        raise ConfigError(f"Keras {keras.__version__} has no {key} {name}; update it", key)
    known = [name for name in inspect.signature(kind).parameters if name not in OURS]
    for argument in chosen.arguments if given is None else given:
        if argument not in known:
            raise ConfigError(
                f"the {key} {chosen.name} takes no {argument!r}{nearest(argument, known)}; it "
                f"takes {', '.join(known)}",
                f"stages.{key}",
            )
    return kind


@contextlib.contextmanager
def _errors_of(key: str, chosen: KerasObject) -> Iterator[None]:
    """Say in one line what Keras does not take."""
    try:
        yield
    except ConfigError:
        raise
    except Exception as error:  # noqa: BLE001 (Keras raises what it pleases)
        given = ", ".join(f"{name}={value!r}" for name, value in chosen.arguments.items())
        raise ConfigError(
            f"Keras refuses the {key} {chosen.name} with {given or 'its defaults'}: "
            f"{one_line(error)}",
            f"stages.{key}",
        ) from None


def _with_factors(kind: Any, factors: Mapping[str, float]) -> Any:
    """Return an optimizer's class that moves variables at their own part of the learning rate."""
    if not factors:
        return kind

    class Scaled(kind):  # type: ignore[misc]
        def build(self, variables: Any) -> None:
            super().build(variables)
            self._factors = [factors.get(variable.path, 1.0) for variable in variables]

        def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
            factor = self._factors[self._get_variable_index(variable)]
            super().update_step(gradient, variable, learning_rate * factor)

    return Scaled
