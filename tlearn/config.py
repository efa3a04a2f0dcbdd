"""The configuration of a training: its keys, defaults and allowed values.

The options of the command line and the form of the page are made from these fields and their
docstrings: see ``tlearn.config_schema``.
"""

import re
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from tlearn.config_text import check_cluster, check_reference, parse_stages, read_amount
from tlearn.keras_objects import Loss, Optimizer, StageSchedule, Written
from tlearn.metrics import METRICS, MONITORS

Resize = Literal["crop", "squash", "pad"]
DEFAULT_RESIZE: Resize = "squash"
EngineName = Literal["tensorflow", "openvino"]
Precision = Literal["float32", "bfloat16"]

Taps = Literal["auto", "multi", "top"]
Pooling = Literal["both", "average", "max", "gem"]
if TYPE_CHECKING:
    MetricName = str
    MonitorName = str
else:
    MetricName = Literal[tuple(METRICS)]
    MonitorName = Literal[tuple(MONITORS)]
ActivationName = Literal["relu", "gelu", "silu", "elu", "selu", "leaky_relu", "tanh", "sigmoid"]
Epochs = Annotated[int, Field(ge=1, le=10_000)]
Width = Annotated[int, Field(ge=1, le=16_384)]
Pixels = Annotated[int, Field(ge=8, le=2048)]
Views = Annotated[int, Field(ge=1, le=1000)]
Seconds = Annotated[
    float,
    BeforeValidator(lambda value: read_amount(value, "seconds")),
    Field(gt=0),
    WithJsonSchema({"type": "string"}),
]
Bytes = Annotated[
    float,
    BeforeValidator(lambda value: read_amount(value, "bytes")),
    Field(ge=0),
    WithJsonSchema({"type": "string"}),
]


class _Section(BaseModel):
    # Built when first used: the command line imports more than it uses.
    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        allow_inf_nan=False,
        use_attribute_docstrings=True,
        defer_build=True,
    )

    @field_validator("*", mode="before")
    @classmethod
    def _no_boolean_for_a_number(cls, value: Any, info: ValidationInfo) -> Any:
        """YAML reads ``no`` and ``on`` as booleans, which pydantic would read as 0 and 1."""
        field = cls.model_fields[str(info.field_name)]
        if isinstance(value, bool) and field.annotation is not bool:
            raise ValueError("is a YAML boolean; quote it if you meant text")
        return value


