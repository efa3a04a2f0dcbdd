"""The server of the web page: Streamlit with access control and routes for files."""

import contextlib
import functools
import gc
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
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route
from streamlit.logger import set_log_level

from tlearn.data.process_folder import process_folder
from tlearn.data.uploads import STAGING
from tlearn.web.access import AccessMiddleware, has_openid
from tlearn.web.downloads import DOWNLOAD, EXPORT, send_export, send_run
from tlearn.web.live import LIVE, receive_picture
from tlearn.web.transfers import UPLOAD, receive
from tlearn.web.words import t
from tlearn.web.workspace import Workspace

SCRIPT = Path(__file__).parent / "pages" / "script.py"


async def first_page(request: Request) -> Response:
    """Send a browser to the first page, which Streamlit serves without its name."""
    query = request.url.query
    return RedirectResponse(f"/?{query}" if query else "/")


ROUTES = [
    Route(UPLOAD, receive, methods=["POST", "DELETE"]),
    Route(DOWNLOAD, send_run, methods=["GET"]),
    Route(EXPORT, send_export, methods=["GET"]),
    Route(LIVE, receive_picture, methods=["POST"]),
    Route("/data", first_page, methods=["GET"]),
]
LOG = logging.getLogger("tlearn.web")
SWITCH = 0.0005  # seconds after which a background thread yields to a page
YOUNG = 50_000  # new objects after which garbage is looked for: a large set is that many
GRACE = 1.0  # seconds that open connections have to close
# No telemetry, no file watching, and errors go to a log instead of the screen.
SETTINGS: Mapping[str, Any] = {
    "browser.gatherUsageStats": False,
    "client.showErrorDetails": "none",
    "client.toolbarMode": "minimal",
    "logger.hideWelcomeMessage": True,
    "runner.postScriptGC": False,  # else every view looks at all objects, also those of large sets
    # Else a click while a page is being shown begins a second thread beside the first on one
    # state: the widgets of both get mixed up, and the page may stay blank.
    "runner.fastReruns": False,
    "server.fileWatcherType": "none",
    "server.headless": True,  # else it opens an address without the token
    "server.maxUploadSize": 200,  # MB: of the camera; other uploads use tlearn's routes
    "server.runOnSave": False,
    "logger.level": "error",
    "theme.light.primaryColor": "#0b6e4f",
    "theme.dark.primaryColor": "#208563",
}


@contextlib.asynccontextmanager
async def lifespan(app: Any, token: str, browser: bool) -> AsyncIterator[None]:
    """Before the first page: print the address, open the log, remove interrupted uploads."""
    address = page_address(st.get_option("server.address"), st.get_option("server.port"), token)
    print(f"tlearn: {address}  (Ctrl-C ends it; trainings continue)", flush=True)
    workspace = Workspace.from_environment()
    workspace.runs.mkdir(parents=True, exist_ok=True)
    handler = RotatingFileHandler(workspace.log, maxBytes=2_000_000, backupCount=2, delay=True)
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    LOG.addHandler(handler)
    for folder in (workspace.data / STAGING, workspace.predictions):
        if folder.is_dir() and not folder.is_symlink():
            process_folder(folder.resolve())
    workspace.queue.wake()
    sys.setswitchinterval(SWITCH)
    gc.freeze()  # what was imported stays, and is not looked at again
    gc.set_threshold(YOUNG, *gc.get_threshold()[1:])
    _limit_shutdown()
    if browser:
        threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()
    yield
    LOG.removeHandler(handler)
    handler.close()


def _limit_shutdown() -> None:
    """Exit soon after a signal, whether connections are open or not."""
    if threading.current_thread() is not threading.main_thread():
        return  # signals come to the main thread alone

    def handle(server_handler: Any, number: int, frame: Any) -> None:
        timer = threading.Timer(GRACE, os._exit, (130,))
        timer.daemon = True
        timer.start()
        server_handler(number, frame)

    for number in (signal.SIGINT, signal.SIGTERM):
        server_handler = signal.getsignal(number)  # waits for all connections to close
        if callable(server_handler):
            signal.signal(number, functools.partial(handle, server_handler))


def on_error(error: Exception) -> bool:
    """Log the traceback of an error, and show a sentence instead."""
    LOG.error("a page failed", exc_info=error)
    failure = t("common.failure", log=Workspace.from_environment().log)
    st.error(failure, icon=":material/error:")
    return True


def page_address(host: str | None, port: int, token: str) -> str:
    """Return the address of the page for a browser on this machine."""
    if not host or host in ("127.0.0.1", "0.0.0.0", "::"):
        host = "localhost"
    query = f"/?token={token}" if token else ""
    return f"http://{f'[{host}]' if ':' in host else host}:{port}{query}"


def arguments(browser: bool | None = None) -> dict[str, Any]:
    """Return the arguments of ``st.App`` beside its script; ``browser`` as in :func:`serve`."""
    token = "" if has_openid() else secrets.token_urlsafe(24)
    browser = _has_browser() if browser is None else browser
    return {
        "routes": ROUTES,
        "middleware": [Middleware(AccessMiddleware, token=token)],
        "lifespan": functools.partial(lifespan, token=token, browser=browser),
        "on_script_error": on_error,
    }


def _has_browser() -> bool:
    """Return whether this is a terminal on a machine with a display."""
    window = sys.platform != "linux" or os.environ.keys() & {"DISPLAY", "WAYLAND_DISPLAY"}
    return sys.stdout.isatty() and bool(window)


def serve(host: str, port: int, browser: bool | None = None) -> None:
    """Serve the page until it is stopped; open a ``browser``, by default where there is one."""
    settings = {**SETTINGS, "server.address": host, "server.port": port}
    sys.argv = [os.fspath(SCRIPT)]  # Streamlit passes the rest on to the script
    app = st.App(SCRIPT, **arguments(browser))
    set_log_level("error")  # else it remarks that these settings differ from those it has read
    app.run(config=settings)
