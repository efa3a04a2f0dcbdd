"""``tlearn backbones`` and ``tlearn cache``."""

import time

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


@click.group(name="cache")
def activation_cache() -> None:
    """Look at what is kept between runs, or delete it."""


@activation_cache.command()
def info() -> None:
    """Say where the cache is, how large, and what is in it."""
    from tlearn.features.activation_cache import Cache, default_root
    from tlearn.progress import format_bytes

    with Cache(default_root(), say=click.echo) as cache:
        used, compiled = cache.used_bytes(), cache.compiled_bytes()
        print(
            f"{cache.root}: {format_bytes(used)} of activations, within a budget of "
            f"{format_bytes(cache.budget)}; {format_bytes(compiled)} of compiled networks"
        )
        for held in cache.tables():
            what = held.described
            of = " ".join(str(what[name]) for name in ("backbone", "output") if name in what)
            used_at = time.strftime("%Y-%m-%d %H:%M", time.localtime(held.used))
            print(
                f"  {of:<36} {what['size']:>4} px  {what.get('precision', ''):<9}"
                f"{held.rows:>9} views {format_bytes(held.bytes):>9}  used {used_at}"
            )


@activation_cache.command()
def clear() -> None:
    """Delete everything in it; a later run computes what it needs again."""
    from tlearn.features.activation_cache import Cache, default_root
    from tlearn.progress import format_bytes

    with Cache(default_root(), say=click.echo) as cache:
        print(f"{format_bytes(cache.clear())} freed in {cache.root}")
