"""HTTP/1.1 of uvicorn, which gives up on connections that hold resources and ask for nothing."""

import asyncio
import re
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

OFFER = re.compile(rb"\r\nupgrade:", re.IGNORECASE)


class PatientProtocol(HttpToolsProtocol):
    """Limits what uvicorn does not: heads, and the time for them, for unread bodies and answers.

    Attributes:
        head_bytes: Of the request line and the headers, at most.
        head_seconds: From the first connection, or the first byte of a further request, to the end
            of its headers.
        unread_seconds: That a body may still come after its request was refused: the connection is
            not closed at once, or the client would lose the answer while it sends.
        answer_seconds: That a client may take to read most of an answer.
    """

    head_bytes = 64 * 1024
    head_seconds = 10.0
    unread_seconds = 10.0
    answer_seconds = 60.0
    _closing: asyncio.TimerHandle | None = None
    _aborting: asyncio.TimerHandle | None = None
    _answering: RequestResponseCycle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Expect a head."""
        super().connection_made(transport)
        self._expect_head()

    def on_message_begin(self) -> None:
        """Expect a head."""
        super().on_message_begin()
        self._expect_head()

    def on_headers_complete(self) -> None:
        """Leave the time that the body takes to the application."""
        self._in_head, self._in_body = False, True
        self._close_after(None)
        super().on_headers_complete()

    def data_received(self, data: bytes) -> None:
        """Refuse a head without an end, and read on past the offer of another protocol.

        As Java's client offers HTTP/2 with its first request, whose body the parser would drop.
        """
        if self._in_head and (offer := OFFER.search(data, 0, data.find(b"\r\n\r\n") + 1)):
            data = data[: offer.start()] + b"\r\nx-offer:" + data[offer.end() :]
        super().data_received(data)
        if self._in_head:
            self._head += len(data)
            if self._head > self.head_bytes and not self.transport.is_closing():
                self.send_400_response("The head of the request is too large.")

    def on_response_complete(self) -> None:
        """Give what is left of a refused body some seconds."""
        super().on_response_complete()
        if self._in_body and self.cycle.response_complete:
            self._close_after(self.unread_seconds)

    def on_message_complete(self) -> None:
        """Wait for a further request as uvicorn does where the body came before the answer."""
        self._in_body = False
        super().on_message_complete()
        if self.cycle.response_complete:
            self._close_after(self.timeout_keep_alive)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the request that is answered, too: of several, uvicorn tells the last alone."""
        super().connection_lost(exc)
        if self._answering:
            self._answering.disconnected = True
            self._answering.message_event.set()
        self._close_after(None)

    def pause_writing(self) -> None:
        """Give the client some time to read what fills the buffer."""
        super().pause_writing()
        self._aborting = self.loop.call_later(self.answer_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        """Go on, as it has read most of it."""
        super().resume_writing()
        if self._aborting:
            self._aborting.cancel()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._answering = cycle
        super()._start_asgi_task(cycle, app)

    def _expect_head(self) -> None:
        self._in_head, self._in_body, self._head = True, False, 0
        self._close_after(self.head_seconds)

    def _close_after(self, seconds: float | None) -> None:
        """Close the connection after so many seconds, and not as was said before."""
        if self._closing:
            self._closing.cancel()
        self._closing = None if seconds is None else self.loop.call_later(seconds, self._close)

    def _close(self) -> None:
        """Close the connection, unless it waits for an answer and has begun a further request."""
        if self.cycle is None or self.cycle.response_complete:
            self.timeout_keep_alive_handler()
