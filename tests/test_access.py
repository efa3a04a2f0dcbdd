"""The gate before the page: who comes in, who does not, and what he is told."""

import asyncio
import io
import os
import re
import signal
import socket
import subprocess
import sys
import tomllib
import unicodedata
from urllib.parse import quote_plus

import psutil
import pytest
from conftest import ROOT
from serving import Server, ask, asked, free_port, http, scope, upgrade, websocket

from tlearn.cli import main
from tlearn.errors import ConfigError
from tlearn.web import access, passwords, server
from tlearn.web.access import ALL_TRIES, TRIES, WINDOW, AccessMiddleware, is_local, openid
from tlearn.web.passwords import (
    config_file,
    is_valid,
    new_ticket,
    password_hash,
    right,
    set_password,
)

PASSWORD = "correct horse battery"
COST = dict(passwords.COST)
FAR = {"client": ("203.0.113.9", 50_000), "server": ("192.0.2.1", 8501)}


@pytest.fixture(autouse=True)
def config(tmp_path, monkeypatch):
    monkeypatch.setenv("TLEARN_CONFIG", str(tmp_path / "config"))
    monkeypatch.setitem(passwords.COST, "n", 2)  # hundreds of hashes are made here
    openid.cache_clear()
    yield tmp_path / "config"
    openid.cache_clear()


@pytest.fixture
def full_cost(config, monkeypatch):
    """Hash as other processes do."""
    monkeypatch.setitem(passwords.COST, "n", COST["n"])


@pytest.fixture
def cookie(config):
    """Set the password; return the header of a browser that has logged in."""
    set_password(PASSWORD)
    return {"cookie": f"{access.COOKIE}={new_ticket(password_hash())}"}


class Page:
    """What stands behind the gate: says 'inside', and opens web sockets."""

    def __init__(self):
        self.reached = []

    async def __call__(self, of, receive, send):
        self.reached.append(of["path"] if "path" in of else of["type"])
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
def door(page):
    return AccessMiddleware(page)


def tried(door, password, address="203.0.113.9", **headers):
    """Send the form of the login."""
    body = f"password={quote_plus(password)}".encode()
    of = {**FAR, "client": (address, 50_000)}
    return ask(door, "/login", "POST", headers, [body], **of)


def text(words="hello"):
    return {"type": "websocket.receive", "text": words}


# Without a login


@pytest.mark.parametrize(
    ("address", "host"),
    [
        ("127.0.0.1", "localhost:8501"),
        ("127.0.0.1", "127.0.0.1:8501"),
        ("127.0.0.1", "LocalHost"),
        ("::1", "[::1]:8501"),
        ("::ffff:127.0.0.1", "127.0.0.1:8501"),
        ("127.8.9.1", "localhost"),
    ],
)
def test_this_machine_comes_in_without_a_login(door, address, host):
    ends = {"server": (address, 8501), "client": (address, 50_000)}
    assert ask(door, headers={"host": host}, **ends).body == b"inside"
    assert websocket(door, text(), headers={"host": host}, **ends)[-1]["text"] == "hello"


