"""``tlearn data``."""

from pathlib import Path
from typing import Literal

import click

from tlearn.cli.options import DATA, PATH
from tlearn.progress import console_progress


@click.group()
def data() -> None:
    """Show, undo or write out the edits of DATA; pack it into shards."""


@data.command()
@DATA
def show(data: Path) -> None:
    """List the edits of DATA, the oldest first."""
    from tlearn.data.edits import Edits, edits_path
    from tlearn.data.read_data import check_data
    from tlearn.text import printable

    check_data(data)
    edits = Edits.of(data)
    print(f"{_count(len(edits.lines))} of {data}" + (f" in {edits_path(data)}" * bool(edits.lines)))
    for edit in edits.lines:
        print(f"  {printable(f'{edit.local_time}  {edit}')}")


@data.command()
@DATA
@click.option("--all", "everything", is_flag=True, help="Drop all, not the last alone.")
def undo(data: Path, everything: bool) -> None:
    """Drop the edits of DATA that were made last."""
    from tlearn.data.edits import undo_edits
    from tlearn.data.read_data import check_data

    check_data(data)
    dropped = undo_edits(data, everything)
    print(f"{_count(len(dropped))} of {data}{' undone' if dropped else ''}")


@data.command()
@DATA
@click.argument("out", type=PATH)
@click.option("--link", is_flag=True, help="Make hard links: no room, one file with two names.")
def apply(data: Path, out: Path, link: bool) -> None:
    """Write DATA with its edits as a new folder OUT, for other tools."""
    from tlearn.data.corrected_copy import write_corrected
    from tlearn.text import printable

    manifest = write_corrected(data, out, link, console_progress(quiet=False))
    print(f"{len(manifest.files)} images of {len(manifest.labels)} classes in {out}")
    left_out = [
        p for p in manifest.problems if p.kind in ("unreadable", "not an image", "no class")
    ]
    for problem in left_out:
        print(f"  left out: {printable(f'{problem.name} ({problem.reason})')}")


@data.command()
@DATA
@click.argument("out", type=PATH)
@click.option(
    "--format",
    "form",
    type=click.Choice(["webdataset", "parquet"]),
    default="webdataset",
    show_default=True,
    help="webdataset: .tar with KEY.jpg and KEY.cls; parquet: as Hugging Face's datasets.",
)
@click.option(
    "--shard-mb",
    type=click.IntRange(1, 4096),
    default=256,
    show_default=True,
    metavar="MB",
    help="Size of a shard.",
)
def pack(data: Path, out: Path, form: Literal["webdataset", "parquet"], shard_mb: int) -> None:
    """Pack DATA with its edits into shards in OUT, a new folder here or in a store.

    OUT is DATA to all commands, which read photos from shards in place.
    """
    from tlearn.data.packing import pack as write

    manifest = write(data, out, form, shard_mb * 2**20, console_progress(quiet=False))
    print(f"{len(manifest.files)} images of {len(manifest.labels)} classes in {out}")


def _count(edits: int) -> str:
    return f"{edits or 'no'} edit{'' if edits == 1 else 's'}"