class Stage(_Section):
    """One freeze, recompile, fit."""

    unfreeze: int | str = Field(union_mode="left_to_right")
    """What is trained beside the head: a number of blocks from the top, `none`, `all`, or the name
    of the layer from which upwards everything is trained."""
    epochs: Epochs = 10
    """The maximum number."""
    learning_rate: float = Field(5e-4, gt=0, le=10)
    """The peak rate; a head that starts from the probe moves a fifth as far."""
    optimizer: Annotated[Optimizer, Written] = Optimizer(name="adam")
    """An optimizer of Keras: its name, or name and arguments as in `{name: sgd, momentum: 0.9,
    clipnorm: 1}`."""
    block_rate: float = Field(1.0, gt=0, le=1)
    """The factor of the learning rate from each block to the block below it, 1 for one rate."""
    schedule: Annotated[StageSchedule, Written] = StageSchedule(name="cosine")
    """How the rate falls: `cosine` to zero after the warm-up, `constant`, `exponential`,
    `inverse_time`, `polynomial`, `piecewise`, or `plateau`; with arguments of Keras as in `{name:
    exponential, decay_rate: 0.8}`."""
    warmup: float = Field(0.1, ge=0, lt=1)
    """Fraction of all steps in which the rate rises from zero, for `cosine`."""
    batch_size: int = Field(32, ge=1, le=4096)
    """Images per step."""
    monitor: MonitorName = "val_accuracy"
    """What decides which weights are best, when to stop early, and what a plateau is; the `metric`
    of the training if not given. The other metrics decide between equals."""
    patience: Epochs = 5
    """Stop after so many epochs without improvement; never in the first half, and with `cosine`
    and `polynomial` only in the last quarter."""
    min_delta: float = Field(0.0, ge=0)
    """The least change of `monitor` that is an improvement."""
    start_from_epoch: int = Field(0, ge=0)
    """Epochs before `patience` begins to count."""
    batch_norm: Literal["auto", "frozen", "train"] = "auto"
    """Whether batch normalisations that are unfrozen learn, statistics included; `auto` trains them
    where the weights are random."""
    loss: Annotated[Loss, Written] = Loss(name="crossentropy")
    """`crossentropy`, or `focal`, which looks at what is hard, as in `{name: focal, gamma: 2}`."""
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    """0 for none."""
    mixup: float = Field(0.0, ge=0, le=10)
    """Mix pairs of images and their labels, by parts drawn from a beta distribution of this
    parameter; 0 for none."""
    cutmix: float = Field(0.0, ge=0, le=10)
    """Replace a rectangle of each image by that of another, and as much of its label; of an area
    drawn likewise; 0 for none."""
    needs_headroom: bool = False
    """Whether it is left out, with those after it, where the probe makes so few errors that
    validation could hardly show an improvement."""
    name: str = ""
    """Its name in figures and files; made from `unfreeze` if not given."""

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
    """The layers on top of the backbone."""

    taps: Taps = "auto"
    """`multi` pools features at several depths, `top` the last one alone, `auto` takes what
    cross-validation of the probe prefers."""
    pooling: Pooling = "both"
    """How a map becomes features: the `average` of each channel, its `max`, `both`, or `gem`, the
    generalised mean with the exponent 3."""
    dropout: float = Field(0.2, ge=0, lt=1)
    """Fraction of the features dropped in training."""
    hidden: tuple[Width, ...] = Field((), max_length=8)
    """Widths of dense layers below the logits. With any, the head starts at random instead of from
    the probe."""
    activation: ActivationName = "relu"
    """Of the hidden layers."""
    batch_norm: bool = False
    """Normalise batches between the hidden layers and their activations."""
    l1: float = Field(0.0, ge=0)
    """The penalty on the sizes of the head's weights."""
    l2: float = Field(0.0, ge=0)
    """The penalty on the squares of the head's weights."""
    module: Annotated[str, AfterValidator(check_reference)] = ""
    """A function that makes logits of the pooled features, as `my_head.py:build`, instead of the
    options above from `dropout` on; the file is copied into the run."""

    @property
    def is_random(self) -> bool:
        """Whether the probe cannot be made such a head."""
        return bool(self.hidden or self.module)

    @model_validator(mode="after")
    def _one_of_both(self) -> "Head":
        fields, free = type(self).model_fields, ("taps", "pooling", "module")
        others = [k for k in fields if k not in free and getattr(self, k) != fields[k].default]
        if self.module and others:
            raise ValueError(f"a head of your own takes no {others[0]}; leave out one of them")
        return self


AUGMENTATIONS: dict[str, dict[str, Any]] = {
    "none": {"flip": False, "crop": 1.0, "colour": 0.0, "rotate": 0.0},
    "light": {"flip": True, "crop": 0.9, "colour": 0.05, "rotate": 0.0},
    "photo": {},  # the defaults
    "strong": {"flip": True, "crop": 0.4, "colour": 0.3, "rotate": 15.0},
}


def _augmentation(value: Any) -> Any:
    """Read the name of a set of values."""
    if not isinstance(value, str):
        return value
    if value not in AUGMENTATIONS:
        raise ValueError(f"must be one of {', '.join(AUGMENTATIONS)}, or hold keys and values")
    return AUGMENTATIONS[value]


class Augmentation(_Section):
    """How views differ from the plain one."""

    flip: bool = True
    """Mirror half of the views left to right."""
    crop: float = Field(0.8, gt=0, le=1)
    """The smallest part of the plain view's area that a view shows, 1 for all of it."""
    colour: float = Field(0.1, ge=0, lt=1)
    """The largest change of brightness, contrast and saturation, as a fraction."""
    rotate: float = Field(0.0, ge=0, le=45)
    """The largest rotation in either direction, in degrees."""


class ModelCheckpoints(_Section):
    """Models that are saved while a training runs, beside the checkpoint that it resumes from."""

    every: int = Field(0, ge=0)
    """Save the model after every so many epochs, into `checkpoints/` of the run; 0 for never."""
    keep: int = Field(3, ge=1)
    """How many of the last ones stay."""
    weights_only: bool = False
    """Save weights alone, as `.weights.h5`."""


