"""Optimizers, losses and schedules of Keras in a configuration: a name, and its own arguments."""

from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, WithJsonSchema, model_serializer, model_validator

from tlearn.schedules import SCHEDULES

# Names, and classes in ``keras.optimizers``.
OPTIMIZERS = {
    "adam": "Adam",
    "adamw": "AdamW",
    "sgd": "SGD",
    "rmsprop": "RMSprop",
    "nadam": "Nadam",
    "adamax": "Adamax",
    "adagrad": "Adagrad",
    "adadelta": "Adadelta",
    "adafactor": "Adafactor",
    "ftrl": "Ftrl",
    "lamb": "Lamb",
    "lion": "Lion",
    "muon": "Muon",
}
# The same in ``keras.losses``.
LOSSES = {"crossentropy": "CategoricalCrossentropy", "focal": "CategoricalFocalCrossentropy"}

if TYPE_CHECKING:
    LossName = str
    OptimizerName = str
    ScheduleName = str
else:
    LossName = Literal[tuple(LOSSES)]
    OptimizerName = Literal[tuple(OPTIMIZERS)]
    ScheduleName = Literal[tuple(SCHEDULES)]
Written = WithJsonSchema({"type": "string"})  # for forms: text that is read as YAML


class KerasObject(BaseModel):
    """An object of Keras: its name and its own arguments, ``{name: rmsprop, rho: 0.8}``.

    Without arguments the name alone is written. Keras checks the arguments.
    """

    model_config = ConfigDict(extra="allow", frozen=True, defer_build=True)
    name: str

    @property
    def arguments(self) -> dict[str, Any]:
        """The arguments that were given."""
        return dict(self.model_extra or {})

    @model_validator(mode="before")
    @classmethod
    def _read(cls, value: Any) -> Any:
        if isinstance(value, dict) and "name" not in value:
            raise ValueError("must be a name, or hold a name and arguments as in {name: x, y: 1}")
        return {"name": value} if isinstance(value, str) else value

    @model_serializer
    def _write(self) -> Any:
        return {"name": self.name, **self.arguments} if self.arguments else self.name


class Optimizer(KerasObject):
    """An optimizer of ``keras.optimizers``."""

    name: OptimizerName


class Loss(KerasObject):
    """A loss of ``keras.losses``."""

    name: LossName


class StageSchedule(KerasObject):
    """A schedule of the learning rate."""

    name: ScheduleName
