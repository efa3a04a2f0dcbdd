"""``tlearn compare``."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tlearn.cli.console import INTERRUPTED, quiet_tensorflow
from tlearn.cli.options import (
    BACKBONES,
    CONFIG,
    JSON,
    KEYS,
    QUIET,
    SET,
    config_options,
    path_option,
)

if TYPE_CHECKING:
    from tlearn.config import RunConfig


OF_ANY_BACKBONE = tuple(key for key in KEYS if key not in ("backbone", "size"))


@click.command()
@click.argument("data", type=click.Path(path_type=Path))
@path_option("--out", "FOLDER", "The folder to make [comparisons/NAME].")
@BACKBONES
@config_options(*OF_ANY_BACKBONE)
@CONFIG
@SET
@QUIET
@JSON
def compare(
    data: Path,
    out: Path | None,
    backbones: tuple[str, ...],
    config: Path | None,
    settings: dict[str, str],
    quiet: bool,
    as_json: bool,
    **options: Any,
) -> int:
    """Rank the installed backbones by a probe on photos of DATA."""
    checked = checked_config(data, backbones, config, settings, options)
    from tlearn.runs.directory import check_free

    if out is not None:
        check_free(out)
    quiet_tensorflow()
    from tlearn.training.backbone_comparison import compare as compare_all

    found = compare_all(data, out, backbones=backbones, config=checked, quiet=quiet)
    if as_json:
        print(found.to_json(), end="")
    else:
        print(found.table())
        print(f"the picture and the figures are in {found.path}")
        print(f"next: tlearn finetune {data} --backbone {found.recommended}")
    return INTERRUPTED if found.stopped else 0


def checked_config(
    data: Path,
    backbones: Sequence[str],
    config: Path | None,
    settings: Mapping[str, str],
    options: Mapping[str, Any],
) -> "RunConfig":
    """Return the configuration asked for; refuse a slip before TensorFlow is loaded.

    The functions that do the work look at all of it again.
    """
    from tlearn.backbones import load_registry
    from tlearn.data.scan import check_folder
    from tlearn.settings import make_config

    checked = make_config(config, settings, options)
    registry = load_registry()
    for name in backbones:
        registry.get(name)
    registry.preset(checked.preset)
    check_folder(data)
    return checked
