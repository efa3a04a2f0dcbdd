"""``tlearn serve`` as a process: what clients see as it stops, dies, reloads, and is abused."""

import asyncio
import contextlib
import itertools
import json
import shutil
import signal
import socket
import threading
from http.client import HTTPConnection, HTTPException

import pytest
import uvicorn
from serving import Server, free_port, http, rename_classes, until
from uvicorn.server import ServerState

from tlearn.serving.http_protocol import PatientProtocol

LABELS = ("blue", "green", "red")


@pytest.fixture
def served(toy_run_copy, tmp_path, monkeypatch):
    """Return a function that starts a server of a copy of the toy run with options."""
    monkeypatch.setenv("TLEARN_CACHE", str(toy_run_copy.cache))
    servers = []

    def start(*options, port=None):
        port = port or free_port()
        command = ("-m", "tlearn", "serve", str(toy_run_copy.run), "--port", str(port), *options)
        servers.append(Server(tmp_path, *command, port=port))
        return servers[-1].start()

    yield start
    for server in servers:
        server.__exit__()


@pytest.fixture
def form(toy_run):
    """The body of a request with three photos."""
    photos = sorted(toy_run.photos.rglob("*.png"))[::12]
    parts = [
        b'--limit\r\nContent-Disposition: form-data; name="images"; filename="%s"\r\n\r\n%s\r\n'
        % (path.name.encode(), path.read_bytes())
        for path in photos
    ]
    return b"".join([*parts, b"--limit--\r\n"])


class Client(threading.Thread):
    """Asks again and again, over one connection as long as it may, until it is refused."""

    def __init__(self, port, body):
        super().__init__(daemon=True)
        self.port, self.body, self.answers, self.end = port, body, [], None
        self.start()

    def run(self):
        connection = HTTPConnection("127.0.0.1", self.port, timeout=60)
        kind = {"Content-Type": "multipart/form-data; boundary=limit"}
        while self.end is None:
            try:
                connection.request("POST", "/predict", self.body, kind)
                answer = connection.getresponse()
                self.answers.append((answer.status, answer.read()))
            except (OSError, HTTPException) as error:
                self.end = error
        connection.close()


def labels_of(answer):
    return [prediction["label"] for prediction in json.loads(answer)["predictions"]]


def test_what_was_taken_on_is_answered_before_it_stops(served, form):
    server = served()
    clients = [Client(server.port, form) for _ in range(6)]
    until(lambda: all(len(client.answers) > 3 for client in clients), 60)
    server.process.send_signal(signal.SIGTERM)
    assert until(lambda: http(server.port, "/ready")[0] == 503)
    assert server.process.wait(60) == 0 and "Traceback" not in "".join(server.lines)
    for client in clients:
        client.join(60)
        assert {status for status, _ in client.answers} == {200}
        # Nothing was broken off (RemoteDisconnected): the last connection was not accepted.
        refused = (ConnectionRefusedError, ConnectionResetError, BrokenPipeError)
        assert type(client.end) in refused, repr(client.end)


def test_a_client_that_asks_again_loses_nothing_when_the_server_is_killed(served, form):
    server = served()
    client = Client(server.port, form)
    until(lambda: client.answers)
    server.kill()
    client.join(60)
    again = served(port=server.port)  # at once, at the same address
    other = Client(again.port, form)
    until(lambda: other.answers)
    assert labels_of(other.answers[0][1]) == labels_of(client.answers[0][1]) == list(LABELS)


def test_no_answer_mixes_two_models(served, toy_run_copy, form, tmp_path):
    server = served()
    other = shutil.copytree(toy_run_copy.run, tmp_path / "other")
    labels = rename_classes(other / "model.keras")
    clients = [Client(server.port, form) for _ in range(3)]
    until(lambda: all(client.answers for client in clients))
    toy_run_copy.run.rename(tmp_path / "before")
    other.rename(toy_run_copy.run)
    server.process.send_signal(signal.SIGHUP)
    until(lambda: all(b"new red" in client.answers[-1][1] for client in clients))
    server.process.send_signal(signal.SIGTERM)
    by_digest = {}
    for client in clients:
        client.join(60)
        for status, answer in client.answers:
            assert status == 200
            by_digest.setdefault(json.loads(answer)["digest"], set()).add(tuple(labels_of(answer)))
    assert sorted(by_digest.values(), key=str) == [{LABELS}, {tuple(labels)}]


