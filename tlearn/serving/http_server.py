"""The server process: listens, loads models again on a signal, stops without losing requests."""

import contextlib
import gc
import os
import signal
import threading
import time
from types import FrameType

import uvicorn

from tlearn.data.images import MAX_MEGAPIXELS
from tlearn.errors import TlearnError
from tlearn.serving.app import make_app
from tlearn.serving.http_protocol import PatientProtocol
from tlearn.serving.model_store import ModelStore
from tlearn.serving.server_settings import ServerSettings
from tlearn.serving.service import Service

MEGAPIXELS = "50"  # of a stranger's image that are decoded, unless the variable says otherwise
OPEN_FILES = 65_536


class _Server(uvicorn.Server):
    """Says that it stops some time before it does, so that a balancer sends nothing more."""

    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self.service, self.stops_at = service, 0.0

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self.service.ready:
            self.service.ready = False
            self.stops_at = time.monotonic() + self.service.settings.drain_seconds
        super().handle_exit(sig, frame)

    async def on_tick(self, counter: int) -> bool:
        is_over = await super().on_tick(counter)
        return is_over and (self.force_exit or time.monotonic() >= self.stops_at)


def serve(store: ModelStore, settings: ServerSettings, host: str, port: int) -> None:
    """Answer requests until SIGTERM or SIGINT; what was taken on is answered before the end.

    For ``drain_seconds`` after the signal further requests are answered, too. SIGHUP loads all
    models again from their directories.
    """
    os.environ.setdefault(MAX_MEGAPIXELS, MEGAPIXELS)
    _allow_many_connections()
    with contextlib.suppress(AttributeError):  # Windows has no SIGHUP
        signal.signal(
            signal.SIGHUP,
            lambda *_: threading.Thread(target=_reload_all, args=(store,), daemon=True).start(),
        )
    app = make_app(store, settings)
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        http=PatientProtocol,
        ws="none",
        log_level="error",
        access_log=False,
        server_header=False,
        proxy_headers=False,  # nothing goes by the address of a client
        timeout_graceful_shutdown=2 * int(settings.seconds) + 1,
    )
    gc.freeze()  # what is loaded stays: each collection would go through all of it
    with contextlib.suppress(KeyboardInterrupt):  # the signal, which uvicorn raises again
        _Server(config, app.state.service).run()


def _allow_many_connections() -> None:
    """Open as many files at a time as the system allows, within reason."""
    with contextlib.suppress(ImportError):  # Windows has no such limit
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
        if soft != resource.RLIM_INFINITY:
            resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))


def _reload_all(store: ModelStore) -> None:
    for name in store.names:
        try:
            store.reload(name)
            print(f"tlearn: loaded {name} again", flush=True)
        except TlearnError as error:
            print(f"tlearn: error: {error}; the model before goes on", flush=True)
