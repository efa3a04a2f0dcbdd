"""``tlearn plan``."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from tlearn.cli.options import BACKBONES, CONFIG, JSON, PROGRESS, QUIET, SET, config_options


@click.command()
@click.argument("data", type=click.Path(path_type=Path))
@BACKBONES
@config_options(without=("backbone", "size"))
@CONFIG
@SET
@PROGRESS
@QUIET
@JSON
def plan(
    data: Path,
    backbones: tuple[str, ...],
    config: Path | None,
    settings: dict[str, str],
    progress: str,
    quiet: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Estimate seconds and disk of fine-tuning each backbone on DATA."""
    from tlearn.progress import console_progress, format_bytes
    from tlearn.settings import make_config
    from tlearn.training.backbone_comparison import estimates

    settled = make_config(config, settings, options)
    shown = console_progress(quiet, progress)
    for found in estimates(data, backbones=backbones, config=settled, progress=shown):
        if as_json:
            print(json.dumps(asdict(found)), flush=True)
        elif found.problem:
            print(f"{found.backbone:<20} {found.problem}")
        else:
            print(
                f"{found.backbone:<20} about {found.seconds:.0f} s, {format_bytes(found.bytes)} of "
                f"disk; {found.images_per_second:.3g} images/s, "
                f"{found.parameters / 1e6:.1f} M parameters"
                f"{'' if found.sure else ' (unsure: the machine is busy)'}",
                flush=True,
            )
