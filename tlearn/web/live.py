"""Live pictures of a camera: the page sends them one by one and gets probabilities back.

``POST /tlearn/live/RUN`` with an image as its body is answered with the likeliest classes. With
``?keep=1`` the image is put into a folder of its own instead, and the answer names that.
"""

import secrets
import shutil
from functools import partial
from pathlib import Path
from urllib.parse import quote

from anyio.to_thread import run_sync
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from tlearn.errors import DataError, TlearnError
from tlearn.web.background import Recent
from tlearn.web.i18n import texts_for
from tlearn.web.live_process import live_classifier
from tlearn.web.workspace import Workspace

LIVE = "/tlearn/live/{run}"
LARGEST = 40 << 20  # bytes of a picture
# Folders of photos, by their names, until they are predicted.
PHOTOS = Recent[str, Path](20, partial(shutil.rmtree, ignore_errors=True))


def live_url(run: str) -> str:
    """Return the address for pictures of a run."""
    return LIVE.format(run=quote(run, safe=""))


async def receive_picture(request: Request) -> Response:
    """Classify a picture, or keep it."""
    here = Workspace.from_environment()
    try:
        run = here.run_store.path_of(request.path_params["run"])
        picture = await _body(request)
        if request.query_params.get("keep"):
            return JSONResponse({"folder": await run_sync(_keep, here.scratch, picture)})
        record = await run_sync(live_classifier(run).answer, picture)
        return JSONResponse(record | {"path": ""})
    except ClientDisconnect:
        return PlainTextResponse("", 408)  # nobody receives it
    except TlearnError as error:
        problem = str(error)
    except OSError as error:
        problem = f"the photo cannot be kept: {error.strerror}"
    t = texts_for(request.headers.get("accept-language", "").split(",")[0])
    return JSONResponse({"error": t.message(problem)}, 400)


async def _body(request: Request) -> bytes:
    parts, size = [], 0
    async for part in request.stream():
        parts.append(part)
        size += len(part)
        if size > LARGEST:
            raise DataError(f"the photo is larger than {LARGEST >> 20} MB; take a smaller one")
    return b"".join(parts)


def _keep(scratch: Path, picture: bytes) -> str:
    folder = scratch / secrets.token_hex(8)
    folder.mkdir(parents=True)
    (folder / "camera.jpg").write_bytes(picture)
    PHOTOS[folder.name] = folder
    return folder.name
