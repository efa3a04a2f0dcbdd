"""``tlearn tensorboard``."""

import contextlib
import io
import shutil
import threading
from pathlib import Path

import click

from tlearn.cli.options import IF_NO_VALUE, PATH
from tlearn.errors import ConfigError, one_line


@click.command()
@click.argument("runs", type=PATH, nargs=-1)
@click.option(
    "--port", type=click.IntRange(1, 65535), help="The port; a free one from 6006 if not given."
)
def tensorboard(runs: tuple[Path, ...], port: int | None) -> None:
    """Open TensorBoard on RUNS that were trained with --tensorboard.

    RUNS are run directories, folders of them, or what --tensorboard named; logs if not given.
    """
    from tlearn.runs.tensorboard_folder import as_one_folder, check_installed, folders_in

    check_installed()
    folders = folders_in(runs or (Path(IF_NO_VALUE["tensorboard"]),))
    place = as_one_folder(folders)
    try:
        serve(place, port)
    finally:
        if place not in folders:
            shutil.rmtree(place)


def serve(folder: Path, port: int | None) -> None:
    """Show a folder until the process is interrupted.

    Raises:
        ConfigError: If the port is taken.
    """
    from tensorboard import program

    from tlearn import keras_import  # noqa: F401 (TensorFlow would be noisy when it is needed)

    board = program.TensorBoard()
    board.configure(logdir=str(folder), **({"port": port} if port else {}))
    try:
        with contextlib.redirect_stderr(io.StringIO()):  # a note about how it reads
            address = board.launch()
    except program.TensorBoardServerException as error:
        raise ConfigError(
            f"TensorBoard cannot be started: {one_line(error)}; choose another --port"
        ) from None
    print(f"TensorBoard is at {address}; Ctrl-C ends it", flush=True)
    threading.Event().wait()
