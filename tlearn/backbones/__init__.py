"""What a backbone is, and how backbones are found.

A plugin needs the names exported here and no others::

    from tlearn.backbones import Backbone, Blocks, Preprocess, Weights, hookimpl
"""

from tlearn.backbones.hookspecs import hookimpl
from tlearn.backbones.registry import Plugin, Registry, load_registry
from tlearn.backbones.spec import Backbone, Blocks, Boundary, Preprocess, Weights

__all__ = [
    "Backbone",
    "Blocks",
    "Boundary",
    "Plugin",
    "Preprocess",
    "Registry",
    "Weights",
    "hookimpl",
    "load_registry",
]
