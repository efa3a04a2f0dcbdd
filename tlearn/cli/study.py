"""``tlearn study``."""

import json
from pathlib import Path
from typing import Any

import click

from tlearn.cli.options import CONFIG, DATA, JSON, QUIET, SET, config_options, path_option


def _values(
    ctx: click.Context, parameter: click.Parameter, texts: tuple[str, ...]
) -> dict[str, list[Any]]:
    """Read ``KEY=VALUE,VALUE,...`` of YAML values."""
    from tlearn.settings import parse_yaml

    values = {}
    for text in texts:
        key, sign, rest = text.partition("=")
        if not key or not sign or not rest:
            raise click.UsageError(f"--vary takes KEY=VALUE,VALUE,... and not {text!r}", ctx)
        values[key] = parse_yaml(f"[{rest}]", f"--vary {text}")
    return values


@click.command()
@DATA
@path_option("--out", "FOLDER", "The folder to make [studies/NAME].")
@click.option(
    "--vary",
    multiple=True,
    required=True,
    callback=_values,
    metavar="KEY=VALUE,...",
    help="A configuration key and the values to try; given again, all combinations are.",
)
@config_options(without=("callbacks",))
@CONFIG
@SET
@QUIET
@JSON
def study(
    data: Path,
    out: Path | None,
    vary: dict[str, list[Any]],
    config: Path | None,
    settings: dict[str, str],
    quiet: bool,
    as_json: bool,
    **options: Any,
) -> int:
    """Train on DATA once for each combination of values, and compare.

    As in --vary head.hidden=[],[64],[512] --vary head.dropout=0,0.5: six trainings on the same
    splits with the same seed, and which of their differences are noise.
    """
    from tlearn.experiments.trials import study as train_all
    from tlearn.settings import make_config

    full = make_config(config, settings, options)
    result = train_all(data, out, vary=vary, config=full, quiet=quiet)
    if as_json:
        print(json.dumps(result.rows(), indent=2, ensure_ascii=False))
    else:
        print(result.table())
        print(f"the runs, the curves and the figures are in {result.path}")
    return 0
