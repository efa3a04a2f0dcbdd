"""``tlearn features`` and ``tlearn layers``."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tlearn.cli.console import quiet_tensorflow
from tlearn.cli.options import OF_ENGINES, options_of

if TYPE_CHECKING:
    from tlearn.features.built_backbone import BuiltBackbone
    from tlearn.features.extraction import Layer


@click.command()
@click.argument("data", type=click.Path(path_type=Path))
@click.option(
    "--layer", default="", metavar="NAME", help="Of which layer; see 'tlearn layers' [the topmost]."
)
@click.option(
    "--pool",
    type=click.Choice(["avg", "none"]),
    default="avg",
    show_default=True,
    help="Average over places, or keep them all.",
)
@click.option(
    "--out",
    required=True,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="An .npz or .parquet file.",
)
@options_of("--backbone", "--weights", "--size", "--resize", "--strict", *OF_ENGINES, "--quiet")
def features(data: Path, out: Path, layer: str, pool: Any, quiet: bool, **options: Any) -> None:
    """Write what a layer gives for every image in DATA, with paths and labels."""
    from tlearn.backbones import load_registry
    from tlearn.config import RunConfig
    from tlearn.data.scan import check_folder

    # Again in the function; here it is refused before TensorFlow is loaded.
    load_registry().get(options["backbone"] or RunConfig().backbone)
    check_folder(data)
    quiet_tensorflow()
    from tlearn.features.image_features import extract_features as extract

    found = extract(data, out, layer=layer, pool=pool, quiet=quiet, **options)
    for name, reason in found.unreadable:
        print(f"left out: {name} ({reason})")
    print(f"{' x '.join(map(str, found.shape))} numbers in {found.path}")


@click.command()
@click.argument("backbone")
@options_of("--size")
@click.option(
    "--plot",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Draw the network there, as .png, .svg or .pdf.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the list as JSON.")
def layers(backbone: str, size: int | None, plot: Path | None, as_json: bool) -> None:
    """List the layers of BACKBONE, and where it can be cut to unfreeze what is above."""
    from tlearn.backbones import load_registry

    chosen = load_registry().get(backbone)
    quiet_tensorflow()
    from tlearn.features.built_backbone import load_backbone
    from tlearn.features.extraction import draw
    from tlearn.features.extraction import layers as layers_of

    built = load_backbone(chosen, size, "none", 0)
    if plot is not None:
        draw(built, plot)
        print(f"drawn in {plot}")
        return
    found = layers_of(built)
    if as_json:
        print(json.dumps([vars(layer) for layer in found], indent=2))
    else:
        _print(built, found)


def _print(built: "BuiltBackbone", found: "list[Layer]") -> None:
    blocks = len(built.boundaries)
    wide = max(len(layer.name) for layer in found)
    print(
        f"{'':>5} {'layer':<{wide}} {'kind':<22} {'output':<16} {'parameters':>10} "
        f"{'block':>5}  boundary"
    )
    for layer in found:
        shape = " x ".join(map(str, layer.shape)) if layer.shape is not None else "several"
        above = blocks - layer.block - (layer.boundary == "after")
        boundary = f"{layer.boundary:<6}  --stages {above}" if layer.boundary else ""
        print(
            f"{layer.index:>5} {layer.name:<{wide}} {layer.kind:<22} {shape:<16} "
            f"{layer.parameters:>10,} {layer.block:>5}  {boundary}".rstrip()
        )
    backbone = built.backbone
    total = sum(layer.parameters for layer in found)
    print(
        f"{len(found)} layers, {total:,} parameters at {built.size} pixels; {blocks} blocks, "
        f"of which --stages N unfreezes the top N"
    )
    if backbone.finetune_from:
        print(
            f"fine-tuning usually pays from {backbone.finetune_from} upwards: tlearn finetune "
            f"DATA --backbone {backbone.name} --stages {backbone.finetune_from}"
        )
