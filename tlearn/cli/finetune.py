"""``tlearn finetune``."""

import json
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from tlearn.cli.console import INTERRUPTED
from tlearn.cli.options import CONFIG, JSON, PATH, PROGRESS, QUIET, SET, config_options, path_option
from tlearn.progress import console_progress

WITH_RESUME = ("resume", "progress", "quiet", "as_json", "plugins_dir", "debug", "help")


@click.command()
@click.argument("data", type=PATH, required=False)
@path_option("--resume", "RUN", "Continue the training of RUN that was stopped or interrupted.")
@path_option("--out", "RUN", "The run directory to make [runs/NAME].")
@config_options()
@CONFIG
@SET
@PROGRESS
@QUIET
@JSON
def finetune(
    data: Path | None,
    resume: Path | None,
    out: Path | None,
    config: Path | None,
    settings: dict[str, str],
    progress: str,
    quiet: bool,
    as_json: bool,
    **options: Any,
) -> int:
    """Train on DATA: a folder with one folder of images per class.

    DATA may also hold train/ and validation/ and test/, each with class folders. Or it is a CSV or
    JSON Lines table of path,label[,split,group], or a zip or tar of such a folder or table.
    """
    ctx = click.get_current_context()
    shown = console_progress(quiet, progress)
    if resume is not None:
        _refuse_more_than_resume(ctx)
    elif data is None:
        raise click.UsageError("Missing argument 'DATA'", ctx)
    from tlearn.settings import make_config

    full = None if resume else make_config(config, settings, options)
    from tlearn.training.pipeline import finetune as train, follow, resume as resume_run
    from tlearn.training.workers import Workers

    workers = Workers.from_environment()
    if workers and workers.index:  # what there is to report, the first one reports
        follow(workers, shown, data, full)
        return 0
    if data is None:
        return report_run(resume_run(resume or Path(), progress=shown), as_json)
    return report_run(train(data, out, config=full, progress=shown), as_json)


def _refuse_more_than_resume(ctx: click.Context) -> None:
    """Refuse parameters that ``--resume`` does not take.

    Raises:
        UsageError: If there are any.
    """
    others = [
        parameter.human_readable_name
        if isinstance(parameter, click.Argument)
        else max(parameter.opts)
        for parameter in ctx.command.params
        if parameter.name not in WITH_RESUME
        and ctx.get_parameter_source(str(parameter.name)) is ParameterSource.COMMANDLINE
    ]
    if others:
        raise click.UsageError(
            f"--resume RUN continues with the configuration of the run and takes no {others[0]}; "
            f"leave it out, or start a new training without --resume",
            ctx,
        )


def report_run(run: Any, as_json: bool) -> int:
    """Print the result of a training; return the exit code."""
    from tlearn.runs.summary import run_summary

    if as_json:
        print(json.dumps(run.metrics | {"run": str(run.place)}, indent=2, ensure_ascii=False))
    else:
        print(run_summary(run))
    return INTERRUPTED if run.metrics["stopped"] else 0
