"""``tlearn learning-curve``."""

import json
from pathlib import Path
from typing import Any

import click

from tlearn.cli.options import CONFIG, DATA, JSON, QUIET, SET, config_options, path_option

KEYS = (
    *("backbone", "weights", "size", "resize", "seed", "val", "test", "group", "strict"),
    *("engine", "precision", "disk_budget", "activation_store", "cluster"),
)


@click.command()
@DATA
@path_option("--out", "FOLDER", "The folder to make [learning_curves/NAME].")
@config_options(*KEYS)
@CONFIG
@SET
@QUIET
@JSON
def learning_curve(
    data: Path,
    out: Path | None,
    config: Path | None,
    settings: dict[str, str],
    quiet: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Measure accuracy by number of photos, and what more would bring.

    A probe is fitted to 10% to 100% of the training photos and measured on photos that it was not
    trained on. A power law that is fitted to that says what twice as many would likely bring.
    """
    from tlearn.experiments.accuracy_curve import learning_curve as measure
    from tlearn.settings import make_config

    full = make_config(config, settings, options)
    curve = measure(data, out, config=full, quiet=quiet)
    if as_json:
        print(json.dumps(curve.record(), indent=2, ensure_ascii=False))
    else:
        print(curve.text)
        print(f"the chart and the figures are in {curve.path}")