@pytest.mark.parametrize(
    "given",
    [
        *(
            {"headers": {"host": host}}
            for host in (
                None,
                "",
                "evil.example",
                "evil.example:8501",
                "127.0.0.1.evil.example",
                "localhost.",
                "x.localhost",
                "localhost@evil.example",
                "evil.example@localhost",
                "[::1",
                "[::1]x",
                "localhost:8501:1",
                "localhost/..",
                "0.0.0.0",
                "[::]",
                "192.0.2.1",
                "2130706433",
            )
        ),
        {"headers": [("host", "evil.example"), ("host", "localhost")]},
        {"headers": [("host", "localhost"), ("host", "localhost")]},
        *(
            {"headers": {name: "203.0.113.9"}}
            for name in (
                "forwarded",
                "via",
                "x-real-ip",
                "x-forwarded-for",
                "x-forwarded-host",
                "x-forwarded-proto",
                "x-forwarded-anything",
            )
        ),
        {"http_version": "1.0"},
        {"server": ("192.0.2.1", 8501)},
        {"server": ("::ffff:192.0.2.1", 8501)},
        {"server": None},
        {"client": ("192.0.2.7", 5)},
        {"client": ("::ffff:192.0.2.7", 5)},
        {"client": None},
        {"server": ("0.0.0.0", 8501)},
        {"server": ("/run/socket", None)},
    ],
    ids=str,
)
def test_others_stay_out_without_a_login(door, page, given):
    for path in ("/", "/login", "/_stcore/health", "/media/a.png", "/tlearn/upload/abc"):
        assert ask(door, path, **given).status == 403
    assert [m["type"] for m in websocket(door, text(), **given)] == ["websocket.close"]
    assert page.reached == []


def test_who_is_refused_is_told_what_to_do(door):
    assert b"tlearn ui --set-password" in ask(door, **FAR).body


@pytest.mark.parametrize("kind", ["alone", "password", "openid"])
@pytest.mark.parametrize(
    "headers",
    [
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
                "http://evil@localhost:8502",
            )
        ),
        [("origin", "http://localhost:8501"), ("origin", "http://evil.example")],
        {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"},
        {"sec-fetch-site": "same-site", "sec-fetch-mode": "cors"},
        {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "origin": "null"},
    ],
    ids=str,
)
def test_pages_of_other_sites_stay_out(page, kind, headers, config):
    door = AccessMiddleware(page, openid=kind == "openid")
    pairs = list(headers.items()) if isinstance(headers, dict) else headers
    if kind == "password":
        set_password(PASSWORD)
        pairs.append(("cookie", f"{access.COOKIE}={new_ticket(password_hash())}"))
    for method, path in (("GET", "/"), ("POST", "/login"), ("DELETE", "/tlearn/upload/abc")):
        assert ask(door, path, method, pairs, [b"password=x"]).status == 403
    assert [m["type"] for m in websocket(door, headers=pairs)] == ["websocket.close"]
    assert page.reached == []


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://localhost:8501"},
        {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"},  # a link that was clicked
        {"sec-fetch-site": "same-origin", "sec-fetch-mode": "cors"},
        {"sec-fetch-site": "none", "sec-fetch-mode": "navigate"},
    ],
    ids=str,
)
def test_our_own_pages_and_links_come_in(door, headers):
    assert ask(door, headers=headers).status == 200
    assert websocket(door, headers=headers)[0]["type"] == "websocket.accept"


@pytest.mark.parametrize("path", ["/", "/login", "/x"])
def test_no_other_site_can_frame_a_page(door, path, cookie):
    for headers in ({}, cookie, {"origin": "http://evil.example"}):
        answer = ask(door, path, headers=headers)
        assert answer.headers["content-security-policy"] == "frame-ancestors 'self'"
        assert answer.headers["x-frame-options"] == "SAMEORIGIN"
        assert answer.headers["x-content-type-options"] == "nosniff"


def test_the_server_s_own_messages_pass(door, page):
    asyncio.run(door({"type": "lifespan"}, None, None))
    assert page.reached == ["lifespan"]


@pytest.mark.parametrize(
    ("host", "ours"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("localhost", True),
        ("::1", True),
        ("[::1]", True),
        ("::ffff:127.0.0.1", True),
        ("::ffff:7f00:1", True),
        ("0.0.0.0", False),
        ("::", False),
        ("", False),
        ("::ffff:0.0.0.0", False),
        ("192.0.2.1", False),
        ("::ffff:192.0.2.1", False),
        ("127.1", False),
        ("x.localhost", False),
        ("localhost.evil.example", False),
        ("fe80::1", False),
        ("unix:///tmp/x", False),
    ],
)
def test_what_is_this_machine_s_own_address(host, ours):
    assert is_local(host) is ours
    if ours:
        server.check_address(host)
    else:
        with pytest.raises(ConfigError, match="no login is configured"):
            server.check_address(host)
        set_password(PASSWORD)
        server.check_address(host)


