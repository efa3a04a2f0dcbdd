"""Who gets in: whoever brings the token, or has logged in with OpenID Connect."""

import asyncio
import re
import signal
import socket
import tomllib

import psutil
import pytest
from conftest import ROOT
from serving import Server, ask, free_port, http, upgrade, websocket
from starlette.applications import Starlette

from tlearn.cli import main
from tlearn.web import access, server
from tlearn.web.access import CROSS_SITE, AccessMiddleware, has_openid

TOKEN = "a-token-of-the-test"
COOKIE = {"cookie": f"x=y; tlearn_8501={TOKEN}"}
# What a site of somebody else sends, or what cannot be told from it.
CROSS_SITES = (
    *(
        {"origin": origin}
        for origin in (
            "http://evil.example",
            "null",
            "",
            "http://localhost:3000",
            "http://localhost",
            "http://[::1",
            "http://localhost:8501.evil.example",
            "http://evil@localhost:8501",
            "//localhost:8501://evil.example",
        )
    ),
    {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"},
    {"sec-fetch-site": "same-site", "sec-fetch-mode": "cors"},
    {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "origin": "null"},
)
OWN_PAGES = (
    {"origin": "http://localhost:8501"},
    {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"},  # a link that was clicked
    {"sec-fetch-site": "same-origin", "sec-fetch-mode": "cors"},
    {"sec-fetch-site": "none", "sec-fetch-mode": "navigate"},
)
PATHS = (
    "/",
    "//",
    "/data",
    "/%64ata",
    "/_stcore/health",
    "/_stcore/upload_file/a/b",
    "/media/a.png",
    "/static/js/index.js",
    "/component/x",
    "/tlearn/upload/abc",
    "/tlearn/run/abc.zip",
    "/tlearn/export/abc/onnx",
)


class Page:
    """What stands behind: says 'inside', and repeats what a web socket sends."""

    def __init__(self):
        self.reached = []

    async def __call__(self, of, receive, send):
        self.reached.append(of.get("path", of["type"]))
        if of["type"] == "http":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"inside"})
        elif of["type"] == "websocket":
            await receive()
            await send({"type": "websocket.accept"})
            while (message := await receive())["type"] == "websocket.receive":
                await send({"type": "websocket.send", "text": message["text"]})


@pytest.fixture
def page():
    return Page()


@pytest.fixture
def guarded(page):
    return AccessMiddleware(page, TOKEN)


def opened(app, headers):
    """Open a web socket and say hello; return what comes back."""
    return websocket(app, {"type": "websocket.receive", "text": "hello"}, headers=headers)


def test_nothing_is_reached_without_the_token(guarded, page):
    wrong = ("", "x", TOKEN[:-1], TOKEN + "0", "\udcff", "é", TOKEN.upper())
    for path in PATHS:
        for method in ("GET", "HEAD", "OPTIONS", "POST", "PUT", "DELETE"):
            assert ask(guarded, path, method).status == 401
    for token in wrong:
        query = f"token={token}".encode(errors="replace")
        assert ask(guarded, query_string=query).status == 401
        cookie = {"cookie": f"tlearn_8501={token}".encode(errors="replace").decode("latin-1")}
        assert ask(guarded, headers=cookie).status == 401
    assert ask(guarded, headers={"cookie": f"tlearn_8502={TOKEN}"}).status == 401
    assert [m["type"] for m in opened(guarded, {})] == ["websocket.close"]
    assert page.reached == []


def test_the_token_in_an_address_becomes_a_cookie(guarded, page):
    answer = ask(guarded, "/results", query_string=f"run=a%26b&token={TOKEN}&x=1".encode())
    assert (answer.status, answer.headers["location"]) == (303, "/results?run=a%26b&x=1")
    cookie = answer.headers["set-cookie"]
    assert all(word in cookie.lower() for word in ("httponly", "samesite=lax", "path=/"))
    assert "secure" not in cookie.lower() and page.reached == []
    headers = {"cookie": cookie.split(";")[0]}
    for path in PATHS:
        assert ask(guarded, path, "POST", headers).body == b"inside"
    assert opened(guarded, headers)[-1]["text"] == "hello"
    proxied = ask(
        guarded, headers={"x-forwarded-proto": "https"}, query_string=f"token={TOKEN}".encode()
    )
    assert "secure" in proxied.headers["set-cookie"].lower()
    for path in ("//evil.example/x", "/\\evil.example", "///evil.example"):
        away = ask(guarded, path, query_string=f"token={TOKEN}".encode()).headers["location"]
        assert re.match(r"/[^/\\]", away)


