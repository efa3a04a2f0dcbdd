"""The body of a request, received within the limits of the server."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import HTTPException, Request

from tlearn.serving.admission import Admission
from tlearn.serving.server_settings import ServerSettings


@asynccontextmanager
async def receiving(
    request: Request, in_memory: Admission, settings: ServerSettings
) -> AsyncIterator[bytes]:
    """Give the body of a request; its bytes count as in memory until the block ends.

    They are counted as they come, not as they are announced: a client that announces much and sends
    little takes nothing from others.

    Raises:
        HTTPException: 400 if its length is no number, 408 if it does not come in time, 413 if it is
            too large, 415 if it is compressed.
        BusyError: If there are too many bytes of all requests.
    """
    encoding = request.headers.get("content-encoding", "identity")
    if encoding.lower() != "identity":
        raise HTTPException(415, f"a body in {encoding!r} is not read; send it as it is")
    announced = request.headers.get("content-length", "0")
    if not announced.isdecimal():
        raise HTTPException(400, "Content-Length is no number")
    if int(announced) > settings.request_bytes:
        raise _too_large(settings)
    size, parts = 0, list[bytes]()
    try:
        try:
            async with asyncio.timeout(settings.seconds):
                async for part in request.stream():
                    if size + len(part) > settings.request_bytes:
                        raise _too_large(settings)
                    in_memory.add(len(part))
                    size += len(part)
                    parts.append(part)
        except TimeoutError:
            late = f"the body did not come within {settings.seconds:g} s; send less, or faster"
            raise HTTPException(408, late, {"Connection": "close"}) from None
        parts[:] = [b"".join(parts)]
        yield parts.pop()  # so that it is in memory no longer than the caller needs it
    finally:
        in_memory.remove(size)


def _too_large(settings: ServerSettings) -> HTTPException:
    most = settings.request_bytes / 1e6
    return HTTPException(413, f"the request has more than {most:g} MB; send less at a time")
