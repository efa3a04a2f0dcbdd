"""``tlearn ui``."""

import os
import socket
from pathlib import Path

import click

from tlearn.cli.options import path_option
from tlearn.errors import ConfigError, DataError, os_errors_as


@click.command()
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="The address to listen on; 0.0.0.0 lets in whoever has the token.",
)
@click.option("--port", type=click.IntRange(1, 65535), default=8501, show_default=True)
@path_option("--data-root", "FOLDER", "Where data sets are, and uploads go [data].")
@path_option("--runs-root", "FOLDER", "Where runs are made [runs].")
@click.option("--no-browser", is_flag=True, help="Open no browser.")
def ui(
    host: str, port: int, data_root: Path | None, runs_root: Path | None, no_browser: bool
) -> None:
    """Open the web page: upload, train, look at results, predict."""
    from tlearn.web import workspace

    for variable, root in ((workspace.DATA, data_root), (workspace.RUNS, runs_root)):
        if root is not None:
            os.environ[variable] = str(root.absolute())
    _check_roots()
    check_port(host, port)
    from tlearn.web.server import serve

    serve(host, port, False if no_browser else None)


def _check_roots() -> None:
    from tlearn.web.workspace import Workspace

    workspace = Workspace.from_environment()
    for option, path in (("--data-root", workspace.data), ("--runs-root", workspace.runs)):
        what = f"the folder {str(path)!r} cannot be made"
        with os_errors_as(DataError, what, f"give another {option}"):
            path.mkdir(parents=True, exist_ok=True)


def check_port(host: str, port: int) -> None:
    """Refuse an address that cannot be listened on."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        if os.name != "nt":  # on Windows it would let two servers have one port
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except (OSError, UnicodeError) as error:
            why = getattr(error, "strerror", None) or "not an address"
            raise ConfigError(
                f"port {port} of {host!r} cannot be listened on: {why}; choose another --port, or "
                f"another --host"
            ) from None
