"""Who may come in: this machine alone, or whoever has logged in."""

import asyncio
import functools
import html
import ipaddress
import re
import time
from collections import deque
from urllib.parse import parse_qs, urlsplit

import anyio.to_thread
import streamlit as st
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect, HTTPConnection, Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tlearn.errors import ConfigError
from tlearn.web.i18n import texts_for
from tlearn.web.passwords import (
    SESSION,
    is_valid,
    new_ticket,
    password_hash,
    right,
)

COOKIE = "tlearn_session"
TRIES, WINDOW = 5, 60.0  # wrong passwords per address, in so many seconds
ALL_TRIES = 50  # from all addresses together, in the same time
LONGEST_FORM = 4096  # bytes
HOST = re.compile(r"(\[[\da-fA-F:.]+\]|[\w.-]+)(?::\d{1,5})?", re.ASCII)
# Proxies add these. What comes through one may come from anywhere, though it ends here.
FORWARDED = ("forwarded", "via", "x-real-ip")
# No other site may show our pages in a frame, where it could lead the hand that clicks.
FRAMES = [
    (b"content-security-policy", b"frame-ancestors 'self'"),
    (b"x-frame-options", b"SAMEORIGIN"),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"same-origin"),
]
REFUSED = 4403  # closes a web socket
ELSEWHERE = (
    "This request came from another site, or through a proxy that does not pass on the name in "
    "Host; it is refused."
)
NOT_HERE = (
    "tlearn answers on this machine's own address (http://localhost) alone, and not through a "
    "proxy, because no password is set. Set one with 'tlearn ui --set-password'."
)


@functools.cache  # decided once: else to take the login away would let everybody in
def openid() -> bool:
    """Tell whether Streamlit's own login, with OpenID Connect, is configured."""
    try:
        return "auth" in st.secrets
    except FileNotFoundError:
        return False


def is_local(host: str) -> bool:
    """Tell whether an address or a host's name is this machine's own, reached by nobody else."""
    if host.lower() == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host.removeprefix("[").removesuffix("]"))
    except ValueError:
        return False
    # A socket of both kinds has 127.0.0.1 as ::ffff:127.0.0.1.
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback


class AccessMiddleware:
    """Middleware before everything else, pages, pictures, uploads and web sockets alike.

    Without a login, only connections from this machine to its own address are served, and only
    under its own name, so that no page of another site can reach in (DNS rebinding), and not
    through a proxy. A proxy on this machine that hides that it is one cannot be told from a
    browser: one that others can reach needs a password.

    With a password, a cookie that only we can make is asked for; web sockets that are open end
    with it. With Streamlit's own login (OpenID Connect), the pages ask for it, and who has not
    logged in can send nothing.

    Args:
        app: What stands behind.
        openid: Whether Streamlit's login is configured.
    """

    def __init__(self, app: ASGIApp, openid: bool = False) -> None:
        self.app, self.openid = app, openid
        self.wrong: deque[tuple[float, str]] = deque()  # when, and from where; ALL_TRIES at most
        self.hashing = asyncio.Lock()  # each try takes 32 MiB: one at a time

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let in, ask for the password, or refuse."""
        if scope["type"] == "http":
            answer = await self._answer(Request(scope, receive))
            await (answer or self.app)(scope, receive, _unframed(send))
        elif scope["type"] != "websocket":
            await self.app(scope, receive, send)
        elif self._refusal(HTTPConnection(scope)):
            await send({"type": "websocket.close", "code": REFUSED})
        else:
            await self.app(scope, *self._watched(scope, receive, send))

    async def _answer(self, request: Request) -> Response | None:
        """Return what to answer instead of the page, or ``None`` to let the request in."""
        login = request.scope["path"].rstrip("/") == "/login"
        if login and request.method == "POST" and not _from_elsewhere(request):
            kept = _kept()
            if kept:
                return await self._tried(request, kept)
        refusal = self._refusal(request)
        return RedirectResponse("/", 303) if login and not refusal else refusal

    def _refusal(self, asked: HTTPConnection) -> Response | None:
        """Return why not to let somebody in, or ``None``."""
        if _from_elsewhere(asked):
            return PlainTextResponse(ELSEWHERE, 403)
        kept = _kept()
        if kept is None:
            return PlainTextResponse("The kept password is damaged; set it again.", 503)
        if kept:
            if is_valid(asked.cookies.get(COOKIE, ""), kept):
                return None
            path = asked.scope["path"].rstrip("/")
            if path in ("", "/login") or "text/html" in asked.headers.get("accept", ""):
                return _form(asked, "", 401)
            return PlainTextResponse("Log in first.", 401)
        if self.openid:
            sends = asked.scope.get("method", "GET") not in ("GET", "HEAD")
            return PlainTextResponse("Log in first.", 401) if sends and not _known(asked) else None
        return None if _is_here(asked) else PlainTextResponse(NOT_HERE, 403)

    async def _tried(self, request: Request, kept: str) -> Response:
        """Look at a password that somebody tries."""
        body = b""
        try:
            async for chunk in request.stream():
                body += chunk
                if len(body) > LONGEST_FORM:
                    return PlainTextResponse("Too long.", 413)
        except ClientDisconnect:
            return PlainTextResponse("", 400)  # heard by nobody
        given = parse_qs(body.decode("utf-8", "replace")).get("password", [""])[0]
        # Counted before it is looked at, and at once: else many could be tried side by side.
        attempt = self._counted(request.client.host if request.client else "")
        if attempt is None:
            return _form(request, "login.too_many", 429)
        async with self.hashing:
            fits = await anyio.to_thread.run_sync(right, given, kept)
        if not fits:
            return _form(request, "login.wrong", 401)
        if attempt in self.wrong:
            self.wrong.remove(attempt)
        answer = RedirectResponse("/", 303)
        secure = request.headers.get("x-forwarded-proto", request.url.scheme) == "https"
        answer.set_cookie(
            COOKIE, new_ticket(kept), SESSION, httponly=True, samesite="strict", secure=secure
        )
        return answer

    def _counted(self, address: str) -> tuple[float, str] | None:
        """Count a try; return it, or ``None`` if there were too many of late."""
        now, place = time.monotonic(), _network(address)
        while self.wrong and self.wrong[0][0] < now - WINDOW:
            self.wrong.popleft()
        if len(self.wrong) >= ALL_TRIES or sum(one[1] == place for one in self.wrong) >= TRIES:
            return None
        self.wrong.append((now, place))
        return self.wrong[-1]

    def _watched(self, scope: Scope, receive: Receive, send: Send) -> tuple[Receive, Send]:
        """Close an open web socket as soon as it would no longer be let in."""
        closed = False

        async def ends() -> bool:
            nonlocal closed
            if not closed and self._refusal(HTTPConnection(scope)):
                closed = True
                await send({"type": "websocket.close", "code": REFUSED})
            return closed

        async def watched_receive() -> Message:
            message = await receive()
            if message["type"] == "websocket.receive" and await ends():
                return {"type": "websocket.disconnect", "code": REFUSED}
            return message

        async def watched_send(message: Message) -> None:
            if not await ends():
                await send(message)

        return watched_receive, watched_send


def _kept() -> str | None:
    """Return the password's hash, empty where none is set, ``None`` if it cannot be read."""
    try:
        return password_hash()
    except ConfigError:
        return None