def test_a_browser_without_the_token_is_asked_for_it(guarded):
    answer = ask(guarded, "/data", headers={"accept": "text/html,*/*", "accept-language": "zh-CN"})
    assert answer.status == 401 and answer.headers["cache-control"] == "no-store"
    text = answer.body.decode()
    assert 'name="token"' in text and 'lang="zh"' in text
    odd = ask(guarded, headers={"accept": "text/html", "accept-language": "../../etc/passwd"})
    assert 'lang="en"' in odd.body.decode() and "tlearn printed" in odd.body.decode()


def test_pages_of_other_sites_are_blocked(page):
    for app in (AccessMiddleware(page, TOKEN), AccessMiddleware(page, "")):
        for headers in CROSS_SITES:
            for method in ("GET", "POST", "DELETE"):
                answer = ask(app, "/tlearn/upload/abc", method, {**COOKIE, **headers})
                assert (answer.status, answer.body.decode()) == (403, CROSS_SITE)
            assert [m["type"] for m in opened(app, {**COOKIE, **headers})] == ["websocket.close"]
    assert page.reached == []


def test_own_pages_and_links_pass(guarded):
    for headers in OWN_PAGES:
        assert ask(guarded, headers={**COOKIE, **headers}).status == 200
        assert opened(guarded, {**COOKIE, **headers})[0]["type"] == "websocket.accept"


def test_no_other_site_can_frame_a_page(guarded):
    for headers in ({}, COOKIE, {"origin": "http://evil.example"}):
        answer = ask(guarded, headers=headers)
        assert answer.headers["content-security-policy"] == "frame-ancestors 'self'"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "same-origin"


def test_the_server_s_own_messages_pass(guarded, page):
    asyncio.run(guarded({"type": "lifespan"}, None, None))
    assert page.reached == ["lifespan"]


def test_with_openid_connect_nothing_can_be_sent_before_the_login(page):
    from streamlit.web.server.server_util import get_cookie_secret
    from streamlit.web.server.starlette.starlette_app_utils import create_signed_value

    app = AccessMiddleware(page, "")
    assert ask(app).status == 200  # the page asks for the login
    assert opened(app, {})[0]["type"] == "websocket.accept"
    for value in ("", "x", "a.b.c"):
        headers = {"cookie": f"_streamlit_user={value}"}
        for method in ("PUT", "POST", "DELETE"):
            assert ask(app, "/_stcore/upload_file/a/b", method, headers).status == 401
        assert ask(app, "/tlearn/run/a.zip", headers=headers).status == 401
    signed = create_signed_value(get_cookie_secret(), "_streamlit_user", "{}")
    headers = {"cookie": f"_streamlit_user={signed.decode()}"}
    assert ask(app, "/_stcore/upload_file/a/b", "PUT", headers).status == 200
    assert ask(app, "/tlearn/run/a.zip", headers=headers).status == 200


def test_openid_connect_takes_the_place_of_the_token_and_is_read_once(monkeypatch):
    has_openid.cache_clear()
    try:
        monkeypatch.setattr(access.st, "secrets", {"auth": {"client_id": "x"}})
        assert server.arguments()["lifespan"].keywords["token"] == ""
        monkeypatch.setattr(access.st, "secrets", {})
        assert has_openid()
    finally:
        has_openid.cache_clear()
    tokens = {server.arguments()["lifespan"].keywords["token"] for _ in range(3)}
    assert len(tokens) == 3 and min(map(len, tokens)) >= 32


def test_the_address_is_one_that_a_browser_takes():
    for host in ("127.0.0.1", "0.0.0.0", "::", "", None):
        assert server.page_address(host, 80, "x") == "http://localhost:80/?token=x"
    assert server.page_address("::1", 80, "") == "http://[::1]:80"
    assert server.page_address("photos.example", 80, "") == "http://photos.example:80"


