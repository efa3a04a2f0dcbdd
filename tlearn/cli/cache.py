"""``tlearn cache``."""

import time

import click

from tlearn.progress import format_bytes


@click.group()
def cache() -> None:
    """Show the cache of activations, archives and scans, or clear it."""


@cache.command()
def info() -> None:
    """Show where the cache is, its size, and what is in it."""
    from tlearn.cache_folder import cache_folder
    from tlearn.data.archive_folder import unpacked_bytes
    from tlearn.data.scan_cache import scans_bytes
    from tlearn.features.activation_cache import Cache

    with Cache(cache_folder(), say=click.echo) as store:
        used, compiled = store.used_bytes(), store.compiled_bytes()
        print(
            f"{store.root}: {format_bytes(used)} of activations, within a budget of "
            f"{format_bytes(store.budget)}; {format_bytes(compiled)} of compiled networks, "
            f"{format_bytes(unpacked_bytes())} of unpacked archives, "
            f"{format_bytes(scans_bytes())} of results of scans"
        )
        for table in store.tables():
            key = table.key
            name = " ".join(str(key[part]) for part in ("backbone", "output") if part in key)
            used_at = time.strftime("%Y-%m-%d %H:%M", time.localtime(table.used))
            print(
                f"  {name:<36} {key['size']:>4} px  {key.get('precision', ''):<9}"
                f"{table.rows:>9} views {format_bytes(table.bytes):>9}  used {used_at}"
            )


@cache.command()
def clear() -> None:
    """Delete everything in it; a later run computes what it needs again."""
    from tlearn.cache_folder import cache_folder
    from tlearn.data.archive_folder import remove_unpacked
    from tlearn.data.scan_cache import remove_scans
    from tlearn.features.activation_cache import Cache
    from tlearn.runs.stored_runs import remove_mirrors

    with Cache(cache_folder(), say=click.echo) as store:
        freed = store.clear() + remove_unpacked() + remove_mirrors() + remove_scans()
        print(f"{format_bytes(freed)} freed in {store.root}")
