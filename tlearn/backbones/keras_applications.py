"""Backbones that Keras itself offers, described in a few lines."""

import functools
import importlib
from collections.abc import Mapping
from typing import Any

from tlearn.backbones.contract import Backbone, Blocks, Preprocess, Weights


def keras_application(
    function: str,
    *,
    name: str = "",
    licence: str = "Apache-2.0",
    file: str = "",
    arguments: Mapping[str, Any] | None = None,
    summary: str,
    reference: str,
    default_size: int,
    min_size: int,
    channels: int,
    preprocess: Preprocess,
    blocks: Blocks,
    **facts: Any,
) -> Backbone:
    """Describe a network of ``keras.applications`` with its ImageNet weights.

    Args:
        function: Module and function below ``keras.applications``, ``"vgg19:VGG19"`` for instance.
        name: Of the backbone; the module's if not given.
        licence: Of the weights.
        file: Name of the weights' file, where Keras keeps it; it may have wildcards.
        arguments: What else the function is called with.
        summary: As for :class:`Backbone`, and so all that follow.
        reference: The paper.
        default_size: Side of the input in pixels.
        min_size: The smallest side that works.
        channels: Channels of the output.
        preprocess: What happens to pixels first; the checks compare it with Keras's own.
        blocks: Where it can be cut.
        **facts: Other fields of :class:`Backbone`.
    """
    module, _, family = function.partition(":")
    return Backbone(
        name=name or module,
        build=functools.partial(_build, f"keras.applications.{module}", family, arguments or {}),
        preprocess_reference=f"keras.applications.{module}:preprocess_input",
        weights=(Weights("imagenet", "keras.applications", licence, "ImageNet-1k", file=file),),
        summary=summary,
        reference=reference,
        default_size=default_size,
        min_size=min_size,
        channels=channels,
        preprocess=preprocess,
        blocks=blocks,
        **facts,
    )


def _build(
    module: str,
    family: str,
    arguments: Mapping[str, Any],
    input_shape: tuple[int, int, int],
    weights: str | None,
) -> Any:
    function = getattr(importlib.import_module(module), family)
    return function(include_top=False, input_shape=input_shape, weights=weights, **arguments)
