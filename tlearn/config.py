"""The configuration of a training: what can be asked for, and which values are allowed."""

import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo, field_validator

UNITS = {
    "seconds": {"s": 1, "m": 60, "h": 3600},
    "bytes": {"K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12},
}


def _amount(value: Any, kind: str) -> Any:
    """Read ``90s``, ``5m``, ``1h30m`` or ``500M``, ``10G``; a plain number stays what it is."""
    if not isinstance(value, str):
        return value
    units = UNITS[kind]
    parts = re.findall(r"([0-9.]+)\s*([a-zA-Z]?)", value.strip().removesuffix("B"))
    known = {**units, **{unit.swapcase(): factor for unit, factor in units.items()}, "": 1}
    written = "".join(number + unit for number, unit in parts)
    if not parts or written != re.sub(r"\s|B$", "", value) or {u for _, u in parts} - known.keys():
        example = "90s, 5m or 1h30m" if kind == "seconds" else "500M, 10G or 1T"
        raise ValueError(f"must be a number of {kind} such as {example}")
    return sum(float(number) * known[unit] for number, unit in parts)


Positive = Annotated[int, Field(gt=0)]
Seconds = Annotated[float, BeforeValidator(lambda value: _amount(value, "seconds")), Field(gt=0)]
Bytes = Annotated[float, BeforeValidator(lambda value: _amount(value, "bytes")), Field(ge=0)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth_for_a_number(cls, value: Any, info: ValidationInfo) -> Any:
        """YAML reads ``no`` and ``on`` as truth values, and pydantic takes those for 0 and 1."""
        field = cls.model_fields[str(info.field_name)]
        if isinstance(value, bool) and field.annotation is not bool:
            raise ValueError("must not be yes or no; put a word in quotes")
        return value


class Stage(_Section):
    """One freeze, recompile, fit.

    Attributes:
        unfreeze: What is trained beside the head: a number of blocks from the top, ``none``,
            ``all``, or the name of the layer from which upwards everything is trained.
        epochs: At most so many.
        learning_rate: The peak rate.
        optimizer: Its name.
        momentum: For ``sgd`` and ``rmsprop``.
        weight_decay: Decoupled weight decay.
        schedule: ``cosine`` falls to zero over all epochs after the warm-up.
        warmup: The part of all steps in which the rate rises from zero, for ``cosine``.
        batch_size: Images per step.
        patience: Stop after so many epochs without improvement; never in the first half, and with
            ``cosine`` only in the last quarter.
        label_smoothing: 0 for none.
        name: What it is called in figures and files; made from ``unfreeze`` if not given.
    """

    unfreeze: int | str = Field(union_mode="left_to_right")
    epochs: Positive = 10
    learning_rate: float = Field(5e-4, gt=0)
    optimizer: Literal["adam", "adamw", "sgd", "rmsprop"] = "adam"
    momentum: float = Field(0.0, ge=0, lt=1)
    weight_decay: float = Field(0.0, ge=0)
    schedule: Literal["cosine", "constant"] = "cosine"
    warmup: float = Field(0.1, ge=0, lt=1)
    batch_size: Positive = 32
    patience: Positive = 5
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    name: str = ""

    @field_validator("unfreeze", mode="before")
    @classmethod
    def _none_is_a_word(cls, value: Any) -> Any:
        """YAML reads ``none`` as a word but ``null`` and ``~`` as None; all mean no block."""
        return "none" if value is None else value

    @field_validator("unfreeze")
    @classmethod
    def _not_negative(cls, value: int | str) -> int | str:
        if isinstance(value, int) and value < 0:
            raise ValueError("must be 0 or more blocks, 'all', 'none' or a layer name")
        return value

    @property
    def title(self) -> str:
        """The stage's name for people and files."""
        if self.name:
            return self.name
        if self.unfreeze in (0, "none"):
            return "head"
        if self.unfreeze == "all":
            return "all blocks"
        if isinstance(self.unfreeze, int):
            return f"top {self.unfreeze} block{'s' if self.unfreeze > 1 else ''}"
        return f"from {self.unfreeze}"


class Head(_Section):
    """What stands on the backbone.

    Attributes:
        taps: ``multi`` pools features at several depths, ``top`` the last one alone, ``auto``
            takes what cross-validation of the probe prefers.
        dropout: Part of the features dropped in training.
        hidden: Widths of dense layers below the logits. With any, the head starts at random
            instead of from the probe.
    """

    taps: Literal["auto", "multi", "top"] = "auto"
    dropout: float = Field(0.2, ge=0, lt=1)
    hidden: tuple[Positive, ...] = ()


class Augmentation(_Section):
    """How views differ from the plain one.

    Attributes:
        flip: Mirror half of the views left to right.
        crop: The smallest part of the plain view's area that a view shows, 1 for all of it.
        colour: The largest change of brightness, contrast and saturation, as a fraction.
        rotate: The largest turn to either side, in degrees.
    """

    flip: bool = True
    crop: float = Field(0.8, gt=0, le=1)
    colour: float = Field(0.1, ge=0, lt=1)
    rotate: float = Field(0.0, ge=0, le=45)


class RunConfig(_Section):
    """Everything that decides what a training does.

    Attributes:
        backbone: Name of an installed backbone.
        weights: Name of weights the backbone offers, ``none`` for random ones, or a file; the
            backbone's first if not given.
        size: Side of the square input in pixels; the backbone's default if not given.
        resize: ``squash`` shows all and changes the aspect, ``crop`` takes the central square,
            ``pad`` shows all within bars.
        views: Renderings kept per training image, the plain one included, or ``fresh`` for new
            augmentation every epoch.
        seed: Decides splits, random weights, order and dropout.
        val: Fraction of the images for validation, unless a folder is given for it.
        test: Fraction kept for the very end, unless a folder is given for it.
        group: Regular expression on paths below the class folder; files with the same match stay
            on one side.
        strict: Unreadable images are an error.
        preset: ``quick`` trains the head alone, ``balanced`` fine-tunes once, ``best`` longer;
            plugins may offer more.
        class_weights: ``auto`` balances where the largest class has over twice the smallest.
        head: What stands on the backbone.
        augment: How views differ.
        stages: The stages after the probe; the preset's if not given.
        engine: What computes the frozen part; ``auto`` is OpenVINO on a CPU, TensorFlow on a GPU.
        precision: What products are computed in; ``auto`` is bfloat16 where the machine has it.
        time_budget: Seconds, or text such as ``5m``: views and epochs are fitted into it.
        disk_budget: Bytes, or text such as ``10G``, that the activation cache may take; a fifth of
            what is free if not given.
    """

    backbone: str = "mobilenet_v2"
    weights: str | None = None
    size: Positive | None = None
    resize: Literal["crop", "squash", "pad"] = "squash"
    views: Positive | Literal["fresh"] | None = None
    seed: int = Field(0, ge=0, lt=2**31)
    val: float = Field(0.2, gt=0, lt=1)
    test: float = Field(0.0, ge=0, lt=1)
    group: str = ""
    strict: bool = False
    preset: str = "balanced"
    class_weights: Literal["auto", "none", "balanced"] = "auto"
    head: Head = Head()
    augment: Augmentation = Augmentation()
    stages: tuple[Stage, ...] | None = None
    engine: Literal["auto", "tensorflow", "openvino"] = "auto"
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    time_budget: Seconds | None = None
    disk_budget: Bytes | None = None
