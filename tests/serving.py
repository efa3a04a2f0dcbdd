"""Calls an ASGI app without a server, and starts real servers."""

import asyncio
import contextlib
import json
import os
import random
import re
import socket
import subprocess
import sys
import time
import zipfile
from dataclasses import dataclass
from urllib.parse import urlsplit

import psutil
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


def photos_of(run):
    """Return some photos that a toy run was trained with."""
    return sorted(path for path in run.photos.rglob("*") if path.is_file())[:6]


def in_form(paths):
    """Return image files as a client gives them to be sent as a form."""
    return [("images", (path.name, path.read_bytes())) for path in paths]


def rename_classes(model):
    """Write a saved model with other names of classes, as another training would; return them."""
    with zipfile.ZipFile(model) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    card = json.loads(members["tlearn.json"])
    card["labels"] = [f"new {name}" for name in card["labels"]]
    members["tlearn.json"] = json.dumps(card)
    with zipfile.ZipFile(model, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return card["labels"]


def until(condition, seconds=600):
    """Wait until a condition gives something true, and return it."""
    limit = time.monotonic() + seconds
    while not (given := condition()):
        assert time.monotonic() < limit, f"not within {seconds} seconds"
        time.sleep(0.05)
    return given


# Below those that systems give to connections, which could take one before a server does.
PORTS = iter(random.Random(os.getpid()).sample(range(20_000, 32_000), 12_000))


def free_port():
    """Return a port that nobody uses, each once in a process."""
    for port in PORTS:
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError("all ports are used")


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
    """A real server on folders of its own; a ``with`` statement starts it and ends all it began.

    Args:
        place: Where its data root, runs root and log are.
        *command: What follows ``python``.
        port: Where it listens.
        cwd: The working folder, if not ``place``.
        env: Further environment variables.
    """

    def __init__(self, place, *command, port, cwd=None, env=None):
        self.data, self.runs, self.log = place / "data", place / "runs", place / "server.log"
        self.port, self.command, self.cwd = port, command, cwd or place
        self.process = None
        self.env = {
            **os.environ,
            "TLEARN_DATA_ROOT": str(self.data),
            "TLEARN_RUNS_ROOT": str(self.runs),
            "HOME": str(place),
            "PYTHONPATH": f"{ROOT}{os.pathsep}{os.environ['PYTHONPATH']}",
            **(env or {}),
        }

    @classmethod
    def ui(cls, place, *options, host="127.0.0.1", env=None):
        """Return the server of ``tlearn ui``."""
        port = free_port()
        command = ["-m", "tlearn", "ui", "--no-browser", "--host", host, "--port", str(port)]
        command += ["--data-root", str(place / "data"), "--runs-root", str(place / "runs")]
        return cls(place, *command, *options, port=port, env=env)

    @property
    def lines(self):
        """What it printed so far, in lines."""
        return self.log.read_text("utf-8", "replace").splitlines(keepends=True)

    def url(self, path=""):
        """Return the address of a page, with what the printed address asks for, as a token."""
        printed = re.search(rf"http://\S+:{self.port}[^\s)]*", "".join(self.lines))
        query = urlsplit(printed[0]).query if printed else ""
        separator = "&" if "?" in path else "?"
        return f"http://127.0.0.1:{self.port}/{path}" + (f"{separator}{query}" if query else "")

    def cookie(self):
        """Follow the printed address; return the cookie that stands for its token."""
        parts = urlsplit(self.url())
        status, answer = http(self.port, f"{parts.path}?{parts.query}")
        assert status == 303
        return re.search(r"tlearn_\d+=[^;]+", answer)[0]

    def start(self):
        """Start it, and wait until it answers."""
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-W", "error::ResourceWarning", *self.command],
                env=self.env,
                cwd=self.cwd,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        until(self._answers, 120)
        return self

    def _answers(self):
        assert self.process.poll() is None, "".join(self.lines)
        with contextlib.suppress(OSError):
            return http(self.port, "/_stcore/health")

    def ended(self, number):
        """Send a signal; return the exit code and all that was printed."""
        self.process.send_signal(number)
        return self.process.wait(60), "".join(self.lines)

    def kill(self):
        """End it as a power cut would."""
        self.process.kill()
        self.process.wait()

    def __enter__(self):
        try:
            return self.start()
        except BaseException:
            self.__exit__()
            raise

    def __exit__(self, *_):
        self.kill()
        for process in psutil.process_iter():  # trainings outlive the server
            with contextlib.suppress(psutil.Error):
                if process.environ().get("TLEARN_RUNS_ROOT") == str(self.runs):
                    process.kill()
