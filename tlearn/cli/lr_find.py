"""``tlearn lr-find``."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from tlearn.cli.options import CONFIG, DATA, JSON, QUIET, SET, config_options, path_option


@click.command("lr-find")
@DATA
@path_option("--out", "FOLDER", "The folder to make [rates/NAME].")
@config_options(without=("callbacks", "from_run", "tensorboard", "train_step", "time_budget"))
@CONFIG
@SET
@QUIET
@JSON
def lr_find(
    data: Path,
    out: Path | None,
    config: Path | None,
    settings: dict[str, str],
    quiet: bool,
    as_json: bool,
    **options: Any,
) -> int:
    """Search the learning rate of the head and of each stage on DATA.

    The rate rises from batch to batch while the loss is watched. It takes seconds once the
    activations are cached.
    """
    from tlearn.backbones import load_registry
    from tlearn.data.read_data import check_data
    from tlearn.settings import make_config

    full = make_config(config, settings, options)
    load_registry().check(full)
    check_data(data)
    from tlearn.experiments.rate_search import RULE, find_rates  # and Keras, which takes seconds

    searches, path = find_rates(data, out, config=full, quiet=quiet)
    if as_json:
        print(json.dumps([asdict(search) for search in searches], indent=2, ensure_ascii=False))
        return 0
    for search in searches:
        note = ", an upper bound: the loss still fell where the search ends" * search.is_bound
        print(f"{search.part}: learning_rate {search.suggestion:.1e}{note}")
    print(f"each is {RULE}; the curves are in {path / 'rates.svg'}")
    return 0
