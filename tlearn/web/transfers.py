"""Uploads and downloads beside the pages, streamed: to disk as they come, from disk as they go.

A browser sends files in requests of many, one after another, each as a header and its bytes:
four bytes with the length of the header (big-endian), the header (JSON: ``name``, ``size``), and
``size`` bytes. Only a page can begin an upload; the token that it gets is asked for here.
"""

import contextlib
import json
import logging
import secrets
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from tlearn.data.archives import Limits
from tlearn.data.problems import Problem
from tlearn.data.uploads import ENDED, Upload
from tlearn.errors import DataError, TlearnError

UPLOAD = "/tlearn/upload/{token}"
FILE = "/tlearn/file/{token}"
PART = 1 << 20  # bytes that are written at once
LONGEST_HEADER = 16_384  # bytes
MOST_REFUSED = Limits().files  # of one upload; the page shows them
LONGEST_NAME = 500  # characters of a refused file's name that are kept
STILL = 120.0  # seconds without a byte after which a browser is taken to have gone
DRAINED = 64 << 20  # bytes that are read and thrown away, so that a browser hears the answer
KEPT = 24 * 3600.0  # seconds that a link to a file works, or an upload waits
MOST_LINKS = 10_000
LOG = logging.getLogger("tlearn.web")

_lock = threading.Lock()
_uploads: dict[str, tuple[float, Upload]] = {}  # when it was last asked for
_files: dict[str, tuple[float, Callable[[], Path], str, type[FileResponse]]] = {}


def begin_upload(root: Path) -> Upload:
    """Begin an upload into a data root; a page gives its token to the browser.

    Those that nobody has asked for in a day are removed.

    Raises:
        DataError: If the data root cannot be written to.
    """
    upload, now = Upload.begin(root), time.monotonic()
    with _lock:
        old = [one for since, one in _uploads.values() if now - since > KEPT or not one.is_open]
        for one in old:
            del _uploads[one.token]
        _uploads[upload.token] = (now, upload)
    for one in old:
        one.cancel()
    return upload


def find_upload(token: str) -> Upload | None:
    """Return an upload that was begun and not ended."""
    with _lock:
        _, upload = _uploads.get(token, (0.0, None))
        if upload is None or not upload.is_open:
            return None
        _uploads[token] = (time.monotonic(), upload)
        return upload


def end_upload(token: str) -> Upload | None:
    """Take no more for an upload; return it."""
    with _lock:
        return _uploads.pop(token, (0.0, None))[1]