class RunConfig(_Section):
    """The configuration of a training."""

    backbone: str = "efficientnet_lite0"
    """Name of an installed backbone; `tlearn backbones` lists them."""
    weights: str | None = None
    """Name of weights the backbone offers, `none` for random ones, a file or a run; the backbone's
    first if not given."""
    from_run: str = ""
    """A finished run to continue, with more photos or other classes: its network goes on, with the
    head's rows of the same classes; its validation photos stay that; other options are as there."""
    skip_mismatch: bool = False
    """With weights of a file: layers that it does not have, or has in other shapes, keep random
    weights and are named, instead of an error."""
    size: Pixels | None = None
    """Side of the square input in pixels; the backbone's default if not given."""
    resize: Resize = DEFAULT_RESIZE
    """How images become square: `squash` shows all and changes the aspect, `crop` takes the central
    square, `pad` shows all within bars."""
    views: Views | Literal["fresh"] | None = None
    """Renderings cached per training image, the plain one included, or `fresh` for new augmentation
    every epoch; the preset's number if not given."""
    seed: int = Field(0, ge=0, lt=2**31)
    """The number that decides splits, random weights, order and dropout."""
    val: float = Field(0.2, gt=0, lt=1)
    """Fraction of the images for validation, unless a folder is given for it."""
    test: float = Field(0.0, ge=0, lt=1)
    """Fraction held out for the very end, unless a folder is given for it."""
    group: str = ""
    """Regular expression on paths below the class folder; files with the same match stay in one
    split."""
    strict: bool = False
    """Make unreadable images an error."""
    preset: str = "auto"
    """How long to train: `quick` the head alone, `balanced` fine-tunes, `best` longer; `auto`
    fine-tunes briefly, and only where the probe leaves something to improve; plugins may offer
    more."""
    metric: MetricName = "accuracy"
    """The metric on validation that decides which network of a stage is best; to
    `balanced_accuracy` and `macro_f1` small classes count as much as large ones."""
    class_weights: Literal["auto", "none", "balanced"] = "auto"
    """How much each class counts: `auto` balances them where the largest has over twice the
    smallest."""
    head: Head = Field(default_factory=Head)
    """The layers on top of the backbone."""
    augment: Annotated[Augmentation, BeforeValidator(_augmentation)] = Field(
        default_factory=Augmentation
    )
    """How views differ: `none`, `light`, `photo`, `strong`, or the keys of this section."""
    stages: Annotated[tuple[Stage, ...] | None, BeforeValidator(parse_stages)] = None
    """The stages after the probe, as in `3:8@1e-4,all@1e-5`: blocks or a layer's name, epochs,
    rate; `none` for no stage; the preset's if not given."""
    tta: Views = 1
    """Test-time augmentation: views of each image whose probabilities are averaged in predictions,
    the plain one, its mirror image, then augmented ones."""
    engine: Literal["auto", EngineName] = "auto"
    """What computes the frozen part and predictions; `auto` is OpenVINO on a CPU, TensorFlow on a
    GPU."""
    precision: Literal["auto", Precision] = "auto"
    """Of convolutions and dense layers; `auto` is bfloat16 where the machine supports it."""
    cluster: Annotated[str, AfterValidator(check_cluster)] = ""
    """Compute the frozen part and predictions on a Ray cluster: `ray` starts one on this machine,
    `ray://HOST:10001`, `HOST:6379` or `ray://auto` is one that runs."""
    workers: int = Field(1, ge=1, le=1000)
    """How many workers of the cluster train the stages together, each on a part of every batch."""
    checkpoint: ModelCheckpoints = Field(default_factory=ModelCheckpoints)
    """Models that are saved while it trains."""
    callbacks: str = ""
    """A Python file whose `callbacks` is a list of Keras callbacks, or a function that returns one;
    it is copied into the run."""
    train_step: Annotated[str, AfterValidator(check_reference)] = ""
    """A subclass of `keras.Model` whose own `train_step` trains the stages, as
    `my_step.py:SamModel`; the file is copied into the run."""
    tensorboard: str = ""
    """A folder for TensorBoard, in which the training gets one of its own."""
    time_budget: Seconds | None = None
    """Seconds, or text such as `5m`: views and epochs are fitted into it."""
    disk_budget: Bytes | None = None
    """Bytes, or text such as `10G`, that the activation cache may take; a fifth of what is free if
    not given."""
    activation_store: str = ""
    """A folder or URL such as `s3://bucket/activations` that machines share: activations are looked
    for there before they are computed, and put there."""

    @field_validator("group")
    @classmethod
    def _is_a_pattern(cls, value: str) -> str:
        try:
            re.compile(value)
        except (re.error, OverflowError, RecursionError) as error:
            raise ValueError(
                rf"is no regular expression ({error}); an example is '(patient\d+)'"
            ) from None
        return value

    @model_validator(mode="after")
    def _something_to_train_on(self) -> "RunConfig":
        if self.val + self.test >= 1:
            raise ValueError(
                f"val and test leave nothing to train on: {self.val:g} + {self.test:g}; their sum "
                f"must be under 1"
            )
        return self