# With a password


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "POST", "PUT", "DELETE", "TRACE"])
@pytest.mark.parametrize(
    "path",
    [
        "/",
        "//",
        "/data",
        "//login",
        "/login/x",
        "/login/../data",
        "/login;x",
        "/LOGIN",
        "/%6cogin",
        "/_stcore/health",
        "/_stcore/upload_file/a/b",
        "/_stcore/agent/mcp",
        "/media/a.png",
        "/static/js/index.js",
        "/component/x",
        "/tlearn/upload/abc",
        "/tlearn/file/abc",
    ],
)
def test_nothing_is_reached_without_the_cookie(door, page, cookie, path, method):
    form = [b"password=" + PASSWORD.encode()]
    for given in ({}, FAR):
        assert ask(door, path, method, parts=form, **given).status == 401
    assert page.reached == []


def test_a_browser_without_the_cookie_gets_the_form(door, page, cookie):
    answer = ask(door, "/data", headers={"accept": "text/html,*/*", "accept-language": "zh-CN"})
    assert answer.status == 401
    assert '<form method="post" action="/login">' in answer.body.decode()
    assert 'lang="zh"' in answer.body.decode()
    assert answer.headers["cache-control"] == "no-store"
    odd = ask(door, headers={"accept-language": "../../etc/passwd"})
    assert 'lang="en"' in odd.body.decode()
    assert [m["type"] for m in websocket(door, text())] == ["websocket.close"]
    assert page.reached == []


def test_the_right_password_opens_everything(door, cookie):
    answer = tried(door, PASSWORD)
    assert (answer.status, answer.headers["location"]) == (303, "/")
    given = answer.headers["set-cookie"].lower()
    assert all(word in given for word in ("httponly", "samesite=strict", "path=/", "max-age"))
    assert "secure" not in given
    shown = {"cookie": answer.headers["set-cookie"].split(";")[0]}
    assert ask(door, "/media/a.png", headers=shown, **FAR).body == b"inside"
    assert websocket(door, text(), headers=shown, **FAR)[-1]["text"] == "hello"
    assert ask(door, "/login", headers=shown, **FAR).headers["location"] == "/"
    secure = tried(door, PASSWORD, **{"x-forwarded-proto": "https"})
    assert "secure" in secure.headers["set-cookie"].lower()


def test_wrong_passwords_are_limited_by_address(door, cookie, monkeypatch):
    for _ in range(TRIES):
        answer = tried(door, PASSWORD + "!")
        assert answer.status == 401 and "That is not the password" in answer.body.decode()
    late = tried(door, PASSWORD)
    assert (late.status, late.headers["retry-after"]) == (429, "60")
    assert tried(door, PASSWORD, "203.0.113.10").status == 303
    now = access.time.monotonic()
    monkeypatch.setattr(access.time, "monotonic", lambda: now + WINDOW + 1)
    assert tried(door, PASSWORD).status == 303


@pytest.mark.parametrize(
    ("addresses", "statuses"),
    [
        (["2001:db8::1", "2001:db8::ffff:2"], {401, 429}),
        (["2001:db8::1", "2001:db8:0:1::1"], {401}),
        (["::ffff:192.0.2.1", "192.0.2.1"], {401, 429}),
        (["::ffff:192.0.2.1", "::ffff:192.0.2.2"], {401}),
        (["nonsense", "more of it"], {401, 429}),
    ],
    ids=str,
)
def test_one_sender_s_addresses_count_as_one(door, cookie, monkeypatch, addresses, statuses):
    monkeypatch.setattr(access, "right", lambda given, kept: False)
    tries = [tried(door, "x", addresses[n % 2]).status for n in range(TRIES + 1)]
    assert set(tries) == statuses


