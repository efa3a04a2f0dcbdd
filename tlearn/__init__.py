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
    from tlearn.api import compare, demo, export, features, finetune, report, resume
    from tlearn.backbones import (
        Backbone,
        Blocks,
        Boundary,
        Exporter,
        Preprocess,
        ReportSection,
        StagePolicy,
        Weights,
        hookimpl,
    )
    from tlearn.config import RunConfig, Stage
    from tlearn.errors import (
        BackboneError,
        CacheError,
        ConfigError,
        DataError,
        PluginError,
        RunError,
        TlearnError,
    )
    from tlearn.results.comparison import Comparison
    from tlearn.results.run import Evaluation, Prediction, Run

__version__ = "0.1.0"

_HOMES = {
    "tlearn.api": ("compare", "demo", "export", "features", "finetune", "report", "resume"),
    "tlearn.backbones": (
        "Backbone",
        "Blocks",
        "Boundary",
        "Exporter",
        "Preprocess",
        "ReportSection",
        "StagePolicy",
        "Weights",
        "hookimpl",
    ),
    "tlearn.config": ("RunConfig", "Stage"),
    "tlearn.errors": (
        "BackboneError",
        "CacheError",
        "ConfigError",
        "DataError",
        "PluginError",
        "RunError",
        "TlearnError",
    ),
    "tlearn.results.comparison": ("Comparison",),
    "tlearn.results.run": ("Evaluation", "Prediction", "Run"),
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
    "ReportSection",
    "Run",
    "RunConfig",
    "RunError",
    "Stage",
    "StagePolicy",
    "TlearnError",
    "Weights",
    "__version__",
    "compare",
    "demo",
    "export",
    "features",
    "finetune",
    "hookimpl",
    "report",
    "resume",
]


def __getattr__(name: str) -> Any:
    if name in _HOME_OF:
        return getattr(importlib.import_module(_HOME_OF[name]), name)
    raise AttributeError(f"module 'tlearn' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
