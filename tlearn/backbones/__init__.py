"""What a backbone is, what else a plugin may offer, and how plugins are found.

A plugin needs the names exported here and no others::

    from tlearn.backbones import Backbone, Blocks, Preprocess, Weights, hookimpl
"""

from tlearn.backbones.contract import Backbone, Blocks, Boundary, Preprocess, Workload
from tlearn.backbones.extensions import Exporter, Preset, ReportSection
from tlearn.backbones.hookspecs import hookimpl
from tlearn.backbones.keras_applications import keras_application
from tlearn.backbones.plugin_sources import use_folder
from tlearn.backbones.registry import Plugin, Registry, load_registry
from tlearn.backbones.torch_files import read_torch_weights
from tlearn.backbones.weight_sources import Weights

__all__ = [
    "Backbone",
    "Blocks",
    "Boundary",
    "Exporter",
    "Plugin",
    "Preprocess",
    "Preset",
    "Registry",
    "ReportSection",
    "Weights",
    "Workload",
    "hookimpl",
    "keras_application",
    "load_registry",
    "read_torch_weights",
    "use_folder",
]