def test_many_addresses_are_limited_together_and_remembered_in_bounds(door, cookie, monkeypatch):
    monkeypatch.setattr(access, "right", lambda given, kept: False)
    statuses = [tried(door, "x", f"198.51.{n // 250}.{n % 250}").status for n in range(500)]
    assert statuses == [401] * ALL_TRIES + [429] * (500 - ALL_TRIES)
    assert len(door.wrong) == ALL_TRIES


def test_tries_side_by_side_are_no_way_around_the_limit(door, cookie, monkeypatch):
    looked = []
    monkeypatch.setattr(access, "right", lambda given, kept: looked.append(given) or False)

    async def all_at_once():
        of = scope("/login", "POST", **FAR)
        parts = [b"pass", b"word", b"=", b"x"]
        return await asyncio.gather(*(asked(door, of, *parts) for _ in range(40)))

    statuses = sorted(answer.status for answer in asyncio.run(all_at_once()))
    assert statuses == [401] * TRIES + [429] * (40 - TRIES)
    assert len(looked) == TRIES


def test_one_password_is_looked_at_at_a_time(door, cookie, monkeypatch):
    going, most = [], []

    def look(given, kept):
        going.append(given)
        most.append(len(going))
        access.time.sleep(0.01)
        going.remove(given)
        return False

    monkeypatch.setattr(access, "right", look)

    async def all_at_once():
        asking = (
            asked(door, scope("/login", "POST", client=(f"198.51.100.{n}", 1)), b"password=%d" % n)
            for n in range(8)
        )
        await asyncio.gather(*asking)

    asyncio.run(all_at_once())
    assert most == [1] * 8


@pytest.mark.parametrize("body", [b"", b"x", b"\xff\xfe", b"password", b"password=", b"=&&=;"])
def test_odd_forms_are_wrong_passwords(door, cookie, body):
    assert ask(door, "/login", "POST", parts=[body]).status == 401


def test_a_form_that_is_too_long_or_broken_off_costs_nothing(door, cookie):
    assert ask(door, "/login", "POST", parts=[b"password=", b"x" * 5000]).status == 413
    assert ask(door, "/login", "POST", parts=[b"password=x"], gone=True).status == 400
    assert not door.wrong


@pytest.mark.parametrize(
    "ticket",
    [
        "",
        ".",
        "x",
        "9999999999",
        "9999999999.",
        "9" * 5000 + ".0",
        "1e99.0",
        "-1.0",
        "9999999999.é",
        "\N{SUPERSCRIPT TWO}.0",
    ],
)
def test_made_up_tickets_are_worth_nothing(door, page, cookie, ticket):
    shown = {"cookie": f"{access.COOKIE}={ticket}"}
    assert ask(door, headers=shown).status == 401
    assert page.reached == []
    assert not is_valid(ticket, password_hash())


def test_a_ticket_cannot_be_altered_taken_elsewhere_or_kept_for_ever(cookie, monkeypatch):
    kept = password_hash()
    ticket = new_ticket(kept)
    until, _, signature = ticket.partition(".")
    assert is_valid(ticket, kept)
    assert not is_valid(f"{int(until) + 1}.{signature}", kept)
    assert not is_valid(f"{until}.{signature[:-1]}", kept)
    set_password(PASSWORD)  # the same, with another salt
    assert not is_valid(ticket, password_hash())
    monkeypatch.setattr(passwords.time, "time", lambda: int(until))
    assert not is_valid(ticket, kept)


def test_a_new_password_ends_what_is_open(door, cookie):
    sent = websocket(
        door, text("before"), lambda: set_password(PASSWORD + "2"), text("after"), headers=cookie
    )
    assert sent[1] == {"type": "websocket.send", "text": "before"}
    assert sent[2:] == [{"type": "websocket.close", "code": 4403}]
    assert ask(door, headers=cookie).status == 401


