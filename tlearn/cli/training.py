"""``tlearn finetune`` and ``tlearn demo``."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from tlearn.cli.console import INTERRUPTED, engine_options, quiet_tensorflow


def _settings(
    ctx: click.Context, parameter: click.Parameter, values: tuple[str, ...]
) -> dict[str, str]:
    for value in values:
        if value.find("=") < 1:
            raise click.UsageError(f"--set takes KEY=VALUE, as in head.dropout=0.1, not {value!r}")
    return dict(value.split("=", 1) for value in values)


def _views(ctx: click.Context, parameter: click.Parameter, value: str | None) -> int | str | None:
    if value is None or value == "fresh":
        return value
    if not value.isdecimal() or int(value) < 1:
        raise click.UsageError(f"--views takes a number from 1 up, or 'fresh', not {value!r}")
    return int(value)


def training_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of a training to a command."""
    options = [
        click.option("--out", type=click.Path(path_type=Path), metavar="RUN",
                     help="The run directory to make [runs/NAME]."),
        click.option("--backbone", metavar="NAME",
                     help="See 'tlearn backbones' [mobilenet_v2]."),
        click.option("--weights", metavar="NAME|none|FILE",
                     help="Weights the backbone starts from [its first]."),
        click.option("--size", type=int, metavar="PX",
                     help="Side of the square input [the backbone's]."),
        click.option("--resize", type=click.Choice(["crop", "squash", "pad"]),
                     help="How images become square [squash]."),
        click.option("--views", callback=_views, metavar="K|fresh",
                     help="Renderings kept per training image [by preset]."),
        click.option("--seed", type=int, help="Decides splits and everything random [0]."),
        click.option("--val", type=float, metavar="PART",
                     help="Part of the images for validation [0.2]."),
        click.option("--test", type=float, metavar="PART",
                     help="Part held back for the very end [0]."),
        click.option("--group", metavar="REGEX",
                     help="Files whose names match alike stay on one side."),
        click.option("--preset", metavar="NAME",
                     help="How long to train [balanced]."),
        click.option("--stages", metavar="WHAT[:EPOCHS][@RATE],...",
                     help="Stages after the probe: blocks, a layer name, all, or none."),
        click.option("--time-budget", metavar="5m",
                     help="Fit views and epochs into so much time."),
        click.option("--disk-budget", metavar="10G",
                     help="What kept activations may take [a fifth of what is free]."),
        click.option("--strict", is_flag=True, default=None,
                     help="Make unreadable images an error."),
        click.option("--config", type=click.Path(path_type=Path), metavar="FILE.yaml",
                     help="Configuration; options win over it."),
        click.option("--set", "settings", multiple=True, callback=_settings, metavar="KEY=VALUE",
                     help="Any configuration key, as in head.dropout=0.1."),
        click.option("--quiet", is_flag=True, help="Show no progress."),
        click.option("--json", "as_json", is_flag=True, help="Print metrics.json as the result."),
    ]  # fmt: skip
    command = engine_options(command)
    for option in reversed(options):
        command = option(command)
    return command


@click.command()
@click.argument("data", type=click.Path(path_type=Path))
@training_options
def finetune(
    data: Path,
    out: Path | None,
    config: Path | None,
    settings: dict[str, str],
    stages: str | None,
    quiet: bool,
    as_json: bool,
    **options: Any,
) -> int:
    """Train on DATA: a folder with one folder of images per class.

    DATA may also hold train/ and validation/ and test/, each with class folders.
    """
    from tlearn.settings import make_config, parse_stages

    if stages is not None:
        options["stages"] = parse_stages(stages)
    checked = make_config(config, settings, options)
    from tlearn.backbones import load_registry
    from tlearn.data.scan import check_folder
    from tlearn.runs.directory import check_free

    # Again in the training; here it is refused before the seconds that loading TensorFlow takes.
    registry = load_registry()
    registry.get(checked.backbone)
    registry.policy(checked.preset)
    check_folder(data)
    if out is not None:
        check_free(out)
    quiet_tensorflow()
    from tlearn.api import finetune as train

    run = train(data, out, config=checked, quiet=quiet)
    return report_run(run, as_json)


@click.command()
@click.option("--out", type=click.Path(path_type=Path), metavar="FOLDER",
              help="Where photos and run go [tlearn-demo].")  # fmt: skip
@click.option("--quiet", is_flag=True, help="Show no progress.")
@click.option("--json", "as_json", is_flag=True, help="Print metrics.json as the result.")
def demo(out: Path | None, quiet: bool, as_json: bool) -> int:
    """Draw a small set of pictures, train on it, and show what comes of it."""
    quiet_tensorflow()
    from tlearn.api import demo as run_demo

    return report_run(run_demo(out, quiet=quiet), as_json)


def report_run(run: Any, as_json: bool) -> int:
    """Print what came of a training; return the exit code."""
    from tlearn.results.summary import run_summary

    if as_json:
        print(json.dumps(run.metrics | {"run": str(run.path)}, indent=2, ensure_ascii=False))
    else:
        print(run_summary(run))
    return INTERRUPTED if run.metrics["stopped"] else 0
