"""The Keras callbacks that steer a stage, and what callbacks remember in a checkpoint."""

import contextlib
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np

from tlearn.config import ModelCheckpoints, Stage
from tlearn.errors import ConfigError, one_line
from tlearn.keras_import import keras
from tlearn.metrics import MONITORS
from tlearn.python_files import object_of
from tlearn.schedules import SCHEDULES
from tlearn.text import epochs_text

PLATEAU_FACTOR = 0.1  # of Keras
STEERING = (keras.callbacks.EarlyStopping, keras.callbacks.ReduceLROnPlateau)
Memory = dict[str, Any]  # of one callback: what JSON can hold, and arrays


class TerminateOnNaN(keras.callbacks.Callback):  # type: ignore[misc]
    """Keras's, but its reason goes where progress is shown."""

    def __init__(self, say: Callable[[str], None]) -> None:
        super().__init__()
        self._say = say

    def on_train_batch_end(self, batch: int, logs: Mapping[str, float] | None = None) -> None:
        """End the stage if the loss of a batch is not finite."""
        if not math.isfinite((logs or {}).get("loss", 0.0)):
            self._say(f"the loss is not finite in batch {batch + 1}: ending the stage here")
            self.model.stop_training = True


class EarlyStopping(keras.callbacks.EarlyStopping):  # type: ignore[misc]
    """Keras's early stopping, which may end a stage from an epoch on alone.

    Epochs before it count too, though their weights are never taken for the best: the settled part
    of a stage, a quarter of a cosine, is rarely longer than the patience.
    """

    def __init__(self, earliest: int, say: Callable[[str], None], **options: Any) -> None:
        super().__init__(**options)
        self.earliest, self._say = earliest, say

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        """Count an epoch; epochs are numbered from 0."""
        stopped = self.model.stop_training  # by another
        super().on_epoch_end(epoch, logs)
        if epoch + 1 < self.earliest:
            self.model.stop_training = stopped
        elif self.model.stop_training and not stopped and epoch + 1 < self.params["epochs"]:
            self._say(f"no improvement in {epochs_text(self.wait)}: ending the stage here")


class EpochSaver(keras.callbacks.ModelCheckpoint):  # type: ignore[misc]
    """Keras's checkpoint of the model, of every so many epochs, of which the last few stay.

    Args:
        folder: Where they go.
        options: How many, and what of them.
    """

    def __init__(self, folder: Path, options: ModelCheckpoints) -> None:
        self._folder, self._options = folder, options
        name = "epoch-{epoch:04d}" + (".weights.h5" if options.weights_only else ".keras")
        super().__init__(folder / name, save_weights_only=options.weights_only)

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        """Save the model if its turn has come, and delete the oldest."""
        if (epoch + 1) % self._options.every:
            return
        self._folder.mkdir(exist_ok=True)
        super().on_epoch_end(epoch, logs)
        for path in sorted(self._folder.glob("epoch-*"))[: -self._options.keep]:
            path.unlink()


def callbacks_of(path: Path) -> list[Any]:
    """Return the callbacks of a Python file: its ``callbacks``, a list or a function.

    Raises:
        ConfigError: If it cannot be run, or has none.
    """
    try:
        given = object_of(path, "callbacks")
        callbacks = given() if callable(given) else given
        return [callbacks] if isinstance(callbacks, keras.callbacks.Callback) else list(callbacks)
    except (Exception, SystemExit) as error:
        raise ConfigError(
            f"the callbacks of {str(path)!r} cannot be used ({type(error).__name__}: "
            f"{one_line(error)}); its 'callbacks' must be a list of Keras callbacks, or a function "
            f"that returns one",
            "callbacks",
        ) from error


