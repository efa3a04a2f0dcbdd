"""``tlearn evaluate``."""

import json
from pathlib import Path
from typing import Any

import click

from tlearn.cli.options import DATA, ENGINE, JSON, PROGRESS, QUIET, RUN, config_options, open_run
from tlearn.progress import console_progress


@click.command()
@RUN
@DATA
@click.option(
    "--split",
    type=click.Choice(["auto", "train", "validation", "test", "all"]),
    default="auto",
    show_default=True,
    help="Which images to count; auto leaves out those trained on.",
)
@click.option(
    "--strict",
    is_flag=True,
    help="Make unreadable images an error, and classes that the model does not know.",
)
@config_options(*ENGINE, "tta")
@PROGRESS
@QUIET
@JSON
def evaluate(
    run: Path,
    data: Path,
    split: Any,
    strict: bool,
    progress: str,
    quiet: bool,
    as_json: bool,
    engine: str | None,
    precision: str | None,
    tta: str | None,
) -> None:
    """Measure the model of RUN on the labelled images in DATA.

    DATA is a folder, table or archive, as for 'tlearn finetune'.
    """
    from tlearn.runs.summary import evaluation_summary

    model = open_run(run, engine, precision, tta)
    evaluation = model.evaluate(data, split, console_progress(quiet, progress), strict)
    if as_json:
        more = ("trained_on", "selected_on", "unknown", "unreadable")
        record = evaluation.metrics | {name: getattr(evaluation, name) for name in more}
        print(json.dumps(record, indent=2, ensure_ascii=False))
    else:
        print(evaluation_summary(evaluation))
