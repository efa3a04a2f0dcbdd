"""``tlearn show``."""

from pathlib import Path

import click

from tlearn.cli.options import RUN


@click.command()
@RUN
def show(run: Path) -> None:
    """Show RUN: configuration, blocks by stage, figures, curves."""
    from tlearn.runs.run import Run

    opened = Run(run)
    from tlearn.training.description import describe

    print(describe(opened))
