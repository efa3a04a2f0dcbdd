"""Plugin-based transfer learning for image folders.

    import tlearn

    run = tlearn.finetune("photos", backbone="mobilenet_v2")
    run.metrics["validation"]["accuracy"]
    run.predict(["new.jpg"])

Names are loaded when they are first used: importing tlearn imports neither TensorFlow nor Keras.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # the names again, for type checkers and editors
    from tlearn.backbones import (
        Backbone as Backbone,
        Blocks as Blocks,
        Boundary as Boundary,
        Exporter as Exporter,
        Preprocess as Preprocess,
        Preset as Preset,
        ReportSection as ReportSection,
        Weights as Weights,
        hookimpl as hookimpl,
    )
    from tlearn.checks.data_check import check as check
    from tlearn.checks.finding import CheckResult as CheckResult, Finding as Finding
    from tlearn.config import RunConfig as RunConfig, Stage as Stage
    from tlearn.data.images import load_image as load_image
    from tlearn.errors import (
        BackboneError as BackboneError,
        CacheError as CacheError,
        ConfigError as ConfigError,
        DataError as DataError,
        PluginError as PluginError,
        RunError as RunError,
        TlearnError as TlearnError,
    )
    from tlearn.experiments.accuracy_curve import (
        LearningCurve as LearningCurve,
        learning_curve as learning_curve,
    )
    from tlearn.experiments.backbone_comparison import compare as compare
    from tlearn.experiments.ranking import Comparison as Comparison
    from tlearn.experiments.run_ensemble import ensemble as ensemble
    from tlearn.experiments.tuning import tune as tune
    from tlearn.experiments.tuning_results import Tuning as Tuning
    from tlearn.features.image_features import extract_features as extract_features
    from tlearn.reports.page import report as report
    from tlearn.runs.active_learning import NextPhotos as NextPhotos, label_next as label_next
    from tlearn.runs.explanation import Explanation as Explanation, explain as explain
    from tlearn.runs.exports import export as export
    from tlearn.runs.predictions import Prediction as Prediction
    from tlearn.runs.run import Evaluation as Evaluation, Run as Run
    from tlearn.runs.run_comparison import RunComparison as RunComparison, diff as diff
    from tlearn.training.pipeline import demo as demo, finetune as finetune, resume as resume

__version__ = "0.1.0"

# What is public, by where it comes from.
_HOMES = {
    "tlearn.backbones": (
        "Backbone Blocks Boundary Exporter Preprocess Preset ReportSection Weights hookimpl"
    ),
    "tlearn.checks.data_check": "check",
    "tlearn.checks.finding": "CheckResult Finding",
    "tlearn.config": "RunConfig Stage",
    "tlearn.data.images": "load_image",
    "tlearn.errors": (
        "BackboneError CacheError ConfigError DataError PluginError RunError TlearnError"
    ),
    "tlearn.features.image_features": "extract_features",
    "tlearn.reports.page": "report",
    "tlearn.runs.explanation": "Explanation explain",
    "tlearn.runs.exports": "export",
    "tlearn.runs.active_learning": "NextPhotos label_next",
    "tlearn.runs.predictions": "Prediction",
    "tlearn.runs.run": "Evaluation Run",
    "tlearn.runs.run_comparison": "RunComparison diff",
    "tlearn.experiments.backbone_comparison": "compare",
    "tlearn.training.pipeline": "demo finetune resume",
    "tlearn.experiments.accuracy_curve": "LearningCurve learning_curve",
    "tlearn.experiments.ranking": "Comparison",
    "tlearn.experiments.run_ensemble": "ensemble",
    "tlearn.experiments.tuning": "tune",
    "tlearn.experiments.tuning_results": "Tuning",
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names.split()}
__all__ = ["__version__", *_HOME_OF]


def __getattr__(name: str) -> Any:
    if name in _HOME_OF:
        return getattr(importlib.import_module(_HOME_OF[name]), name)
    raise AttributeError(f"module 'tlearn' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
