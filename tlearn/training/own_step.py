"""A training step of somebody's own: a subclass of ``keras.Model`` for what a stage trains."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from tlearn.config import RunConfig
from tlearn.errors import ConfigError, TlearnError, one_line
from tlearn.keras_import import keras
from tlearn.python_files import object_of, split_reference
from tlearn.training.failures import is_out_of_memory

LOGS = ("loss", "accuracy")  # that a step must return: history.csv has them


def model_class_of(run: Path, config: RunConfig, given: Any = None) -> Any:
    """Return the class of model that the stages of a run train: ``keras.Model``, or one's own.

    Args:
        run: The run directory.
        config: Its configuration.
        given: What ``train_step`` was in Python, if it was not a file.

    Raises:
        ConfigError: If it is no training step, or the run began with another.
    """
    file, name = split_reference(config.train_step)
    if given is not None and (file or not name):
        began = f"with that of {file!r}" if file else "without one"
        raise ConfigError(f"train_step: the run {str(run)!r} began {began}; leave it out")
    if not name:
        return keras.Model
    if file:
        try:
            given = object_of(Path(file), name)
        except (Exception, SystemExit) as error:
            raise ConfigError(
                f"the training step of {file!r} cannot be used ({type(error).__name__}: "
                f"{one_line(error)}); give --train-step FILE.py:NAME, a subclass of keras.Model",
                "train_step",
            ) from error
    elif given is None:
        raise ConfigError(
            f"the training step {name} was given in Python, so the run {str(run)!r} holds no copy "
            f"of it; give it again, as in tlearn.resume({str(run)!r}, train_step={name})",
            "train_step",
        )
    return with_step(given)


def with_step(step: Any) -> Any:
    """Return a class of model that trains with a step.

    Its ``data`` is as under ``fit``: inputs, one-hot labels, and weights only where classes count
    differently. A single input is a tensor, several are a list.

    Args:
        step: A subclass of ``keras.Model`` with a ``train_step``, or that method alone.

    Raises:
        ConfigError: If it is neither.
    """
    if callable(step) and not isinstance(step, type):
        step = type(step.__name__, (keras.Model,), {"train_step": step})
    own = isinstance(step, type) and issubclass(step, keras.Model)
    if not own or step.train_step is keras.Model.train_step:
        raise ConfigError(
            f"train_step takes a subclass of keras.Model that has a train_step, or a function "
            f"train_step(model, data). Received: {step!r}",
            "train_step",
        )

    class OwnStep(step):  # type: ignore[misc]
        def __init__(self, *arguments: Any, **options: Any) -> None:
            with _errors_of(step.__name__):
                super().__init__(*arguments, **options)

        def compile(self, *arguments: Any, **options: Any) -> None:
            with _errors_of(step.__name__):
                super().compile(*arguments, **options)

        def train_step(self, data: Any) -> Any:
            inputs, targets, weights = data
            inputs = inputs[0] if len(inputs) == 1 else inputs
            return super().train_step((inputs, targets, *([] if weights is None else [weights])))

        def train_on_batch(self, x: Any, y: Any, weights: Any = None, **options: Any) -> Any:
            weights = None if weights is None or np.all(weights == 1) else weights
            with _errors_of(step.__name__):
                logs = super().train_on_batch(x, y, weights, **options)
                if missing := [name for name in LOGS if name not in logs]:
                    raise KeyError(f"it returns no {' and no '.join(missing)}")
            return logs

    OwnStep.__name__ = step.__name__  # in error messages
    return OwnStep


@contextlib.contextmanager
def _errors_of(name: str) -> Iterator[None]:
    """Say in one line how a training step of somebody's own fails."""
    try:
        yield
    except Exception as error:
        if isinstance(error, TlearnError) or is_out_of_memory(error):
            raise
        raise ConfigError(
            f"the training step {name} failed ({type(error).__name__}: {one_line(error)}); it is "
            f"made as keras.Model(inputs, outputs), and train_step(self, data) returns the result "
            f"of each of self.metrics by its name; correct it, in train_step.py of a run that is "
            f"to be continued",
            "train_step",
        ) from error
