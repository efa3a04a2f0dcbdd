"""Uploads, streamed to disk.

A large file is the body of a request, with its path as ``?name=``. Many small ones are a form: a
field ``names``, a JSON list of their paths, and as many fields ``file``; a field ``last`` says that
nothing comes after it. Requests need the token of
an upload that a page began.
"""

import contextlib
import json
import logging
import threading
import time
from functools import partial
from pathlib import Path
from typing import BinaryIO

from anyio.to_thread import run_sync
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from tlearn.data.uploads import ENDED, Upload
from tlearn.errors import DataError
from tlearn.web.i18n import texts_for

UPLOAD = "/tlearn/upload/{token}"
FORM_FILES, FORM_BYTES = 500, 64 << 20  # of one form
CHUNK = 1 << 20
LIFETIME = 24 * 3600.0  # seconds that an idle upload is valid
LOG = logging.getLogger("tlearn.web")

_lock = threading.Lock()
_uploads: dict[str, tuple[float, Upload]] = {}  # with the time of the last request


def new_upload(root: Path, tables: bool = False) -> Upload:
    """Begin an upload into a data root; uploads that were idle for a day are removed.

    With ``tables``, tables are taken beside images.

    Raises:
        DataError: If the data root cannot be written to.
    """
    upload, now = Upload(root, tables=tables), time.monotonic()
    with _lock:
        old = [u for since, u in _uploads.values() if now - since > LIFETIME or not u.is_open]
        for expired in old:
            del _uploads[expired.token]
        _uploads[upload.token] = (now, upload)
    for expired in old:
        expired.cancel()
    return upload


def find_upload(token: str) -> Upload | None:
    """Return the open upload of a token."""
    with _lock:
        _, upload = _uploads.get(token, (0.0, None))
        if upload is None or not upload.is_open:
            return None
        _uploads[token] = (time.monotonic(), upload)
        return upload


async def receive(request: Request) -> Response:
    """Handle a request of an upload; ``DELETE`` cancels it."""
    upload = find_upload(request.path_params["token"])
    if request.method == "DELETE":
        if upload is not None:
            await run_sync(upload.cancel)
        return JSONResponse({})
    try:
        if upload is None:
            raise DataError(ENDED)
        if "name" in request.query_params:
            await _receive_file(request, upload)
        else:
            await _receive_form(request, upload)
        return JSONResponse({"files": upload.files, "bytes": upload.bytes})
    except ClientDisconnect:
        return PlainTextResponse("", 408)  # nobody receives it
    except DataError as error:
        problem = str(error)
    except HTTPException as error:  # of the form
        problem = f"the upload is damaged: {error.detail}; send it again"
    except Exception:  # a defect of ours ends this request alone
        LOG.exception("an upload failed")
        problem = "the upload failed; the log has more"
    with contextlib.suppress(ClientDisconnect, RuntimeError):  # it may be read to its end already
        async for _ in request.stream():
            pass  # browsers read the response after they have sent everything
    t = texts_for(request.headers.get("accept-language", "").split(",")[0])
    return JSONResponse({"error": t.message(problem)}, 400)


async def _receive_file(request: Request, upload: Upload) -> None:
    stack = contextlib.ExitStack()
    try:
        file = await run_sync(stack.enter_context, upload.receiving(request.query_params["name"]))
        async for chunk in request.stream():
            await run_sync(upload.write, file, chunk)
    except BaseException as error:
        stack.__exit__(type(error), error, error.__traceback__)
        raise
    await run_sync(stack.close)


async def _receive_form(request: Request, upload: Upload) -> None:
    if int(request.headers.get("content-length", FORM_BYTES + 1)) > FORM_BYTES:
        raise DataError(f"the upload is damaged: a form has at most {FORM_BYTES:,} bytes")
    async with request.form(max_files=FORM_FILES, max_part_size=FORM_BYTES) as form:
        files = [file.file for file in form.getlist("file") if isinstance(file, UploadFile)]
        try:
            names = json.loads(str(form.get("names")))
        except (ValueError, RecursionError):
            names = None
        if not isinstance(names, list) or len(names) != len(files):
            raise DataError("the upload is damaged: files and names do not match; send it again")
        # JSON may contain lone surrogates, which could not be displayed.
        texts = [str(name).encode("utf-8", "replace").decode() for name in names]
        await run_sync(_receive_all, upload, [*zip(texts, files, strict=True)])
        upload.complete = "last" in form


def _receive_all(upload: Upload, files: list[tuple[str, BinaryIO]]) -> None:
    for name, sent in files:
        with upload.receiving(name) as file:
            for chunk in iter(partial(sent.read, CHUNK), b""):
                upload.write(file, chunk)
