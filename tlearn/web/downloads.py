"""Downloads of runs, streamed from disk.

``NAME.keras`` is the model, ``NAME.html`` the report, ``NAME.zip`` all of it.
"""

import os
import tempfile
import zipfile
from collections.abc import Awaitable, Callable
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
EXPORT = "/tlearn/export/{run}/{form}"
HEADERS = {"Cache-Control": "no-store"}
# A report is a page of its own: sections of plugins may run scripts there, but not as this page.
SANDBOX = {"Content-Security-Policy": "sandbox allow-scripts allow-popups"}


def run_url(file: str) -> str:
    """Return the address of ``NAME.keras`` or ``NAME.zip``."""
    return DOWNLOAD.format(file=quote(file, safe=""))


def report_url(run: str) -> str:
    """Return the address of the report of a run."""
    return run_url(f"{run}.html")


def export_url(run: str, form: str) -> str:
    """Return the address of a run in a format, as a zip."""
    return EXPORT.format(run=quote(run, safe=""), form=quote(form, safe=""))


async def send_run(request: Request) -> Response:
    """Send a run or its model."""
    file = request.path_params["file"]
    name, _, kind = file.rpartition(".")

    async def send(run: Path, scratch: Path) -> Response | None:
        if kind == "zip":
            return _TemporaryFile(await run_sync(zip_folder, run, scratch), file)
        if kind == "html" and (run / "report.html").is_file():
            return FileResponse(run / "report.html", headers=HEADERS | SANDBOX)
        if kind == "keras" and (run / "model.keras").is_file():
            return FileResponse(run / "model.keras", filename=file, headers=HEADERS)
        return None

    return await _answer(request, name, file, send)


async def send_export(request: Request) -> Response:
    """Send what a run was exported to, as a zip."""
    name, form = request.path_params["run"], request.path_params["form"]

    async def send(run: Path, scratch: Path) -> Response | None:
        forms = [folder for folder in (run / "export").glob("*") if folder.name == form]
        if not forms:
            return None
        return _TemporaryFile(await run_sync(zip_folder, forms[0], scratch), f"{name}-{form}.zip")

    return await _answer(request, name, form, send)


async def _answer(
    request: Request,
    name: str,
    file: str,
    send: Callable[[Path, Path], Awaitable[Response | None]],
) -> Response:
    """Send a file of a run, or say in the language of the browser why there is none."""
    here = Workspace.from_environment()
    problem = f"there is no file {file!r} any more; load the page again"
    try:
        answer = await send(here.run_store.path_of(name), here.scratch)
        if answer is not None:
            return answer
    except TlearnError as error:
        problem = str(error)
    except OSError as error:
        problem = f"the file cannot be read: {error.strerror}"
    t = texts_for(request.headers.get("accept-language", "").split(",")[0])
    return PlainTextResponse(t.message(problem), 404)


class _TemporaryFile(FileResponse):
    """Sends a file and removes it, even if the browser disconnects."""

    def __init__(self, path: Path, name: str) -> None:
        super().__init__(path, filename=name, headers=HEADERS)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            Path(self.path).unlink(missing_ok=True)


def zip_folder(path: Path, scratch: Path) -> Path:
    """Pack a folder into a file of its own in ``scratch``, which other users cannot read."""
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
