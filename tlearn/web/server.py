"""The server of the web page: Streamlit, with a gate before it and routes beside it."""

import contextlib
import functools
import logging
import os
import signal
import sys
import threading
import webbrowser
from collections.abc import AsyncIterator, Mapping
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any

import streamlit as st
from starlette.middleware import Middleware
from streamlit.logger import set_log_level

from tlearn.data.uploads import clear_stale
from tlearn.errors import ConfigError
from tlearn.web.access import AccessMiddleware, is_local, openid
from tlearn.web.navigation import show_failure
from tlearn.web.passwords import password_hash
from tlearn.web.transfers import ROUTES
from tlearn.web.workspace import Workspace

SCRIPT = Path(__file__).with_name("script.py")
LOG = logging.getLogger("tlearn.web")
SWITCH = 0.0005  # seconds after which work in the background lets a page go first
IDLE = 60.0  # seconds without a byte after which an upload is one that a server left behind
GRACE = 1.0  # seconds that open connections have to end by themselves
# Nothing is sent anywhere, nothing is watched, and errors go to a log instead of the screen.
SETTINGS: Mapping[str, Any] = {
    "browser.gatherUsageStats": False,
    "client.showErrorDetails": "none",
    "client.toolbarMode": "minimal",
    "logger.hideWelcomeMessage": True,
    "server.fileWatcherType": "none",
    "server.maxUploadSize": 200,  # MB: of the camera; other uploads have a way of their own
    "server.runOnSave": False,
    "logger.level": "error",
    "theme.light.primaryColor": "#0b6e4f",
    "theme.dark.primaryColor": "#208563",
}


def check_address(host: str) -> None:
    """Refuse to be reached by others where nobody is asked who he is.

    Raises:
        ConfigError: If the address is not this machine's own and no login is configured.
    """
    if not is_local(host) and not password_hash() and not openid():
        raise ConfigError(
            f"--host {host} lets others in, and no login is configured; set a password with "
            f"'tlearn ui --set-password', or [auth] in .streamlit/secrets.toml, or leave out --host"
        )


@contextlib.asynccontextmanager
async def lifespan(app: Any, address: str = "") -> AsyncIterator[None]:
    """Before the first page: a log, and no remains of uploads that were broken off.

    Args:
        app: The app of Streamlit.
        address: What to open in a browser, if anything.
    """
    places = Workspace.here()
    places.runs.mkdir(parents=True, exist_ok=True)
    handler = RotatingFileHandler(places.log, maxBytes=2_000_000, backupCount=2, delay=True)
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    LOG.addHandler(handler)
    if places.data.is_dir():
        clear_stale(places.data, IDLE)
    places.clear_scratch()
    places.queue.wake()
    sys.setswitchinterval(SWITCH)
    _end_soon()
    if address:
        threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()
    yield
    LOG.removeHandler(handler)
    handler.close()


def _end_soon() -> None:
    """See that no connection holds up the end once a signal has asked for it."""
    if threading.current_thread() is not threading.main_thread():
        return  # signals come to the main thread alone

    def ending(before: Any, number: int, frame: Any) -> None:
        timer = threading.Timer(GRACE, os._exit, (130,))
        timer.daemon = True
        timer.start()
        before(number, frame)

    for number in (signal.SIGINT, signal.SIGTERM):
        before = signal.getsignal(number)  # the server's own, which waits for all to end
        if callable(before):
            signal.signal(number, functools.partial(ending, before))


def on_error(error: Exception) -> bool:
    """Put a traceback into the log; a sentence is shown in its place."""
    LOG.error("a page failed", exc_info=error)
    show_failure(Workspace.here().log)
    return True


def arguments(address: str = "") -> dict[str, Any]:
    """Return what ``st.App`` is made with, beside its script.

    Args:
        address: What to open in a browser, if anything.
    """
    return {
        "routes": list(ROUTES),
        "middleware": [Middleware(AccessMiddleware, openid=openid())],
        "lifespan": functools.partial(lifespan, address=address),
        "on_script_error": on_error,
    }


def serve(host: str, port: int, address: str = "") -> None:
    """Serve the page until it is stopped.

    Args:
        host: The address to listen on.
        port: The port.
        address: What to open in a browser, if anything.

    Raises:
        ConfigError: If others could come in without a login.
    """
    check_address(host)
    settings = {
        **SETTINGS,
        "server.address": host,
        "server.port": port,
        "server.headless": True,
    }
    # Streamlit takes what stands behind the program's name for arguments of the script.
    sys.argv = [os.fspath(SCRIPT)]
    app = st.App(SCRIPT, **arguments(address))
    set_log_level("error")  # else it remarks that these settings differ from those it has read
    app.run(config=settings)
