"""``tlearn layers``."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tlearn.backbones import load_registry
from tlearn.cli.options import JSON, config_options, path_option

if TYPE_CHECKING:
    from tlearn.features.built_backbone import BuiltBackbone
    from tlearn.features.extraction import Layer


@click.command()
@click.argument("backbone")
@config_options("size")
@path_option("--plot", "FILE", "Draw the network there, as .png, .svg or .pdf.")
@JSON
def layers(backbone: str, size: str | None, plot: Path | None, as_json: bool) -> None:
    """List the layers and the boundaries of BACKBONE."""
    from tlearn.settings import make_config

    chosen = load_registry().get(backbone)
    side = chosen.checked_size(make_config(options={"size": size}).size)
    from tlearn.features.built_backbone import load_backbone
    from tlearn.features.extraction import draw, layers as layers_of

    built = load_backbone(chosen, side, "none", 0)
    if plot is not None:
        draw(built, plot)
        print(f"drawn in {plot}")
        return
    rows = layers_of(built)
    if as_json:
        print(json.dumps([vars(layer) for layer in rows], indent=2))
    else:
        _print(built, rows)


def _print(built: "BuiltBackbone", rows: "list[Layer]") -> None:
    blocks = len(built.boundaries)
    wide = max(len(layer.name) for layer in rows)
    print(
        f"{'':>5} {'layer':<{wide}} {'kind':<22} {'output':<16} {'parameters':>10} "
        f"{'block':>5}  boundary"
    )
    for layer in rows:
        shape = " x ".join(map(str, layer.shape)) if layer.shape is not None else "several"
        above = blocks - layer.block - (layer.boundary == "after")
        boundary = f"{layer.boundary:<6}  --stages {above}" if layer.boundary else ""
        print(
            f"{layer.index:>5} {layer.name:<{wide}} {layer.kind:<22} {shape:<16} "
            f"{layer.parameters:>10,} {layer.block:>5}  {boundary}".rstrip()
        )
    backbone = built.backbone
    total = sum(layer.parameters for layer in rows)
    print(
        f"{len(rows)} layers, {total:,} parameters at {built.size} pixels; {blocks} blocks, "
        f"of which --stages N unfreezes the top N"
    )
    if backbone.finetune_from:
        print(
            f"fine-tuning usually pays from {backbone.finetune_from} upwards: tlearn finetune "
            f"DATA --backbone {backbone.name} --stages {backbone.finetune_from}"
        )