def _network(address: str) -> str:
    """Return what stands for all addresses that one sender can take: of IPv6, he has 2^64."""
    try:
        known = ipaddress.ip_address(address)
    except ValueError:
        return ""
    if isinstance(known, ipaddress.IPv6Address) and not known.ipv4_mapped:
        return str(ipaddress.ip_network((int(known) >> 64 << 64, 64)))
    return str(getattr(known, "ipv4_mapped", None) or known)


def _is_here(asked: HTTPConnection) -> bool:
    """Tell whether it is a program on this machine that asks, under this machine's own name."""
    proxied = any(name in FORWARDED or name.startswith("x-forwarded") for name in asked.headers)
    ends = [asked.scope.get("server"), asked.scope.get("client")]
    named = HOST.fullmatch(asked.headers.get("host", ""))
    return bool(
        not proxied
        and asked.scope.get("http_version") != "1.0"  # of no browser, but of proxies
        and all(end and is_local(end[0]) for end in ends)
        and named
        and is_local(named[1])
    )


def _from_elsewhere(asked: HTTPConnection) -> bool:
    """Tell whether another site's page sent this: its origin is not the host it asks."""
    headers: Headers = asked.headers
    hosts, origins = headers.getlist("host"), headers.getlist("origin")
    if len(hosts) > 1 or len(origins) > 1:
        return True  # two readers could take two of them
    if headers.get("sec-fetch-site") in ("cross-site", "same-site"):
        return headers.get("sec-fetch-mode") != "navigate" or bool(origins)
    try:
        return any(urlsplit(origin).netloc not in hosts for origin in origins)
    except ValueError:
        return True


def _known(asked: HTTPConnection) -> bool:
    """Tell whether somebody has logged in with Streamlit's own login, by its signed cookie."""
    from streamlit.web.server.server_util import get_cookie_secret
    from streamlit.web.server.starlette.starlette_app_utils import decode_signed_value
    from streamlit.web.server.starlette.starlette_server_config import USER_COOKIE_NAME

    secret, shown = get_cookie_secret(), asked.cookies.get(USER_COOKIE_NAME, "")
    return bool(secret) and decode_signed_value(secret, USER_COOKIE_NAME, shown) is not None


def _unframed(send: Send) -> Send:
    async def unframed(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", ()), *FRAMES]}
        await send(message)

    return unframed


def _form(asked: HTTPConnection, problem: str, status: int) -> Response:
    t = texts_for(asked.headers.get("accept-language", "").split(",")[0])
    said = f'<p role="alert">{html.escape(t(problem))}</p>' if problem else ""
    page = FORM.format(
        lang=t.language,
        title=html.escape(t("login.title")),
        said=said,
        label=html.escape(t("login.password")),
        button=html.escape(t("login.button")),
    )
    headers = {"Cache-Control": "no-store"}
    if status == 429:
        headers["Retry-After"] = str(int(WINDOW))
    return HTMLResponse(page, status, headers)


FORM = """<!doctype html><html lang="{lang}"><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1"><title>tlearn</title>
<style>
:root {{ color-scheme: light dark; font: 1rem/1.5 system-ui, sans-serif }}
body {{ display: grid; place-content: center; min-height: 90vh; margin: 0; padding: 1rem }}
form {{ display: grid; gap: .75rem; width: min(20rem, 90vw) }}
input, button {{ font: inherit; padding: .6rem .8rem; border-radius: .5rem }}
input {{ border: 1px solid #8888 }}
button {{ background: #0b6e4f; color: #fff; border: 0; cursor: pointer }}
[role=alert] {{ color: #c22; margin: 0 }}
</style>
<form method="post" action="/login"><h1>tlearn</h1>{said}
<label for="password">{label}</label>
<input id="password" name="password" type="password" autocomplete="current-password" required
 autofocus><button>{button}</button></form></html>
"""