def test_nothing_more_is_sent_to_who_may_no_longer_listen(cookie):
    async def talking(of, receive, send):
        await receive()
        await send({"type": "websocket.accept"})
        set_password(PASSWORD + "2")
        for _ in range(3):
            await send({"type": "websocket.send", "text": "secret"})

    sent = websocket(AccessMiddleware(talking), headers=cookie)
    assert [m["type"] for m in sent] == ["websocket.accept", "websocket.close"]


def test_a_password_that_is_taken_away_leaves_this_machine_alone(door, cookie, page):
    config_file().unlink()
    assert ask(door, headers=cookie, **FAR).status == 403
    assert ask(door).status == 200
    opened = websocket(door, lambda: set_password(PASSWORD), text("after"))
    assert [m["type"] for m in opened] == ["websocket.accept", "websocket.close"]


@pytest.mark.parametrize(
    "damage",
    [b"", b"password: scrypt$x$y", b"password: [", b"\xff", b"- 1", b"password: 7", b"password:"],
)
def test_a_damaged_password_lets_nobody_in(door, page, cookie, damage):
    config_file().write_bytes(damage)
    for path, method in (("/", "GET"), ("/login", "POST")):
        assert ask(door, path, method, cookie).status == 503
    assert websocket(door, headers=cookie)[0]["type"] == "websocket.close"
    assert page.reached == []
    with pytest.raises(ConfigError, match="is damaged; set the password again"):
        password_hash()
    set_password(PASSWORD)
    assert tried(door, PASSWORD).status == 303


# The file


def test_a_try_is_dear_to_who_guesses():
    assert COST["n"] * COST["r"] * 128 >= 32 * 2**20  # bytes of memory


def test_a_salted_hash_is_all_that_is_kept(config):
    before = os.umask(0)
    try:
        file = set_password(PASSWORD)
    finally:
        os.umask(before)
    assert file == config / "ui.yaml"
    assert list(config.iterdir()) == [file]
    assert PASSWORD not in file.read_text("utf-8")
    if os.name == "posix":
        assert (file.stat().st_mode & 0o777, config.stat().st_mode & 0o777) == (0o600, 0o700)
    first = password_hash()
    set_password(PASSWORD)
    assert first != password_hash()
    assert right(PASSWORD, first) and right(PASSWORD, password_hash())
    assert not right(PASSWORD + " ", first) and not right("", first)


def test_a_password_is_the_same_on_every_keyboard(door):
    set_password(unicodedata.normalize("NFD", "größer als zehn"))
    assert tried(door, unicodedata.normalize("NFC", "größer als zehn")).status == 303


@pytest.mark.parametrize("password", ["", "short", "x" * 9, "x" * 201])
def test_passwords_have_a_length_that_helps(password, config):
    with pytest.raises(ConfigError, match="10 to 200 characters"):
        set_password(password)
    assert not config.exists()


def test_the_longest_password_fits_the_form(door):
    set_password("\N{GRINNING FACE}" * passwords.MOST)
    assert tried(door, "\N{GRINNING FACE}" * passwords.MOST).status == 303


def test_a_folder_that_is_none_is_told(config):
    config.write_text("a file")
    with pytest.raises(ConfigError, match=r"cannot be kept in .* set TLEARN_CONFIG"):
        set_password(PASSWORD)
    with pytest.raises(ConfigError, match="cannot be read"):
        password_hash()


# Streamlit's own login


def test_with_streamlit_s_login_the_pages_ask_and_nothing_can_be_sent_before(page):
    from streamlit.web.server.server_util import get_cookie_secret
    from streamlit.web.server.starlette.starlette_app_utils import create_signed_value

    door = AccessMiddleware(page, openid=True)
    host = {"host": "photos.example"}
    assert ask(door, headers=host, **FAR).status == 200
    assert websocket(door, headers=host, **FAR)[0]["type"] == "websocket.accept"
    for shown in ("", "x", "a.b.c"):
        headers = {**host, "cookie": f"_streamlit_user={shown}"}
        for method in ("PUT", "POST", "DELETE"):
            assert ask(door, "/_stcore/upload_file/a/b", method, headers, **FAR).status == 401
    signed = create_signed_value(get_cookie_secret(), "_streamlit_user", "{}")
    signed = signed.decode() if isinstance(signed, bytes) else signed
    headers = {**host, "cookie": f"_streamlit_user={signed}"}
    assert ask(door, "/_stcore/upload_file/a/b", "PUT", headers, **FAR).status == 200


