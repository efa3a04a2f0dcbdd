"""Plugin-based transfer learning for image folders.

    import tlearn

    run = tlearn.finetune("photos", backbone="mobilenet_v2")
    run.metrics["validation"]["accuracy"]
    run.predict(["new.jpg"])

Names are loaded when they are first used: importing tlearn imports neither TensorFlow nor Keras.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tlearn.backbones import (
        Backbone,
        Blocks,
        Boundary,
        Exporter,
        Preprocess,
        Preset,
        ReportSection,
        Weights,
        hookimpl,
    )
    from tlearn.config import RunConfig, Stage
    from tlearn.data.images import load_image
    from tlearn.errors import (
        BackboneError,
        CacheError,
        ConfigError,
        DataError,
        PluginError,
        RunError,
        TlearnError,
    )
    from tlearn.features.image_features import extract_features
    from tlearn.runs.exports import export, report
    from tlearn.runs.predictions import Prediction
    from tlearn.runs.run import Evaluation, Run
    from tlearn.training.backbone_comparison import compare
    from tlearn.training.pipeline import demo, finetune, resume
    from tlearn.training.ranking import Comparison

__version__ = "0.1.0"

_HOMES = {
    "tlearn.backbones": (
        "Backbone",
        "Blocks",
        "Boundary",
        "Exporter",
        "Preprocess",
        "ReportSection",
        "Preset",
        "Weights",
        "hookimpl",
    ),
    "tlearn.config": ("RunConfig", "Stage"),
    "tlearn.data.images": ("load_image",),
    "tlearn.errors": (
        "BackboneError",
        "CacheError",
        "ConfigError",
        "DataError",
        "PluginError",
        "RunError",
        "TlearnError",
    ),
    "tlearn.features.image_features": ("extract_features",),
    "tlearn.runs.exports": ("export", "report"),
    "tlearn.training.backbone_comparison": ("compare",),
    "tlearn.training.pipeline": ("demo", "finetune", "resume"),
    "tlearn.training.ranking": ("Comparison",),
    "tlearn.runs.predictions": ("Prediction",),
    "tlearn.runs.run": ("Evaluation", "Run"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "Backbone",
    "BackboneError",
    "Blocks",
    "Boundary",
    "CacheError",
    "Comparison",
    "ConfigError",
    "DataError",
    "Evaluation",
    "Exporter",
    "PluginError",
    "Prediction",
    "Preprocess",
    "Preset",
    "ReportSection",
    "Run",
    "RunConfig",
    "RunError",
    "Stage",
    "TlearnError",
    "Weights",
    "__version__",
    "compare",
    "demo",
    "export",
    "extract_features",
    "finetune",
    "hookimpl",
    "load_image",
    "report",
    "resume",
]


def __getattr__(name: str) -> Any:
    if name in _HOME_OF:
        return getattr(importlib.import_module(_HOME_OF[name]), name)
    raise AttributeError(f"module 'tlearn' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
