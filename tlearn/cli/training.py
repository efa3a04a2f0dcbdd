"""``tlearn finetune`` and ``tlearn demo``."""

import json
from pathlib import Path
from typing import Any

import click

from tlearn.cli.console import INTERRUPTED, quiet_tensorflow
from tlearn.cli.options import OF_A_TRAINING, options_of


@click.command()
@click.argument("data", type=click.Path(path_type=Path))
@options_of(*OF_A_TRAINING)
def finetune(
    data: Path,
    out: Path | None,
    config: Path | None,
    settings: dict[str, str],
    quiet: bool,
    as_json: bool,
    **options: Any,
) -> int:
    """Train on DATA: a folder with one folder of images per class.

    DATA may also hold train/ and validation/ and test/, each with class folders.
    """
    from tlearn.settings import make_config

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
