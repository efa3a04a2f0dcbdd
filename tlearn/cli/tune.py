"""``tlearn tune``."""

import json
from pathlib import Path
from typing import Any

import click

from tlearn.cli.options import CONFIG, JSON, PATH, PROGRESS, QUIET, SET, config_options, path_option
from tlearn.metrics import METRICS
from tlearn.progress import console_progress
from tlearn.text import shell


@click.command()
@click.argument("data", type=PATH, required=False)
@path_option("--resume", "FOLDER", "Continue the search in FOLDER, with its arguments.")
@path_option("--out", "FOLDER", "The folder to make [tunings/NAME].")
@click.option("--trials", type=int, metavar="N", help="How many at most. [default: 50]")
@click.option(
    "--tuner",
    type=click.Choice(["hyperband", "random", "bayesian", "grid"]),
    help="Which oracle of KerasTuner proposes the trials. [default: hyperband]",
)
@path_option(
    "--space", "FILE.yaml", "Keys to search with values or {min, max}; a space of its own if not."
)
@click.option("--folds", type=int, metavar="K", help="Cross-validate each trial on K folds.")
@click.option(
    "--repeats",
    type=int,
    metavar="N",
    help="How often the best and the given configuration are trained to be compared. [default: 3]",
)
@click.option(
    "--metric",
    "score",
    type=click.Choice(list(METRICS)),
    help="What trials are compared by on validation, and their stages. [default: log_loss]",
)
@click.option(
    "--time-budget", "budget", metavar="10m", help="What everything may take, as 90s, 10m or 1h."
)
@config_options(without=("from_run", "metric", "tensorboard", "time_budget"))
@CONFIG
@SET
@PROGRESS
@QUIET
@JSON
def tune(
    data: Path | None,
    resume: Path | None,
    out: Path | None,
    trials: int | None,
    tuner: str | None,
    space: Path | None,
    folds: int | None,
    repeats: int | None,
    score: str | None,
    budget: str | None,
    config: Path | None,
    settings: dict[str, str],
    progress: str,
    quiet: bool,
    as_json: bool,
    **options: Any,
) -> int:
    """Search a better configuration for DATA, and measure what it gains.

    Trials are trained on cached activations and compared on validation. The best one and the
    configuration that was given are then trained anew and compared on images that no trial saw.
    """
    from tlearn.experiments.tuning import tune as search
    from tlearn.experiments.tuning_request import read_request
    from tlearn.object_stores import as_path
    from tlearn.settings import make_config

    options |= {"metric": score, "time_budget": budget}
    given: dict[str, Any] = {"tuner": tuner, "folds": folds, "repeats": repeats, "space": space}
    if resume is not None:
        others = {**given, **options, "DATA": data, "out": out, "config": config}
        others.pop("time_budget")
        more = [name for name, value in others.items() if value is not None] + list(settings)
        if more:
            raise click.UsageError(
                f"--resume continues with the arguments of the search and takes no {more[0]}; "
                f"leave it out, or begin anew without --resume"
            )
        request = read_request(resume)
        data, out, settings = as_path(request.data), resume, {}
        given = {name: getattr(request, name) for name in given}
        trials = request.trials if trials is None else trials
        options = request.config | {"time_budget": budget or request.time_budget}
    elif data is None:
        raise click.UsageError("Missing argument 'DATA'")
    given = {name: value for name, value in given.items() if value is not None}
    given |= {"trials": trials} if trials is not None else {}
    full = make_config(config, settings, options)
    shown = console_progress(quiet, progress)
    result = search(data, out, config=full, progress=shown, **given)
    if as_json:
        print(json.dumps(result.record(), indent=2, ensure_ascii=False))
        return 0
    print(result.table())
    print(f"the trials, the picture and the runs are in {result.path}")
    if not result.best.number:
        return 0
    what = "next" if result.better else "to train with the best all the same"
    best = result.path / "best.yaml"
    print(f"{what}: {shell('tlearn', 'finetune', data, '--config', best)}")
    return 0