def steering(stage: Stage, say: Callable[[str], None]) -> list[Any]:
    """Return the callbacks that end a stage early and lower its rate.

    Args:
        stage: The stage.
        say: Is given a line about what goes wrong.

    Raises:
        ValueError: If Keras refuses an argument.
        TypeError: Likewise.
    """
    mode = "max" if MONITORS[stage.monitor].higher_is_better else "min"
    stopping = EarlyStopping(
        earliest_end(stage),
        say,
        monitor=stage.monitor,
        mode=mode,
        min_delta=stage.min_delta,
        patience=stage.patience,
        start_from_epoch=stage.start_from_epoch,
    )
    callbacks = [TerminateOnNaN(say), stopping]
    if stage.schedule.name == "plateau":
        options = {
            "monitor": stage.monitor,
            "mode": mode,
            "factor": PLATEAU_FACTOR,
            "patience": max(1, stage.patience // 2),
            "verbose": 0,
        }
        options |= stage.schedule.arguments
        callbacks.append(keras.callbacks.ReduceLROnPlateau(**options))
    return callbacks


def earliest_end(stage: Stage) -> int:
    """Return the first epoch, from 1, after which early stopping may end a stage.

    Not in its first half, where validation falls before it rises, nor before it is settled.
    """
    settling = (n for n in range(1, stage.epochs + 1) if is_settled(stage, n))
    return max(stage.epochs // 2 + 1, next(settling))


def is_settled(stage: Stage, epochs: int) -> bool:
    """Return whether the learning rate is so low that the score after ``epochs`` can be trusted."""
    return epochs > SCHEDULES[stage.schedule.name].settled_from * stage.epochs


class Fit:
    """Callbacks in one fit, and what they have come to remember in it.

    Attributes:
        model: What they see: the whole model, from pixels to probabilities, whose layers are those
            that are trained.

    Args:
        callbacks: The callbacks.
        memory: What :meth:`memory` returned before the fit was broken off.
        say: Is given a line about each callback that remembers what a checkpoint does not hold.
    """

    def __init__(
        self,
        callbacks: Sequence[Any],
        model: Any,
        memory: Sequence[Memory] = (),
        say: Callable[[str], None] | None = None,
    ) -> None:
        self.model, self._say = model, say
        self.list = keras.callbacks.CallbackList(list(callbacks), model=model)
        self._memory = memory
        self._before: list[dict[str, Any]] | None = None  # attributes when the fit began

    def start(self) -> None:
        """Begin or continue the fit, or another stage of it.

        In each stage, Keras's callbacks that steer it count anew.
        """
        every = self.list.callbacks
        if self._before is not None:
            for callback in every:
                if isinstance(callback, STEERING):
                    callback.on_train_begin()
            return
        for callback in every:
            if self._memory and isinstance(callback, keras.callbacks.CSVLogger):
                callback.append = True  # what it wrote is kept
        self.list.on_train_begin()
        self._before = [_attributes(callback) for callback in every]
        for callback in every if self._say else ():
            self._warn(callback)
        for callback, memory in zip(every, self._memory, strict=False):
            if memory["class"] == type(callback).__name__:
                vars(callback).update(memory["attributes"])

    def _warn(self, callback: Any) -> None:
        """Say what a callback of others remembers that a checkpoint does not hold."""
        if type(callback).__module__.partition(".")[0] in ("keras", "tlearn"):
            return
        plain = {*_attributes(callback), *vars(keras.callbacks.Callback())}
        hidden = [k for k, v in vars(callback).items() if k not in plain and not callable(v)]
        if hidden and self._say:
            self._say(
                f"the callback {type(callback).__name__} has {', '.join(hidden)}, which a "
                f"checkpoint does not hold: a resumed training begins without"
            )

    def end(self) -> None:
        """End the fit, if it began."""
        if self._before is not None:
            self.list.on_train_end()

    def memory(self) -> list[Memory]:
        """Return the attributes of each callback that changed since the fit began."""
        return [
            {
                "class": type(callback).__name__,
                "attributes": {
                    name: value
                    for name, value in _attributes(callback).items()
                    if name not in before or not _is_same(before[name], value)
                },
            }
            for callback, before in zip(self.list.callbacks, self._before or (), strict=True)
        ]


class StageCallbacks:
    """The callbacks of a stage, to which it is a fit, and those to which all stages are one fit.

    Args:
        every: Callbacks of the whole training.
        own: Callbacks of the stage.
        past: Epochs of the stages before it.
        epochs: Epochs of the stage, at most.
        steps: Batches per epoch.
        past_steps: Batches of the stages before it.
    """

    def __init__(
        self, every: Fit, own: Fit, past: int, epochs: int, steps: int, past_steps: int = 0
    ) -> None:
        self.every, self.own, self._past_steps = every, own, past_steps
        self._fits = ((every, past), (own, 0))
        for fit, before in self._fits:
            fit.list.set_params({"epochs": before + epochs, "steps": steps, "verbose": 0})

    @property
    def stopped(self) -> bool:
        """Whether a callback has stopped the stage."""
        return bool(self.own.model.stop_training)

    def start(self) -> None:
        """Begin or continue the stage."""
        for fit, _ in self._fits:
            fit.start()

    def epoch(self, hook: str, number: int, logs: Mapping[str, float] | None = None) -> None:
        """Call a hook of an epoch, numbered from 0 in the stage."""
        for fit, past in self._fits:
            getattr(fit.list, hook)(past + number, logs)

    def __call__(self, hook: str, *arguments: Any) -> None:
        """Call any other hook."""
        with self._steps_of_all_stages() if hook == "on_test_end" else contextlib.nullcontext():
            getattr(self.every.list, hook)(*arguments)
        getattr(self.own.list, hook)(*arguments)

    @contextlib.contextmanager
    def _steps_of_all_stages(self) -> Iterator[None]:
        """Have the optimizer, which is new in each stage, count the steps of all: TensorBoard's."""
        if not any(isinstance(c, keras.callbacks.TensorBoard) for c in self.every.list.callbacks):
            yield
            return
        iterations = self.every.model.optimizer.variables[0]
        steps = int(iterations)
        iterations.assign(steps + self._past_steps)
        try:
            yield
        finally:
            iterations.assign(steps)

    def memory(self) -> dict[str, list[Memory]]:
        """Return what all of them remember."""
        return {"training": self.every.memory(), "stage": self.own.memory()}


def _attributes(callback: Any) -> dict[str, Any]:
    """Return the attributes of a callback that JSON can hold, and arrays and lists of arrays."""
    attributes = {}
    for name, value in vars(callback).items():
        arrays = value if isinstance(value, list) else [value]
        if arrays and all(isinstance(array, np.ndarray) for array in arrays):
            attributes[name] = deepcopy(value)
            continue
        try:
            attributes[name] = json.loads(json.dumps(value, default=_number))
        except (TypeError, ValueError):
            continue
    return attributes


def _is_same(one: Any, other: Any) -> bool:
    """Return whether two attributes are equal."""
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_is_same, one, other))
    if isinstance(one, np.ndarray) or isinstance(other, np.ndarray):
        return np.array_equal(one, other)
    return bool(one == other)


def _number(value: Any) -> Any:
    """Return a NumPy number as one of Python."""
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError
