"""``tlearn ui``."""

import os
import sys
from pathlib import Path

import click


@click.command()
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="The address to listen on; another one needs a login.",
)
@click.option("--port", type=click.IntRange(1, 65535), default=8501, show_default=True)
@click.option(
    "--data-root",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Where data sets are, and uploads go [data].",
)
@click.option(
    "--runs-root",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Where runs are made [runs].",
)
@click.option("--no-browser", is_flag=True, help="Open no browser.")
@click.option("--set-password", is_flag=True, help="Ask for a password, keep its hash, and end.")
def ui(
    host: str,
    port: int,
    data_root: Path | None,
    runs_root: Path | None,
    no_browser: bool,
    set_password: bool,
) -> None:
    """Open the web page: upload, train, look at results, predict."""
    from tlearn.web import passwords, workspace

    if set_password:
        print(f"the password's hash is kept in {passwords.set_password(_asked())}")
        return
    for variable, root in ((workspace.DATA, data_root), (workspace.RUNS, runs_root)):
        if root is not None:
            os.environ[variable] = str(root.absolute())
    _check_roots()
    from tlearn.web.server import check_address, serve

    check_address(host)
    _check_port(host, port)
    address = f"http://{_shown(host)}:{port}"
    print(f"tlearn: {address}  (Ctrl-C ends it; trainings go on)", flush=True)
    serve(host, port, "" if no_browser or not _has_browser() else address)


def _asked() -> str:
    """Return the password that is typed, or the first line of what is piped in."""
    from tlearn.errors import ConfigError

    try:
        if not sys.stdin.isatty():
            return sys.stdin.readline().rstrip("\r\n")
        return str(click.prompt("Password", hide_input=True, confirmation_prompt=True))
    except UnicodeDecodeError:
        raise ConfigError("the password is not UTF-8; give it as text in UTF-8") from None


def _shown(host: str) -> str:
    """Return the address as a browser takes it."""
    if host in ("127.0.0.1", "0.0.0.0", "::"):
        return "localhost"
    return f"[{host}]" if ":" in host else host


def _has_browser() -> bool:
    """Tell whether somebody is there who would see a browser open."""
    window = sys.platform != "linux" or os.environ.keys() & {"DISPLAY", "WAYLAND_DISPLAY"}
    return sys.stdout.isatty() and bool(window)


def _check_roots() -> None:
    from tlearn.errors import DataError
    from tlearn.web.workspace import Workspace

    here = Workspace.here()
    for option, path in (("--data-root", here.data), ("--runs-root", here.runs)):
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DataError(
                f"the folder {str(path)!r} cannot be made: {error.strerror}; give another {option}"
            ) from None


def _check_port(host: str, port: int) -> None:
    import socket

    from tlearn.errors import ConfigError

    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        if os.name != "nt":  # there it would let two servers have one port
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except (OSError, UnicodeError) as error:
            why = getattr(error, "strerror", None) or "it is no address"
            raise ConfigError(
                f"{_shown(host)}:{port} cannot be listened on: {why}; choose another --port, or "
                f"another --host"
            ) from None