def sent(port, *parts):
    """Send parts of a request, unless it is answered before; return the answer."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        answer = b""
        with contextlib.suppress(OSError):
            for part in parts:
                connection.sendall(part)
        with contextlib.suppress(OSError):
            while b"\r\n\r\n" not in answer:
                answer += connection.recv(65_536)
        return answer


def whole(port, request):
    """Return the answer to a request, with its body."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        connection.sendall(request)
        answer = b""
        while not answer.endswith(b"}") and (part := connection.recv(65_536)):
            answer += part
        return answer


def test_a_request_without_an_end_holds_nothing(served, form):
    server = served("--seconds", "1", "--request-mb", "1")
    post = b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\n"
    slow = [
        socket.create_connection(("127.0.0.1", server.port))
        for _ in range(2 * 256)  # more than images that may wait
    ]
    for connection in slow:
        connection.sendall(post + b"Content-Length: 999999\r\n\r\nx")
    client = Client(server.port, form)
    until(lambda: client.answers)
    assert client.answers[0][0] == 200
    for connection in slow:
        connection.settimeout(60)
        assert connection.recv(100).startswith(b"HTTP/1.1 408"), "the body did not come"
        connection.close()
    offer = b"Connection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 8\r\n\r\nno image"
    assert b"not an image" in whole(server.port, post + offer)
    head = b"GET /health HTTP/1.1\r\nHost: localhost\r\n"
    unending = itertools.repeat(b"X-Name: value\r\n" * 1000, 20)
    assert sent(server.port, head, *unending).startswith(b"HTTP/1.1 400")
    assert sent(server.port, head + b"X-Name: ", b"x" * 1_000_000).startswith(b"HTTP/1.1 400")
    large = post + b"Transfer-Encoding: chunked\r\n\r\n"
    chunks = itertools.repeat(b"10000\r\n" + bytes(0x10000) + b"\r\n", 100)
    assert sent(server.port, large, *chunks).startswith(b"HTTP/1.1 413")
    assert http(server.port, "/health")[0] == 200
    assert "Traceback" not in "".join(server.lines)


class Quick(PatientProtocol):
    head_seconds = unread_seconds = answer_seconds = 0.2


gone = asyncio.Event()


async def refuse(scope, receive, send):
    """Answer without reading the body; at /large at length, at /late later.

    At /gone the end of the connection is awaited.
    """
    body = bytes(50_000_000 if scope["path"] == "/large" else 0)
    if scope["path"] == "/late":
        await asyncio.sleep(3 * Quick.head_seconds)
    if scope["path"] == "/gone":
        while (await receive())["type"] != "http.disconnect":
            pass
        gone.set()
    head = [(b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 503, "headers": head})
    await send({"type": "http.response.body", "body": body})


def test_connections_that_ask_for_nothing_are_closed():
    config = uvicorn.Config(
        refuse, http=Quick, lifespan="off", log_level="error", timeout_keep_alive=0.2
    )
    config.load()
    state = ServerState()

    async def asked(*parts):
        """Send parts; return all that comes until the connection is closed."""
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for part in parts:
            writer.write(part)
            await asyncio.sleep(0.05)
        answer = await asyncio.wait_for(reader.read(), 60)
        writer.close()
        return answer

    async def ask():
        nonlocal port
        loop = asyncio.get_running_loop()
        make = lambda: Quick(config=config, server_state=state, app_state={})  # noqa: E731
        async with await loop.create_server(make, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            head = b"POST / HTTP/1.1\r\nHost: x\r\n"
            assert await asked() == b""
            assert await asked(head, b"X: ") == b""
            # The answer comes though the body does not, and so does that of a second request.
            half = head + b"Content-Length: 4\r\n\r\n12"
            assert (await asked(half)).count(b"HTTP/1.1 503") == 1
            second = head + b"Connection: close\r\n\r\n"
            assert (await asked(half, b"34", second)).count(b"HTTP/1.1 503") == 2
            # A begun request does not end a connection that waits for an answer.
            late = b"POST /late HTTP/1.1\r\nHost: x\r\n\r\n"
            assert (await asked(late, head)).count(b"HTTP/1.1 503") == 1
            # Of several requests at a time the first hears, too, that the client has gone.
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(late.replace(b"late", b"gone") + late)
            await asyncio.sleep(0.1)
            writer.close()
            await asyncio.wait_for(gone.wait(), 60)
            # Nor is an answer that nobody reads there for ever.
            _, writer = await asyncio.open_connection("127.0.0.1", port, limit=1)
            writer.transport.pause_reading()
            writer.write(b"POST /large HTTP/1.1\r\nHost: x\r\n\r\n")
            requests = state.total_requests
            while state.total_requests == requests:
                await asyncio.sleep(0.01)
            assert state.connections
            while state.connections:
                await asyncio.sleep(0.01)
            writer.close()

    port = 0
    asyncio.run(ask())
    assert not state.connections
