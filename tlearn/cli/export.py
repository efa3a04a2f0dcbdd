"""``tlearn export``."""

from pathlib import Path

import click

from tlearn.cli.options import RUN, path_option


@click.command()
@RUN
@click.argument("form", metavar="FORMAT")
@path_option("--out", "PATH", "Where to [beside the model, in RUN].")
def export(run: Path, form: str, out: Path | None) -> None:
    """Write the model of RUN in another format, such as openvino.

    'tlearn plugins' lists the formats.
    """
    from tlearn.runs.exports import export as write

    print(f"written to {write(run, form, out)}")
