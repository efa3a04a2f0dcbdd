"""What a backbone is, what else a plugin may offer, and how plugins are found.

A plugin needs the names exported here and no others::

    from tlearn.backbones import Backbone, Blocks, Preprocess, Weights, hookimpl
"""

from tlearn.backbones.hookspecs import hookimpl
from tlearn.backbones.offers import Exporter, ReportSection, StagePolicy
from tlearn.backbones.registry import Plugin, Registry, load_registry
from tlearn.backbones.sources import use_folder
from tlearn.backbones.spec import Backbone, Blocks, Boundary, Preprocess, Weights

__all__ = [
    "Backbone",
    "Blocks",
    "Boundary",
    "Exporter",
    "Plugin",
    "Preprocess",
    "Registry",
    "ReportSection",
    "StagePolicy",
    "Weights",
    "hookimpl",
    "load_registry",
    "use_folder",
]
