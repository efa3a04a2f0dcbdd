"""The server of the web page: Streamlit, with access control before it and routes beside it."""

import contextlib
import functools
import logging
import os
import secrets
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

from tlearn.data.process_folder import process_folder
from tlearn.data.uploads import STAGING
from tlearn.web.access import AccessMiddleware, has_openid
from tlearn.web.navigation import show_failure
from tlearn.web.transfers import ROUTES
from tlearn.web.workspace import Workspace

SCRIPT = Path(__file__).parent / "pages" / "script.py"
LOG = logging.getLogger("tlearn.web")
SWITCH = 0.0005  # seconds after which work in the background lets a page go first
GRACE = 1.0  # seconds that open connections have to end by themselves
# Nothing is sent anywhere, nothing is watched, and errors go to a log instead of the screen.
SETTINGS: Mapping[str, Any] = {
    "browser.gatherUsageStats": False,
    "client.showErrorDetails": "none",
    "client.toolbarMode": "minimal",
    "logger.hideWelcomeMessage": True,
    "server.fileWatcherType": "none",
    "server.headless": True,  # else it opens an address without the token
    "server.maxUploadSize": 200,  # MB: of the camera; other uploads have a way of their own
    "server.runOnSave": False,
    "logger.level": "error",
    "theme.light.primaryColor": "#0b6e4f",
    "theme.dark.primaryColor": "#208563",
}


@contextlib.asynccontextmanager
async def lifespan(app: Any, token: str, browser: bool) -> AsyncIterator[None]:
    """Before the first page: print the address, open the log, remove interrupted uploads.

    Args:
        app: The app of Streamlit.
        token: The token in the address.
        browser: Whether to open the address in a browser.
    """
    address = page_address(st.get_option("server.address"), st.get_option("server.port"), token)
    print(f"tlearn: {address}  (Ctrl-C ends it; trainings go on)", flush=True)
    places = Workspace.from_environment()
    places.runs.mkdir(parents=True, exist_ok=True)
    handler = RotatingFileHandler(places.log, maxBytes=2_000_000, backupCount=2, delay=True)
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    LOG.addHandler(handler)
    for folder in (places.data / STAGING, places.predictions):
        if folder.is_dir() and not folder.is_symlink():
            process_folder(folder.resolve())
    places.queue.wake()
    sys.setswitchinterval(SWITCH)
    _end_soon()
    if browser:
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
    show_failure(Workspace.from_environment().log)
    return True


def page_address(host: str | None, port: int, token: str) -> str:
    """Return the address of the page as a browser on this machine takes it."""
    if not host or host in ("127.0.0.1", "0.0.0.0", "::"):
        host = "localhost"
    query = f"/?token={token}" if token else ""
    return f"http://{f'[{host}]' if ':' in host else host}:{port}{query}"


def arguments(browser: bool | None = None) -> dict[str, Any]:
    """Return what ``st.App`` is made with, beside its script.

    Args:
        browser: Whether to open the page in a browser; by default where somebody would see it.
    """
    token = "" if has_openid() else secrets.token_urlsafe(24)
    browser = _has_browser() if browser is None else browser
    return {
        "routes": list(ROUTES),
        "middleware": [Middleware(AccessMiddleware, token=token)],
        "lifespan": functools.partial(lifespan, token=token, browser=browser),
        "on_script_error": on_error,
    }


def _has_browser() -> bool:
    """Tell whether somebody is there who would see a browser open."""
    window = sys.platform != "linux" or os.environ.keys() & {"DISPLAY", "WAYLAND_DISPLAY"}
    return sys.stdout.isatty() and bool(window)


def serve(host: str, port: int, browser: bool | None = None) -> None:
    """Serve the page until it is stopped.

    Args:
        host: The address to listen on.
        port: The port.
        browser: Whether to open the page in a browser; by default where somebody would see it.
    """
    settings = {**SETTINGS, "server.address": host, "server.port": port}
    # Streamlit takes what stands behind the program's name for arguments of the script.
    sys.argv = [os.fspath(SCRIPT)]
    app = st.App(SCRIPT, **arguments(browser))
    set_log_level("error")  # else it remarks that these settings differ from those it has read
    app.run(config=settings)
