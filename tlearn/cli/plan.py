"""``tlearn plan``."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from tlearn.backbones import load_registry
from tlearn.backbones.availability import missing_weights
from tlearn.cli.options import PROGRESS, comparison_options
from tlearn.progress import console_progress, format_bytes


@click.command()
@comparison_options
@PROGRESS
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
    """Estimate seconds and disk of fine-tuning each backbone on DATA.

    DATA is a folder, table or archive, as for 'tlearn finetune'.
    """
    from tlearn.experiments.backbone_comparison import estimates
    from tlearn.settings import make_config

    full = make_config(config, settings, options)
    shown = console_progress(quiet, progress)
    for estimate in estimates(data, backbones=backbones, config=full, progress=shown):
        if as_json:
            print(json.dumps(asdict(estimate)), flush=True)
        elif estimate.problem:
            print(f"{estimate.backbone:<20} {estimate.problem}")
        else:
            print(
                f"{estimate.backbone:<20} about {estimate.seconds:.0f} s, "
                f"{format_bytes(estimate.bytes)} of disk; {estimate.images_per_second:.3g} "
                f"images/s, {estimate.parameters / 1e6:.1f} M parameters"
                f"{'' if estimate.sure else ' (uncertain: the machine is busy)'}"
                f"{_missing(estimate.backbone, full.weights)}",
                flush=True,
            )


def _missing(backbone: str, weights: str | None) -> str:
    """Say that the weights of a backbone cannot be had, if so: an estimate needs none."""
    reason = missing_weights(load_registry().get(backbone), weights)
    return f"; its weights are not on this machine: {reason}" if reason else ""
