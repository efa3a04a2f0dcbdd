"""Counts requests and measures how long they take."""

import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tlearn.serving.server_metrics import REQUEST_SECONDS, REQUESTS


class RequestMetrics:
    """Middleware that counts requests by address and status."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and count it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        start, status = time.perf_counter(), 499  # where the client has gone

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, watched)
        finally:
            # The route, not what a stranger typed: each label is kept for good.
            route = scope.get("route")
            path = getattr(route, "path", "other")
            REQUESTS.labels(path, str(status)).inc()
            REQUEST_SECONDS.labels(path).observe(time.perf_counter() - start)