def test_whether_streamlit_s_login_is_there_is_decided_once(monkeypatch):
    monkeypatch.setattr(access.st, "secrets", {"auth": {"client_id": "x"}})
    assert openid()
    monkeypatch.setattr(access.st, "secrets", {})
    assert openid()
    server.check_address("0.0.0.0")


# The command line


def test_settings_are_the_same_however_it_is_started():
    text = (ROOT / ".streamlit" / "config.toml").read_text("utf-8")

    def flat(table, above=""):
        for key, value in table.items():
            if isinstance(value, dict):
                yield from flat(value, f"{above}{key}.")
            else:
                yield above + key, value

    ours = dict(server.SETTINGS) | {"server.address": "127.0.0.1"}
    del ours["logger.hideWelcomeMessage"]  # 'tlearn ui' says itself where it is
    assert dict(flat(tomllib.loads(text))) == ours


def told(capsys, *arguments):
    code = main(["ui", "--no-browser", *arguments])
    return code, capsys.readouterr()


def test_other_addresses_are_refused_without_a_login(capsys, tmp_path):
    roots = ("--data-root", str(tmp_path / "data"), "--runs-root", str(tmp_path / "runs"))
    for host in ("0.0.0.0", "::", "192.0.2.1", ""):
        code, said = told(capsys, "--host", host, *roots)
        assert (code, said.out, said.err.count("\n")) == (2, "", 1)
        assert "tlearn ui --set-password" in said.err


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "192.0.2.1", "nowhere.invalid", "unix://x", "a" * 99]
)
def test_an_address_that_cannot_be_listened_on_is_told(capsys, tmp_path, host):
    set_password(PASSWORD)
    roots = ("--data-root", str(tmp_path / "data"), "--runs-root", str(tmp_path / "runs"))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        code, said = told(capsys, "--host", host, "--port", port, *roots)
    assert (code, said.out, said.err.count("\n")) == (2, "", 1)
    assert "cannot be listened on" in said.err and "choose another --port" in said.err


def test_a_password_is_taken_from_standard_input(config, full_cost):
    command = [sys.executable, "-m", "tlearn", "ui", "--set-password"]
    done = subprocess.run(command, input=f"{PASSWORD}\nmore\n".encode(), capture_output=True)
    assert (done.returncode, done.stderr) == (0, b"")
    assert str(config / "ui.yaml") in done.stdout.decode()
    assert right(PASSWORD, password_hash())
    if os.name == "posix":
        assert (config / "ui.yaml").stat().st_mode & 0o777 == 0o600


def piped(monkeypatch, data):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data), "utf-8", newline=""))


@pytest.mark.parametrize("ending", [b"\n", b"\r\n", b""])
def test_the_end_of_the_line_is_no_part_of_a_password(monkeypatch, capsys, ending):
    piped(monkeypatch, PASSWORD.encode() + ending)
    assert told(capsys, "--set-password")[0] == 0
    assert right(PASSWORD, password_hash())


@pytest.mark.parametrize("given", [b"", b"short\n", b"\xff\xfe\xfd not text at all\n"])
def test_a_password_that_cannot_be_taken_is_told(monkeypatch, capsys, config, given):
    piped(monkeypatch, given)
    code, said = told(capsys, "--set-password")
    assert (code, said.out, said.err.count("\n")) == (2, "", 1)
    assert not config.exists()