class _TemporaryFileResponse(FileResponse):
    """Sends a file and removes it, also where the browser breaks off."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            Path(self.path).unlink(missing_ok=True)


def offer_file(make: Callable[[], Path], name: str, temporary: bool = False) -> str:
    """Return the address under which a browser can fetch a file.

    Args:
        make: Gives the file when it is fetched.
        name: What the browser calls it.
        temporary: Whether the file is removed once it was sent.
    """
    token = secrets.token_urlsafe(16)
    now = time.monotonic()
    with _lock:
        while _files:  # the oldest stand first
            oldest = next(iter(_files))
            if len(_files) < MOST_LINKS and now - _files[oldest][0] <= KEPT:
                break
            del _files[oldest]
        response = _TemporaryFileResponse if temporary else FileResponse
        _files[token] = (now, make, name, response)
    return FILE.format(token=token)


class UploadDecoder:
    """Reads files out of a stream of bytes, and puts them into an upload.

    Raises:
        DataError: If the stream is none of ours.
    """

    def __init__(self, upload: Upload) -> None:
        self.upload = upload
        self.buffer = bytearray()
        self.left = 0  # bytes of the current file still to come
        self.inside = False
        self.sink: Any = None  # None also while the bytes of a refused file pass by
        self.stack = contextlib.ExitStack()
        self.name = ""

    def feed(self, data: bytes) -> None:
        """Take the next bytes."""
        self.buffer += data
        while self._step():
            pass

    def _step(self) -> bool:
        """Read one thing out of the buffer, if it is there whole."""
        if not self.inside:
            return self._begin()
        part = bytes(self.buffer[: self.left])
        del self.buffer[: len(part)]
        self.left -= len(part)
        if self.sink is not None and part:
            try:
                self.sink.write(part)
            except DataError as error:
                self._refuse(error)
        if self.left == 0:
            self._end()
            return bool(self.buffer)
        return False

    def _begin(self) -> bool:
        if len(self.buffer) < 4:
            return False
        length = int.from_bytes(self.buffer[:4], "big")
        if length > LONGEST_HEADER:
            raise DataError("the upload is damaged: a header is too long; send it again")
        if len(self.buffer) < 4 + length:
            return False
        self.name, self.left = _header(bytes(self.buffer[4 : 4 + length]))
        del self.buffer[: 4 + length]
        self.inside = True
        try:
            self.sink = self.stack.enter_context(self.upload.receiving(self.name, self.left))
        except DataError as error:
            self._refuse(error)
        return True

    def _end(self) -> None:
        self.inside, self.sink = False, None
        try:
            self.stack.close()
        except DataError as error:
            self._refuse(error)

    def _refuse(self, error: DataError) -> None:
        """Leave a file out, and go on with the next."""
        self.sink = None
        with contextlib.suppress(DataError):
            self.stack.__exit__(DataError, error, None)
        self.stack = contextlib.ExitStack()
        if len(self.upload.left_out) >= MOST_REFUSED:
            raise DataError(
                f"more than {MOST_REFUSED:,} files were refused; send images, or archives of images"
            )
        # A page could not show halves of characters.
        name = self.name[:LONGEST_NAME].encode("utf-8", "replace").decode()
        self.upload.left_out.append(Problem(name, "refused", str(error)))

    def abort(self) -> None:
        """Drop the file that is not there whole."""
        if self.sink is not None:
            self._refuse(DataError("the upload was broken off"))

    def finish(self) -> None:
        """Check that nothing is missing at the end."""
        if self.inside or self.buffer:
            raise DataError("the upload broke off in the middle of a file; send it again")


def _header(data: bytes) -> tuple[str, int]:
    """Return the name and the size of the file that follows."""
    try:
        header = json.loads(data)
        name, size = header["name"], header["size"]
    except (ValueError, KeyError, TypeError, RecursionError):
        name = size = None
    if not isinstance(name, str) or type(size) is not int or size < 0:
        raise DataError("the upload is damaged: a header cannot be read; send it again")
    return name, size


async def receive(request: Request) -> Response:
    """Take one request of an upload, whatever comes: what fails is told, and the page goes on."""
    token = request.path_params["token"]
    upload = find_upload(token)
    if request.method == "DELETE":
        upload = end_upload(token)
        if upload is not None:
            await anyio.to_thread.run_sync(upload.cancel)
        return JSONResponse({})
    if upload is None:
        return await _failed(request, ENDED, 404)
    frames = UploadDecoder(upload)
    try:
        await _take(request, frames)
        problem = ""
    except (ClientDisconnect, TimeoutError):
        return PlainTextResponse("", 408)  # heard by nobody
    except DataError as error:
        problem = str(error)
    except OSError as error:
        problem = f"the upload cannot be kept: {error.strerror or error}; make room on the disk"
    except Exception:  # a defect of ours ends this request alone
        LOG.exception("an upload failed")
        problem = "the upload failed; the log has more"
    finally:
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(_let_go, frames, token)
    if find_upload(token) is None:
        return await _failed(request, ENDED, 404)
    if problem:
        return await _failed(request, problem, 400)
    return JSONResponse({"files": upload.files, "bytes": upload.bytes})


async def _take(request: Request, frames: UploadDecoder) -> None:
    """Read a request to its end; what is held in memory stays below two parts."""
    part, stream = bytearray(), request.stream()
    while True:
        with anyio.fail_after(STILL):
            chunk = await anext(stream, None)
        part += chunk or b""
        if len(part) >= PART or chunk is None:
            await anyio.to_thread.run_sync(frames.feed, bytes(part))
            part.clear()
        if chunk is None:
            return await anyio.to_thread.run_sync(frames.finish)


def _let_go(frames: UploadDecoder, token: str) -> None:
    """Leave nothing behind of a file that did not come whole, or of an upload that has ended."""
    with contextlib.suppress(DataError):
        frames.abort()
    if find_upload(token) is None:
        frames.upload.cancel()  # again: a file may have come in between


async def _failed(request: Request, problem: str, status: int) -> Response:
    """Say what is wrong; first hear the browser out, which else would take it for no answer."""
    left = DRAINED
    with contextlib.suppress(ClientDisconnect, RuntimeError), anyio.move_on_after(STILL):
        async for chunk in request.stream():  # RuntimeError: it was read to its end before
            left -= len(chunk)
            if left < 0:
                break
    return JSONResponse({"error": problem}, status)


async def give(request: Request) -> Response:
    """Send a file that a page has offered."""
    with _lock:
        offered = _files.get(request.path_params["token"])
    if offered is None:
        return PlainTextResponse("This link is no longer valid; load the page again.", 404)
    _, make, name, response = offered
    try:
        path = await anyio.to_thread.run_sync(make)
        if not path.is_file():
            raise DataError(f"there is no file {path.name!r} any more; load the page again")
    except TlearnError as error:
        return PlainTextResponse(str(error), 404)
    except OSError as error:
        return PlainTextResponse(f"The file cannot be read: {error.strerror}", 404)
    return response(path, filename=name, headers={"Cache-Control": "no-store"})


ROUTES = [
    Route(UPLOAD, receive, methods=["POST", "DELETE"]),
    Route(FILE, give, methods=["GET"]),
]
