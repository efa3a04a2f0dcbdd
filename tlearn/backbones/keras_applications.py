"""Backbones that Keras itself offers, described in a few lines."""

import importlib
import sys
from collections.abc import Mapping
from typing import Any

from tlearn.backbones.contract import Backbone
from tlearn.backbones.weight_sources import Weights

PAGE = "keras.io/api/applications"
HOST = "storage.googleapis.com"  # of all weights of keras.applications


def keras_application(
    function: str,
    *,
    name: str = "",
    licence: str = "Apache-2.0",
    file: str = "",
    arguments: Mapping[str, Any] | None = None,
    accuracy: float | None = None,
    accuracy_source: str = PAGE,
    **facts: Any,
) -> Backbone:
    """Describe a network of ``keras.applications`` with its ImageNet weights.

    Args:
        function: Module and function below ``keras.applications``, ``"vgg19:VGG19"`` for instance.
        name: Of the backbone; the module's if not given.
        licence: Of the weights.
        file: Name of the weights' file, where Keras keeps it; it may have wildcards.
        arguments: What else the function is called with.
        accuracy: Of the weights: see :class:`Weights`, as for its source.
        accuracy_source: The page of Keras if not given.
        **facts: All other fields of :class:`Backbone` but ``build``, ``weights`` and
            ``preprocess_reference``.
    """
    module, _, family = function.partition(":")
    home = f"keras.applications.{module}"

    def build(input_shape: tuple[int, int, int], weights: str | None) -> Any:
        network = getattr(importlib.import_module(home), family)
        options = arguments or {}
        return network(include_top=False, input_shape=input_shape, weights=weights, **options)

    # The plugin's, as of a namedtuple: the checks ask what its import loads.
    build.__module__ = sys._getframe(1).f_globals.get("__name__", "__main__")
    return Backbone(
        name=name or module,
        build=build,
        preprocess_reference=f"{home}:preprocess_input",
        weights=(
            Weights(
                "imagenet",
                "keras.applications",
                licence,
                "ImageNet-1k",
                file=file,
                host=HOST,
                accuracy=accuracy,
                accuracy_source=accuracy_source,
            ),
        ),
        **facts,
    )
