"""A command that copies photos into a folder per predicted class."""

import shutil
from pathlib import Path

import click

from tlearn.backbones import hookimpl


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("photos", type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path), help="The folder to make.")
def sort(run: Path, photos: Path, out: Path) -> None:
    """Copy PHOTOS into a folder for each class that the model of RUN predicts."""
    import tlearn

    if out.exists():
        raise click.UsageError(f"{str(out)!r} exists already; choose another --out")
    for prediction in tlearn.Run(run).predict(photos):
        if prediction.problem:
            print(f"left out: {prediction.path} ({prediction.problem})")
            continue
        folder = out / prediction.label
        folder.mkdir(parents=True, exist_ok=True)
        target, number = folder / prediction.path.name, 2
        while target.exists():
            target = folder / f"{prediction.path.stem}-{number}{prediction.path.suffix}"
            number += 1
        shutil.copy2(prediction.path, target)
        print(target)


@hookimpl
def tlearn_commands(cli: click.Group) -> None:
    """Offer it."""
    cli.add_command(sort)