def test_the_first_page_is_found_by_its_name():
    app = Starlette(routes=server.ROUTES)
    for query, found in ((b"", "/"), (b"data=a%20b", "/?data=a%20b")):
        answer = ask(app, "/data", query_string=query)
        assert (answer.status, answer.headers["location"]) == (307, found)


def test_settings_are_the_same_however_it_is_started():
    def flat(table, above=""):
        for key, value in table.items():
            if isinstance(value, dict):
                yield from flat(value, f"{above}{key}.")
            else:
                yield above + key, value

    text = (ROOT / ".streamlit" / "config.toml").read_text("utf-8")
    assert dict(flat(tomllib.loads(text))) == {**server.SETTINGS, "server.address": "127.0.0.1"}


def test_an_address_that_cannot_be_listened_on_is_told(capsys, tmp_path):
    roots = ("--data-root", str(tmp_path / "data"), "--runs-root", str(tmp_path / "runs"))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        for host in ("127.0.0.1", "192.0.2.1", "nowhere.invalid", "unix://x", "a" * 99):
            code = main(["ui", "--no-browser", "--host", host, "--port", port, *roots])
            told = capsys.readouterr()
            assert (code, told.out, told.err.count("\n")) == (2, "", 1)
            assert "cannot be listened on" in told.err and "choose another --port" in told.err


def hosts():
    """The addresses of this machine, of IPv4."""
    return [
        one.address
        for interface in psutil.net_if_addrs().values()
        for one in interface
        if one.family == socket.AF_INET
    ]


def test_a_server_wants_the_printed_token_and_ends_soon(tmp_path):
    interrupted = [tmp_path / "data/.uploads/x/photo", tmp_path / "runs/.predictions/y/photo"]
    for path in interrupted:
        path.parent.mkdir(parents=True)
        path.write_text("of a server that was killed")
    with Server.ui(tmp_path) as running:
        assert not any(path.exists() for path in interrupted)
        port = running.port
        assert (http(port)[0], http(port, "/_stcore/health")[0], upgrade(port)) == (401, 401, 403)
        cookie = running.cookie()
        assert http(port, Cookie=cookie)[0] == 200
        assert http(port, "/_stcore/health", Cookie=cookie)[0] == 200
        assert upgrade(port, Cookie=cookie, Origin=f"http://localhost:{port}") == 101
        for headers in ({"Origin": "http://evil.example"}, {"Host": "evil.example"}):
            origin = {"Origin": f"http://localhost:{port}", **headers}
            assert http(port, Cookie=cookie, **origin)[0] == 403
            assert upgrade(port, Cookie=cookie, **origin) == 403
        with socket.create_connection(("127.0.0.1", port)) as hanging:  # holds nothing up
            hanging.sendall(
                f"POST /tlearn/upload/x HTTP/1.1\r\nHost: localhost:{port}\r\nCookie: {cookie}"
                "\r\nContent-Length: 9\r\n\r\nx".encode()
            )
            code, said = running.ended(signal.SIGINT)
        first, _, rest = said.partition("\n")
        assert re.fullmatch(
            rf"tlearn: http://localhost:{port}/\?token=\S{{32}}  \(Ctrl-C ends it; .*\)", first
        )
        assert rest.strip() in ("", "tlearn: stopped")
        assert code in (0, 130)


def test_streamlit_run_on_every_address_wants_the_token(tmp_path):
    port = free_port()
    command = ["-m", "streamlit", "run", "streamlit_app.py", "--server.port", str(port)]
    command += ["--server.address", "0.0.0.0"]
    with Server(tmp_path, *command, port=port, cwd=ROOT) as running:
        cookie = running.cookie()
        for host in hosts():
            assert http(port, host=host)[0] == 401
            assert upgrade(port, host=host) == 403
            assert http(port, host=host, Host="photos.example", Cookie=cookie)[0] == 200
            assert upgrade(port, host=host, Host="photos.example", Cookie=cookie) == 101
        code, said = running.ended(signal.SIGTERM)
        assert "Traceback" not in said
        assert code in (0, 130, -signal.SIGTERM)
