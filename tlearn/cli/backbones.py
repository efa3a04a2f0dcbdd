"""``tlearn backbones``."""

import click


@click.command()
def backbones() -> None:
    """List the backbones that are installed."""
    from tlearn.backbones import load_registry

    registry = load_registry()
    for plugin in registry.plugins:
        for b in plugin.backbones:
            weights = "; ".join(f"{w.name} from {w.source} ({w.licence})" for w in b.weights)
            weights = weights or "none"
            print(f"{b.name:<18} {b.default_size} px (from {b.min_size})  weights: {weights}")
            print(f"{'':<18} {b.summary}; from {plugin.distribution} {plugin.version}")
    for plugin in registry.problems:
        print(
            f"{plugin.name:<18} UNUSABLE, from {plugin.distribution} {plugin.version}: "
            f"{plugin.problem}"
        )
