"""Downloads of runs, streamed from disk: ``NAME.keras`` is the model, ``NAME.zip`` all of it."""

import os
import tempfile
import zipfile
from pathlib import Path
from urllib.parse import quote

from anyio.to_thread import run_sync
from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.types import Receive, Scope, Send

from tlearn.errors import TlearnError
from tlearn.web.i18n import texts_for
from tlearn.web.workspace import Workspace

DOWNLOAD = "/tlearn/run/{file}"
HEADERS = {"Cache-Control": "no-store"}


def run_url(file: str) -> str:
    """Return the address of ``NAME.keras`` or ``NAME.zip``."""
    return DOWNLOAD.format(file=quote(file, safe=""))


async def send_run(request: Request) -> Response:
    """Send a run or its model."""
    file = request.path_params["file"]
    name, _, kind = file.rpartition(".")
    here = Workspace.from_environment()
    try:
        run = here.run_store.path_of(name)
        if kind == "zip":
            path = await run_sync(zip_run, run, here.scratch)
            return _TemporaryFile(path, filename=file, headers=HEADERS)
        if kind == "keras" and (run / "model.keras").is_file():
            return FileResponse(run / "model.keras", filename=file, headers=HEADERS)
        problem = f"there is no file {file!r} any more; load the page again"
    except TlearnError as error:
        problem = str(error)
    except OSError as error:
        problem = f"the file cannot be read: {error.strerror}"
    t = texts_for(request.headers.get("accept-language", "").split(",")[0])
    return PlainTextResponse(t.message(problem), 404)


class _TemporaryFile(FileResponse):
    """Sends a file and removes it, even if the browser disconnects."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            Path(self.path).unlink(missing_ok=True)


def zip_run(path: Path, scratch: Path) -> Path:
    """Pack a run into a file of its own in ``scratch``, which others on the machine cannot read."""
    handle, name = tempfile.mkstemp(".zip", dir=scratch)
    os.close(handle)
    try:
        with zipfile.ZipFile(name, "w") as archive:
            for found in sorted(path.rglob("*")):
                archive.write(found, found.relative_to(path.parent))
    except BaseException:
        Path(name).unlink()
        raise
    return Path(name)
