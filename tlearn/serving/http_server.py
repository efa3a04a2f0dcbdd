"""The server process: listens, loads models again on a signal, stops without losing requests."""

import contextlib
import signal
import threading
from types import FrameType

import uvicorn

from tlearn.errors import TlearnError
from tlearn.serving.app import Service, make_app
from tlearn.serving.model_store import ModelStore
from tlearn.serving.server_settings import ServerSettings


class _Server(uvicorn.Server):
    """Says that it stops before it does, so that a balancer sends nothing more."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        service: Service = self.config.app.state.service  # type: ignore[union-attr]
        service.ready = False
        super().handle_exit(sig, frame)


def serve(store: ModelStore, settings: ServerSettings, host: str, port: int) -> None:
    """Answer requests until SIGTERM or SIGINT; what was taken on is answered before the end.

    SIGHUP loads all models again from their directories.
    """
    with contextlib.suppress(AttributeError):  # Windows has no SIGHUP
        signal.signal(
            signal.SIGHUP,
            lambda *_: threading.Thread(target=_reload_all, args=(store,), daemon=True).start(),
        )
    config = uvicorn.Config(
        make_app(store, settings),
        host=host,
        port=port,
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=int(settings.seconds) + 1,
    )
    _Server(config).run()


def _reload_all(store: ModelStore) -> None:
    for name in store.names:
        try:
            store.reload(name)
            print(f"tlearn: loaded {name} again", flush=True)
        except TlearnError as error:
            print(f"tlearn: error: {error}; the model before goes on", flush=True)
