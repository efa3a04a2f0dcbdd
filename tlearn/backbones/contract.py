"""The facts about a backbone, as frozen data. A plugin states them; the core acts on them."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

from tlearn.backbones.weight_sources import Weights
from tlearn.errors import BackboneError, nearest

Triple = tuple[float, float, float]


@dataclass(frozen=True)
class Preprocess:
    """How RGB pixels from 0 to 255 become what the backbone was trained on.

    Each channel is mapped to ``(pixel * scale + offset - mean) / std``; ``mean`` and ``std`` are
    given in the order of ``channel_order``. The three conventions of ``keras.applications`` are
    the constants ``TF`` (-1 to 1), ``CAFFE`` (BGR, ImageNet mean subtracted) and ``TORCH``.

    Attributes:
        channel_order: The order in which the backbone wants red, green and blue.
        scale: Factor on the pixel value.
        offset: Added after scaling.
        mean: Subtracted after that, per channel.
        std: Divided by last, per channel.
    """

    channel_order: Literal["rgb", "bgr"] = "rgb"
    scale: float = 1.0
    offset: float = 0.0
    mean: Triple = (0.0, 0.0, 0.0)
    std: Triple = (1.0, 1.0, 1.0)

    NONE: ClassVar["Preprocess"]
    TF: ClassVar["Preprocess"]
    CAFFE: ClassVar["Preprocess"]
    TORCH: ClassVar["Preprocess"]

    def factors(self) -> tuple[list[float], list[float]]:
        """Return ``(factors, summands)`` per channel: the whole is ``x * factor + summand``."""
        factor = [self.scale / s for s in self.std]
        summand = [(self.offset - m) / s for m, s in zip(self.mean, self.std, strict=True)]
        return factor, summand


Preprocess.NONE = Preprocess()
Preprocess.TF = Preprocess(scale=1 / 127.5, offset=-1.0)
Preprocess.CAFFE = Preprocess(channel_order="bgr", mean=(103.939, 116.779, 123.68))
Preprocess.TORCH = Preprocess(scale=1 / 255, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))


@dataclass(frozen=True)
class Boundary:
    """A place in a backbone that exactly one tensor crosses: the input or output of a layer."""

    layer: str
    position: Literal["before", "after"]


@dataclass(frozen=True)
class Blocks:
    """The boundaries of a backbone, from the pixels upwards.

    ``n`` boundaries make ``n + 1`` blocks: block 0 lies below the first boundary.
    """

    boundaries: tuple[Boundary, ...]

    @classmethod
    def before(cls, *layers: str) -> "Blocks":
        """Boundaries at the inputs of these layers."""
        return cls(tuple(Boundary(name, "before") for name in layers))

    @classmethod
    def after(cls, *layers: str) -> "Blocks":
        """Boundaries at the outputs of these layers."""
        return cls(tuple(Boundary(name, "after") for name in layers))


@dataclass(frozen=True)
class Workload:
    """What a backbone takes at its default size: costs are estimated of it before it is built.

    Attributes:
        multiply_adds: Of its convolutions and dense layers, for one image.
        finetuned: Those of the layers above ``finetune_from``.
        parameters: All of them.
        features: How many numbers the head sees of all taps, by average and maximum.
        activation: How many numbers cross the boundary ``finetune_from``.
    """

    multiply_adds: float
    finetuned: float
    parameters: int
    features: int
    activation: int


@dataclass(frozen=True)
class Backbone:
    """A pretrained convolutional base without its top.

    Attributes:
        name: What ``--backbone`` calls it: lower case, digits and underscores.
        summary: One line for people.
        reference: The paper.
        build: ``build(input_shape, weights)`` returns a topless ``keras.Model``. Its output, and
            what crosses each boundary, is one map ``(n, height, width, channels)`` or one sequence
            of tokens ``(n, tokens, channels)``. ``input_shape`` is ``(size, size, 3)``;
            ``weights`` is ``None`` for random ones, the name of one of ``weights``, or a path to
            a weights file. Import Keras inside it, so that listing backbones stays quick.
        default_size: Side of the square input in pixels, unless the user says otherwise.
        min_size: The smallest side that works.
        channels: Channels of the output.
        preprocess: What happens to pixels first.
        blocks: Its boundaries.
        weights: Trained weights on offer; the first is the default.
        taps: Names of boundary layers whose pooled features the head may see beside the top;
            empty for the five highest boundaries.
        finetune_from: Name of the boundary layer from which fine-tuning usually pays; empty for
            the top third of the blocks.
        feature_layers: Layers whose maps show what the backbone looks at.
        size_multiple: Sides must be a multiple of this, as of the side of a patch.
        leading_tokens: Where it gives tokens: how many stand before those of the patches. The
            first of them, the class token, is a feature beside the patches' average; without any,
            average and maximum are, as for maps.
        modules: Modules that define layers which are not Keras's own; they are imported before a
            saved model with such layers is loaded.
        preprocess_reference: A function that ``preprocess`` must equal, as ``module:function``,
            for instance ``keras.applications.vgg19:preprocess_input``; the checks compare them.
        workload: What it takes; the page estimates no times without it. The checks compare it with
            the network.

    Raises:
        ValueError: If the facts contradict each other.
    """

    name: str
    summary: str
    reference: str
    build: Callable[[tuple[int, int, int], str | None], Any] = field(repr=False)
    default_size: int
    min_size: int
    channels: int
    preprocess: Preprocess
    blocks: Blocks
    weights: tuple[Weights, ...] = ()
    taps: tuple[str, ...] = ()
    finetune_from: str = ""
    feature_layers: tuple[str, ...] = ()
    size_multiple: int = 1
    leading_tokens: int = 0
    modules: tuple[str, ...] = ()
    preprocess_reference: str = ""
    workload: Workload | None = None

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z0-9_]+", self.name):
            raise ValueError(
                f"A backbone's name has lower case letters, digits and underscores only. "
                f"Received: {self.name!r}"
            )
        if not 0 < self.min_size <= self.default_size:
            raise ValueError(
                f"{self.name}: 0 < min_size <= default_size must hold. "
                f"Received: min_size={self.min_size}, default_size={self.default_size}"
            )
        if self.size_multiple < 1 or self.min_size % self.size_multiple:
            raise ValueError(
                f"{self.name}: min_size must be a multiple of size_multiple, which is at least 1. "
                f"Received: min_size={self.min_size}, size_multiple={self.size_multiple}"
            )
        if self.default_size % self.size_multiple or self.leading_tokens < 0:
            raise ValueError(
                f"{self.name}: default_size must be a multiple of size_multiple, and "
                f"leading_tokens not negative. Received: default_size={self.default_size}, "
                f"size_multiple={self.size_multiple}, leading_tokens={self.leading_tokens}"
            )
        layers = [boundary.layer for boundary in self.blocks.boundaries]
        if not layers or len(set(layers)) < len(layers) or {"pixels", "features"} & set(layers):
            raise ValueError(
                f"{self.name}: boundaries must be one or more distinct layers, none of them called "
                f"'pixels' or 'features'. Received: {', '.join(layers) or 'none'}"
            )
        named = (*self.taps, *((self.finetune_from,) if self.finetune_from else ()))
        unknown = [name for name in named if name not in layers]
        if unknown:
            raise ValueError(
                f"{self.name}: taps and finetune_from name boundary layers ({', '.join(layers)}). "
                f"Received: {', '.join(unknown)}"
            )

    def checked_size(self, size: int | None) -> int:
        """Return the side in pixels to build for: ``size``, or the default where it is ``None``.

        Raises:
            BackboneError: If the backbone cannot be built for it.
        """
        size, multiple = size or self.default_size, self.size_multiple
        if size < self.min_size:
            raise BackboneError(
                f"{self.name} needs images of {self.min_size} pixels or more. "
                f"Received: size {size}",
                "size",
            )
        if size % multiple:
            below = size - size % multiple
            raise BackboneError(
                f"{self.name} needs images with a side that is a multiple of {multiple} pixels. "
                f"Received: size {size}; give {below} or {below + multiple}",
                "size",
            )
        return size

    def checked_weights(self, weights: str | None) -> str:
        """Return ``none``, the name of weights on offer, or the path of a file.

        Args:
            weights: What was asked for; ``None`` for the first on offer. A run's directory stands
                for its ``model.keras``.

        Raises:
            BackboneError: If there is neither.
        """
        offered = [w.name for w in self.weights]
        if weights is None:
            return offered[0] if offered else "none"
        if weights in ("none", *offered):
            return weights
        path = Path(weights).expanduser()
        path = path / "model.keras" if path.is_dir() else path
        if not path.is_file():
            raise BackboneError(
                f"{self.name} offers no weights {weights!r}{nearest(weights, offered)} and there "
                f"is no such file; give {', '.join([*offered, 'none'])}, a weights file or a run",
                "weights",
            )
        return str(path)

    @property
    def tap_layers(self) -> tuple[str, ...]:
        """The boundary layers tapped beside the top, in order from the pixels upwards."""
        layers = tuple(boundary.layer for boundary in self.blocks.boundaries)
        return tuple(name for name in layers if name in self.taps) if self.taps else layers[-5:]
