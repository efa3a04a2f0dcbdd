"""``tlearn export``."""

from pathlib import Path

import click

from tlearn.cli.console import quiet_tensorflow
from tlearn.cli.options import path_option


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("form", metavar="FORMAT")
@path_option("--out", "PATH", "Where to [beside the model, in RUN].")
def export(run: Path, form: str, out: Path | None) -> None:
    """Write the model of RUN in another format, such as openvino.

    'tlearn plugins' lists the formats.
    """
    from tlearn.backbones import load_registry
    from tlearn.runs.directory import RunDirectory, check_free

    # Again in the function; here it is refused before TensorFlow is loaded.
    exporter = load_registry().exporter(form)
    RunDirectory.open(run)
    if out is not None:
        check_free(out)
    quiet_tensorflow()
    from tlearn.runs.exports import export as write

    print(f"{exporter.summary}: {write(run, form, out)}")
