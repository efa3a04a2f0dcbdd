"""Calls an ASGI app without a server, and starts real servers."""

import asyncio
import os
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass

from conftest import ROOT

LOCAL = ("127.0.0.1", 50_000)


def scope(path="/", method="GET", headers=None, **given):
    """A request of a browser on this machine, unless ``given`` says otherwise.

    ``headers`` are pairs or a mapping; a host of ``None`` is left out.
    """
    pairs = list(headers.items() if isinstance(headers, dict) else headers or ())
    if not any(name == "host" for name, _ in pairs):
        pairs.append(("host", "localhost:8501"))
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "scheme": "http",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "client": LOCAL,
        "server": ("127.0.0.1", 8501),
        "headers": [(k.encode(), v.encode("latin-1")) for k, v in pairs if v is not None],
        **given,
    }


@dataclass
class Answer:
    status: int
    headers: dict
    body: bytes


async def asked(app, of, *parts, gone=False):
    """Send a request with a body in parts; ``gone`` breaks it off after them."""
    coming = [{"type": "http.request", "body": part, "more_body": True} for part in parts]
    if not gone:
        coming.append({"type": "http.request", "body": b"", "more_body": False})
    sent = []

    async def receive():
        await asyncio.sleep(0)  # others come in between, as with a real connection
        if not coming and not gone:
            await asyncio.Event().wait()  # a browser that waits for the answer
        return coming.pop(0) if coming else {"type": "http.disconnect"}

    async def send(message):
        sent.append(message)

    await app(of, receive, send)
    start, *rest = sent
    headers = {k.decode(): v.decode() for k, v in start["headers"]}
    return Answer(start["status"], headers, b"".join(m.get("body", b"") for m in rest))


def ask(app, path="/", method="GET", headers=None, parts=(), gone=False, **given):
    return asyncio.run(asked(app, scope(path, method, headers, **given), *parts, gone=gone))


def websocket(app, *coming, headers=None, **given):
    """Open a web socket, send messages (a function is called instead); return what it sends."""
    messages = [{"type": "websocket.connect"}, *coming, {"type": "websocket.disconnect"}]
    of = {**scope("/_stcore/stream", headers=headers, **given), "type": "websocket"}
    del of["method"]
    sent = []

    async def receive():
        message = messages.pop(0)
        while callable(message):
            message()
            message = messages.pop(0)
        return message

    async def send(message):
        sent.append(message)

    asyncio.run(app(of, receive, send))
    return sent


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def http(port, path="/", method="GET", host="127.0.0.1", body=b"", **headers):
    """Ask a real server, with these headers alone; return the status and the answer."""
    headers = {"Host": f"localhost:{port}", "Content-Length": str(len(body)), **headers}
    lines = [f"{method} {path} HTTP/1.1", "Connection: close"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    with socket.create_connection((host, port), timeout=60) as connection:
        connection.sendall("\r\n".join([*lines, "", ""]).encode() + body)
        answer = b""
        if "Upgrade" in headers:
            while b"\r\n\r\n" not in answer:
                answer += connection.recv(65_536)
        else:
            while part := connection.recv(65_536):
                answer += part
    return int(answer.split()[1]), answer.decode("utf-8", "replace")


def upgrade(port, host="127.0.0.1", **headers):
    """Try to open a web socket of a real server; return the status: 101 if it opens."""
    asking = {
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        **headers,
    }
    return http(port, "/_stcore/stream", host=host, **asking)[0]


class Server:
    """A real server, started from a command line or from code; use it in a with statement."""

    def __init__(self, place, *command, port, cwd=None):
        self.port, self.lines = port, []
        (place / "config").mkdir(exist_ok=True)
        env = {
            **os.environ,
            "TLEARN_CONFIG": str(place / "config"),
            "TLEARN_DATA_ROOT": str(place / "data"),
            "TLEARN_RUNS_ROOT": str(place / "runs"),
            "HOME": str(place),
            "PYTHONPATH": f"{ROOT}{os.pathsep}{os.environ['PYTHONPATH']}",
        }
        self.process = subprocess.Popen(
            [sys.executable, "-W", "error::ResourceWarning", *command],
            env=env,
            cwd=cwd or place,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.reader = threading.Thread(target=lambda: self.lines.extend(self.process.stdout))
        self.reader.start()

    @classmethod
    def ui(cls, place, *options, host="127.0.0.1"):
        port = free_port()
        return cls(
            place,
            "-m",
            "tlearn",
            "ui",
            "--no-browser",
            "--host",
            host,
            "--port",
            str(port),
            "--data-root",
            str(place / "data"),
            "--runs-root",
            str(place / "runs"),
            *options,
            port=port,
        )

    def __enter__(self):
        for _ in range(600):
            try:
                http(self.port, "/_stcore/health")
                return self
            except OSError:
                assert self.process.poll() is None, "".join(self.lines)
                time.sleep(0.1)
        self.__exit__()
        raise AssertionError("".join(self.lines))

    def ended(self, number):
        """Send a signal; return the exit code and all that was printed."""
        self.process.send_signal(number)
        code = self.process.wait(60)
        self.reader.join()
        return code, "".join(self.lines)

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.reader.join()
        self.process.stdout.close()
