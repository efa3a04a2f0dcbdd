"""What every request passes first: the key, and what is counted."""

import hmac
import time

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tlearn.serving.server_metrics import REQUEST_SECONDS, REQUESTS
from tlearn.serving.service import Service

KEY_HEADER = "X-API-Key"
OPEN = ("/health", "/ready", "/docs", "/openapi.json")  # without the key


class Reception:
    """Middleware that asks for the key, counts requests, and measures how long they take.

    Clients are asked to leave their connections once the server is about to stop.

    Args:
        app: What answers.
        service: Whose state and key it goes by.
    """

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self.app, self.service, self.key = app, service, service.settings.key

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it, and count it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        start, status = time.perf_counter(), 499  # where the client has gone

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                if not self.service.ready:
                    MutableHeaders(scope=message)["Connection"] = "close"
            await send(message)

        answer = self.app
        if self.key and scope["path"] not in OPEN and not self._has_key(Headers(scope=scope)):
            answer = JSONResponse({"detail": f"send the key in the header {KEY_HEADER}"}, 401)
        try:
            await answer(scope, receive, watched)
        except Exception:
            status = 500  # which is sent outside of this
            raise
        finally:
            # The route, not what a stranger typed: each label is kept for good.
            path = getattr(scope.get("route"), "path", "other")
            REQUESTS.labels(path, str(status)).inc()
            REQUEST_SECONDS.labels(path).observe(time.perf_counter() - start)

    def _has_key(self, headers: Headers) -> bool:
        bearer = headers.get("authorization", "").removeprefix("Bearer ")
        given = headers.get(KEY_HEADER) or bearer
        return hmac.compare_digest(given.encode("latin-1"), self.key.encode())
