"""``tlearn backbones``."""

import click

from tlearn.backbones import Weights, load_registry
from tlearn.text import percent


@click.command()
@click.argument("pattern", default="*")
def backbones(pattern: str) -> None:
    """List the backbones that are installed.

    PATTERN may have wildcards: 'mobilenet*'.
    """
    registry = load_registry()
    for name, b in registry.matching(pattern).items():
        plugin = registry.plugin_of(name)
        weights = "; ".join(map(_describe, b.weights)) or "none"
        print(f"{name:<18} {b.default_size} px (from {b.min_size})  weights: {weights}")
        print(f"{'':<18} {b.summary}; from {plugin.distribution} {plugin.version}")
    for plugin in registry.problems:
        print(
            f"{plugin.name:<18} UNUSABLE, from {plugin.distribution} {plugin.version}: "
            f"{plugin.problem}"
        )


def _describe(weights: Weights) -> str:
    where = {True: ", on this machine", False: ", not on this machine", None: ""}
    place = ", here, but cannot be used" if weights.problem else where[weights.on_this_machine]
    share = "" if weights.accuracy is None else f", {percent(weights.accuracy)} on ImageNet"
    return f"{weights.name} from {weights.source} ({weights.licence}){share}{place}"
