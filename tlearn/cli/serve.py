"""``tlearn serve``."""

import os
from pathlib import Path

import click

from tlearn.cli.options import path_option
from tlearn.cli.ui import check_port
from tlearn.errors import ConfigError, DataError, os_errors_as

KEY = "TLEARN_KEY"  # the environment variable with the key


@click.command()
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="The address to listen on; 0.0.0.0 for all of this machine.",
)
@click.option("--port", type=click.IntRange(1, 65535), default=8000, show_default=True)
@path_option(
    "--key-file",
    "FILE",
    f"Holds the key that requests must bring in the header X-API-Key; ${KEY} is one, too.",
)
@click.option(
    "--request-mb",
    type=click.IntRange(1, 10_000),
    default=64,
    show_default=True,
    help="Of one request, at most.",
)
@click.option(
    "--request-images",
    type=click.IntRange(1, 10_000),
    default=256,
    show_default=True,
    help="Of one request, at most.",
)
@click.option(
    "--waiting-images",
    type=click.IntRange(1, 100_000),
    default=256,
    show_default=True,
    help="For a model; further requests are told to come again later (503, Retry-After).",
)
@click.option(
    "--seconds",
    type=click.FloatRange(0.1, 3600),
    default=30.0,
    show_default=True,
    help="For the body of a request (408), and for the answer after that (504).",
)
@click.option(
    "--drain-seconds",
    type=click.FloatRange(0, 3600),
    default=1.0,
    show_default=True,
    help="After SIGTERM, while /ready says no and requests are still taken on.",
)
def serve(
    runs: tuple[Path, ...],
    host: str,
    port: int,
    key_file: Path | None,
    request_mb: int,
    request_images: int,
    waiting_images: int,
    seconds: float,
    drain_seconds: float,
) -> None:
    """Answer requests over HTTP with the models of RUNS.

    POST /predict takes images as multipart/form-data, as base64 in JSON, or one as the body; GET
    /docs shows all addresses. Images of several requests are computed together.
    """
    check_port(host, port)
    try:
        from tlearn.serving.http_server import serve as listen
        from tlearn.serving.model_store import ModelStore
        from tlearn.serving.server_settings import MB, ServerSettings
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"tlearn serve needs {error.name}, which is not installed; pip install 'tlearn[serve]'"
        ) from None
    settings = ServerSettings(
        key=_key(key_file),
        request_bytes=request_mb * MB,
        request_images=request_images,
        waiting_images=waiting_images,
        memory_bytes=max(512, 2 * request_mb) * MB,
        seconds=seconds,
        drain_seconds=drain_seconds,
    )
    store = ModelStore(runs)
    print(f"tlearn: serving {', '.join(store.names)} at http://{host}:{port}  (Ctrl-C ends it)")
    listen(store, settings, host, port)


def _key(file: Path | None) -> str:
    if file is None:
        return os.environ.get(KEY, "").strip()
    with os_errors_as(DataError, f"the key in {str(file)!r} cannot be read", "give another file"):
        key = file.read_text(encoding="utf-8").strip()
    if not key:
        raise ConfigError(f"{str(file)!r} is empty; write the key into it, or leave out --key-file")
    return key