# Real servers


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda n: n.name)
def test_a_server_for_this_machine(tmp_path, number):
    with Server.ui(tmp_path) as running:
        port = running.port
        assert http(port, "/_stcore/health")[0] == 200
        assert http(port)[0] == 200
        for headers in (
            {"Host": "evil.example"},
            {"Origin": "http://evil.example"},
            {"X-Forwarded-For": "203.0.113.9"},
            {"X-Forwarded-For": "127.0.0.1"},
        ):
            assert http(port, **headers)[0] == 403
            assert upgrade(port, **headers) == 403
        assert upgrade(port, Origin=f"http://localhost:{port}") == 101
        with socket.create_connection(("127.0.0.1", port)) as hanging:  # holds nothing up
            hanging.sendall(
                b"POST /tlearn/upload/x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\nx"
            )
            code, said = running.ended(number)
        first, _, rest = said.partition("\n")
        assert first == f"tlearn: http://localhost:{port}  (Ctrl-C ends it; trainings go on)"
        assert rest.strip() in ("", "tlearn: stopped")
        assert code in (0, 130)


def logged_in(port):
    """Try wrong passwords, then the right one; return the statuses and the cookie."""
    form = {"Content_Type": "application/x-www-form-urlencoded"}
    wrong = [http(port, "/login", "POST", body=b"password=wrong", **form)[0] for _ in range(2)]
    body = f"password={quote_plus(PASSWORD)}".encode()
    status, answer = http(port, "/login", "POST", body=body, **form)
    cookie = re.search(rf"{access.COOKIE}=[^;]+", answer)[0]
    return [*wrong, status], cookie


def test_a_server_with_a_password(tmp_path, full_cost):
    set_password(PASSWORD)
    with Server.ui(tmp_path, host="0.0.0.0") as running:
        port = running.port
        status, form = http(port, Accept="text/html")
        assert status == 401 and 'type="password"' in form
        assert (http(port, "/_stcore/health")[0], upgrade(port)) == (401, 403)
        statuses, cookie = logged_in(port)
        assert statuses == [401, 401, 303]
        for address in {"127.0.0.1", *others()}:
            assert http(port, host=address, Host="photos.example", Cookie=cookie)[0] == 200
            assert upgrade(port, host=address, Host="photos.example", Cookie=cookie) == 101
            assert upgrade(port, host=address, Host="photos.example", Cookie=cookie + "0") == 403
        tries = [http(port, "/login", "POST", body=b"password=wrong")[0] for _ in range(TRIES)]
        assert tries[-1] == 429
        set_password(PASSWORD + "2")
        assert (http(port, Cookie=cookie)[0], upgrade(port, Cookie=cookie)) == (401, 403)


def others():
    """This machine's addresses that others can reach, of IPv4."""
    return [
        one.address
        for all_of_one in psutil.net_if_addrs().values()
        for one in all_of_one
        if one.family == socket.AF_INET and not is_local(one.address)
    ]


def test_streamlit_run_on_every_address_serves_this_machine_alone(tmp_path, full_cost):
    port = free_port()
    command = (
        "-m",
        "streamlit",
        "run",
        "streamlit_app.py",
        "--server.port",
        str(port),
        "--server.headless",
        "true",
        "--server.address",
        "0.0.0.0",
    )
    with Server(tmp_path, *command, port=port, cwd=ROOT) as running:
        assert http(port)[0] == 200
        assert upgrade(port) == 101
        assert http(port, Host="evil.example")[0] == 403
        for address in others():
            for host in (f"{address}:{port}", f"localhost:{port}"):
                assert http(port, host=address, Host=host)[0] == 403
                assert upgrade(port, host=address, Host=host) == 403
        set_password(PASSWORD)
        assert http(port)[0] == 401
        _, cookie = logged_in(port)
        assert http(port, Cookie=cookie)[0] == 200
        code, said = running.ended(signal.SIGTERM)
        assert "Traceback" not in said
        assert code in (0, 130, -signal.SIGTERM)
