"""Access to the page: a random token in its address, or Streamlit's OpenID Connect login."""

import functools
import html
import secrets

import streamlit as st
from starlette.datastructures import URL
from starlette.requests import HTTPConnection
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tlearn.web.i18n import texts_for

CROSS_SITE = "Cross-site request blocked. Behind a proxy? Make it forward the Host header."
LOG_IN = "Log in first."
# No other site may show the page in a frame, nor see in a referrer which page was open.
HEADERS = (
    (b"content-security-policy", b"frame-ancestors 'self'"),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"same-origin"),
)


@functools.cache  # so that removing the section while the server runs does not open the page
def has_openid() -> bool:
    """Return whether ``.streamlit/secrets.toml`` configures Streamlit's own login."""
    try:
        return "auth" in st.secrets
    except FileNotFoundError:
        return False


class AccessMiddleware:
    """Middleware that protects all requests, including uploads and web sockets.

    Every request has to bring the token, on this machine too, where other users and other sites
    could reach the page. ``?token=...`` in the address of any page is exchanged for a cookie. With
    OpenID Connect, for which ``token`` is empty, the pages ask for the login, and only reading
    pages is allowed before it.
    """

    def __init__(self, app: ASGIApp, token: str) -> None:
        self.app, self.token = app, token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        answer = self._answer(HTTPConnection(scope))
        if scope["type"] == "http":
            await (answer or self.app)(scope, receive, _with_headers(send))
        elif answer is None:
            await self.app(scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": 4403})

    def _answer(self, request: HTTPConnection) -> Response | None:
        """Return the response that refuses or redirects, or ``None`` for an allowed request."""
        if _is_cross_site(request):
            return PlainTextResponse(CROSS_SITE, 403)
        if not self.token:
            is_page = not request.scope["path"].startswith("/tlearn/")
            reads = is_page and request.scope.get("method", "GET") in ("GET", "HEAD")
            return None if reads or _is_logged_in(request) else PlainTextResponse(LOG_IN, 401)
        # Cookies are shared by all ports of a host.
        cookie = f"tlearn_{(request.scope.get('server') or ('', ''))[1]}"
        if self._is_token(request.query_params.get("token", "")):
            page = request.url.remove_query_params("token")
            answer = RedirectResponse(_path_of(page), 303)
            secure = request.headers.get("x-forwarded-proto", page.scheme) == "https"
            answer.set_cookie(cookie, self.token, httponly=True, samesite="lax", secure=secure)
            return answer
        return None if self._is_token(request.cookies.get(cookie, "")) else _token_form(request)

    def _is_token(self, given: str) -> bool:
        return secrets.compare_digest(given.encode(errors="replace"), self.token.encode())


def _is_cross_site(request: HTTPConnection) -> bool:
    """Return whether a page of another site sent a request, unless by a link that was clicked."""
    origin = request.headers.get("origin")
    if origin is not None:
        return origin.partition("://")[2] != request.headers.get("host")
    site, mode = (request.headers.get(f"sec-fetch-{name}") for name in ("site", "mode"))
    return site in ("cross-site", "same-site") and mode != "navigate"


def _is_logged_in(request: HTTPConnection) -> bool:
    """Return whether the user has logged in with OpenID Connect, by Streamlit's signed cookie."""
    from streamlit.web.server.server_util import get_cookie_secret
    from streamlit.web.server.starlette.starlette_app_utils import decode_signed_value
    from streamlit.web.server.starlette.starlette_server_config import USER_COOKIE_NAME

    secret, value = get_cookie_secret(), request.cookies.get(USER_COOKIE_NAME, "")
    return bool(secret) and decode_signed_value(secret, USER_COOKIE_NAME, value) is not None


def _path_of(url: URL) -> str:
    """Return path and query; more slashes at the front would name another host."""
    return "/" + url.path.lstrip("/\\") + (f"?{url.query}" if url.query else "")


def _with_headers(send: Send) -> Send:
    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", ()), *HEADERS]}
        await send(message)

    return send_with_headers


def _token_form(request: HTTPConnection) -> Response:
    """Return a page that asks for the token."""
    if "text/html" not in request.headers.get("accept", ""):
        return PlainTextResponse(LOG_IN, 401)
    t = texts_for(request.headers.get("accept-language", "").split(",")[0])
    words = {key: html.escape(t(f"login.{key}")) for key in ("title", "hint", "token", "button")}
    page = FORM.format(language=t.language, **words)
    return HTMLResponse(page, 401, {"Cache-Control": "no-store"})


FORM = """<!doctype html><html lang="{language}"><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1"><title>tlearn</title>
<style>:root {{ color-scheme: light dark; font: 1.1rem/1.6 system-ui, sans-serif }}
body {{ max-width: 30rem; margin: 15vh auto; padding: 1rem }}
input, button {{ font: inherit; padding: .4rem .8rem }}</style>
<h1>{title}</h1><p>{hint}</p>
<form action="/"><label>{token} <input name="token" type="password" required autofocus></label>
<button>{button}</button></form></html>
"""
