"""Uploads and downloads beside the pages: streamed, bounded, and never fatal."""

import asyncio
import contextlib
import functools
import hashlib
import io
import json
import socket
import time
import zipfile

import numpy as np
import psutil
import pytest
from conftest import picture
from serving import Server, ask, asked, free_port, scope
from starlette.applications import Starlette

from tlearn.data.process_folder import process_folder
from tlearn.data.upload_writer import UploadWriter
from tlearn.data.uploads import STAGING
from tlearn.errors import RunError
from tlearn.web import transfers
from tlearn.web.components.run_details import zip_run
from tlearn.web.transfers import (
    LONGEST_HEADER,
    ROUTES,
    UPLOAD,
    begin_upload,
    end_upload,
    find_upload,
    offer_file,
)

APP = Starlette(routes=ROUTES)


@functools.cache
def photo(seed=0):
    buffer = io.BytesIO()
    picture((90, 120, 40), np.random.default_rng(seed)).save(buffer, "png")
    return buffer.getvalue()


def frame(name, data, size=None):
    """A file as a browser sends it."""
    header = json.dumps({"name": name, "size": len(data) if size is None else size}).encode()
    return raw(header) + data


def raw(header):
    return len(header).to_bytes(4, "big") + header


def boundary(data, size):
    return [data[i : i + size] for i in range(0, len(data), size)]


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setattr(transfers, "_uploads", {})
    monkeypatch.setattr(transfers, "_files", {})
    return tmp_path / "photos"


@pytest.fixture
def upload(root):
    return begin_upload(root)


def post(upload, *parts, method="POST", gone=False):
    return ask(APP, UPLOAD.format(token=upload.token), method, parts=parts, gone=gone)


def placed(upload, root):
    """End an upload well; return what is there by path."""
    target = upload.place(root / "set")
    assert [p.name for p in waiting(root)] == []
    return {p.relative_to(target).as_posix(): p for p in target.rglob("*") if p.is_file()}


def waiting(root):
    """The staging folders of uploads."""
    return [p for p in process_folder(root / STAGING).iterdir() if p.is_dir()]


def staged(root, token="*", inside="."):
    """The files that wait in staging folders."""
    folders = (root / STAGING).glob(f"*/{token}/{inside}")
    return [p for folder in folders for p in folder.rglob("*") if p.is_file()]


@pytest.mark.parametrize("size", [1, 7, 4096, 10**9])
def test_files_come_whole_however_they_are_cut(upload, root, size):
    data = {f"set/red/{n}.png": photo(n) for n in range(3)} | {"set/blue/ä 0.png": photo(9)}
    body = b"".join(frame(name, content) for name, content in data.items())
    answer = post(upload, *boundary(body, size))
    assert answer.status == 200
    assert json.loads(answer.body) == {"files": 4, "bytes": sum(map(len, data.values()))}
    found = placed(upload, root)
    assert {f"set/{name}": p.read_bytes() for name, p in found.items()} == data


def test_many_requests_make_one_upload(upload, root):
    for n in range(3):
        assert post(upload, frame(f"red/{n}.png", photo(n))).status == 200
    assert post(upload).status == 200  # an empty one
    assert len(placed(upload, root)) == 3


def test_two_requests_at_once_do_not_mix(upload, root):
    path = UPLOAD.format(token=upload.token)

    async def both():
        bodies = [
            b"".join(frame(f"{side}/{n}.png", photo(10 * k + n)) for n in range(20))
            for k, side in enumerate(("red", "blue"))
        ]
        return await asyncio.gather(
            *(asked(APP, scope(path, "POST"), *boundary(body, 777)) for body in bodies)
        )

    assert [answer.status for answer in asyncio.run(both())] == [200, 200]
    found = placed(upload, root)
    assert len(found) == 40
    assert found["blue/7.png"].read_bytes() == photo(17)


@pytest.mark.parametrize(
    "name",
    [
        "../../x.png",
        "/etc/x.png",
        "C:\\x.png",
        "a/\0.png",
        "",
        "con.png",
        "\ud800.png",
        "x" * 9000,
        "red/\u202egnp.exe",
    ],
    ids=ascii,
)
def test_a_name_that_is_refused_is_told_and_the_others_go_on(upload, root, name):
    body = frame("red/0.png", photo(0)) + frame(name, photo(1)) + frame("blue/0.png", photo(2))
    assert post(upload, *boundary(body, 500)).status == 200
    (problem,) = upload.left_out
    assert problem.kind == "refused"
    for text in (problem.name, problem.reason):
        text.encode()  # a page can show it
        assert len(text) < 1000
    assert sorted(placed(upload, root)) == ["blue/0.png", "red/0.png"]


def test_a_name_that_came_before_is_told(upload, root):
    frames = frame("red/0.png", photo(0)) + frame("red/0.png", photo(1))
    assert post(upload, frames).status == 200
    assert "received already" in upload.left_out[0].reason
    assert placed(upload, root)["red/0.png"].read_bytes() == photo(0)


@pytest.mark.parametrize(
    "name", ["run.py", "a.svg", "a.html", "model.keras", "a.png", "sitecustomize.py"]
)
def test_what_is_no_image_is_left_out_and_never_run(upload, root, name, tmp_path):
    code = f"<script>1</script>\nopen({str(tmp_path / 'executed')!r}, 'w')\n".encode()
    assert post(upload, frame(name, code), frame("red/0.png", photo())).status == 200
    assert list(placed(upload, root)) == ["red/0.png"]
    assert [p.name for p in upload.left_out] == [name]
    assert not (tmp_path / "executed").exists()


DAMAGED = {
    "header too long": (LONGEST_HEADER + 1).to_bytes(4, "big") + b"x" * 100,
    "all ones": b"\xff" * 100,
    "no header": raw(b""),
    "no JSON": raw(b"{name"),
    "no text": raw(b"\xff\xfe"),
    "nested": raw(b"[" * 10_000),
    "a list": raw(b"[1]"),
    "a number": raw(b"7"),
    "no size": raw(b'{"name": "a.png"}'),
    "no name": raw(b'{"size": 1}'),
    "negative": raw(b'{"name": "a.png", "size": -1}'),
    "infinite": raw(b'{"name": "a.png", "size": Infinity}'),
    "no number": raw(b'{"name": "a.png", "size": NaN}'),
    "a fraction": raw(b'{"name": "a.png", "size": 1.5}'),
    "a word": raw(b'{"name": "a.png", "size": "1"}'),
    "a truth": raw(b'{"name": "a.png", "size": true}'),
    "many digits": raw(b'{"name": "a.png", "size": ' + b"9" * 6000 + b"}"),
    "another name": raw(b'{"name": 1, "size": 1}'),
}


@pytest.mark.parametrize("damage", DAMAGED.values(), ids=DAMAGED)
def test_damaged_frames_are_told_and_the_upload_can_go_on(upload, root, damage):
    answer = post(upload, frame("red/0.png", photo(0)) + damage)
    assert answer.status == 400
    assert "the upload is damaged" in json.loads(answer.body)["error"]
    assert post(upload, frame("blue/0.png", photo(1))).status == 200
    assert sorted(placed(upload, root)) == ["blue/0.png", "red/0.png"]


@pytest.mark.parametrize(
    ("last", "said"),
    [
        (b"\0\0", 400),
        (b"\0\0\0\x09{", 400),
        (frame("blue/1.png", photo(), 10**30), 400),
        (frame("blue/1.png", photo()[:-1], len(photo())), 400),
    ],
)
def test_a_request_that_stops_too_early_is_told(upload, root, last, said):
    answer = post(upload, frame("blue/0.png", photo()) + last)
    assert answer.status == said
    assert "broke off" in json.loads(answer.body)["error"]
    assert list(placed(upload, root)) == ["blue/0.png"]


def test_a_client_that_vanishes_leaves_nothing_half(upload, root, monkeypatch):
    monkeypatch.setattr(transfers, "PART", 500)
    body = frame("red/0.png", photo(0)) + frame("red/1.png", photo(1))
    post(upload, *boundary(body[:-5], 100), gone=True)
    assert staged(root, upload.token, "partial") == []
    assert upload.bytes == len(photo(0))
    assert post(upload, frame("red/1.png", photo(1))).status == 200  # sent again
    assert len(placed(upload, root)) == 2


def test_a_client_that_falls_silent_is_given_up(upload, root, monkeypatch):
    monkeypatch.setattr(transfers, "STILL", 0.05)
    monkeypatch.setattr(transfers, "PART", 500)
    body, sent = frame("red/0.png", photo(0)) + frame("red/1.png", photo(1)), []

    async def silent():
        parts = [body[:-5]]

        async def receive():
            if not parts:
                await asyncio.Event().wait()
            return {"type": "http.request", "body": parts.pop(), "more_body": True}

        async def send(message):
            sent.append(message)

        await APP(scope(UPLOAD.format(token=upload.token), "POST"), receive, send)

    asyncio.run(silent())
    assert sent[0]["status"] == 408
    assert staged(root, upload.token, "partial") == []
    assert list(placed(upload, root)) == ["red/0.png"]


def test_an_upload_that_is_none_is_told_once_the_browser_has_sent_its_part(upload, monkeypatch):
    read = []
    original = transfers.Request.stream

    async def watched(self):
        async for chunk in original(self):
            read.append(len(chunk))
            yield chunk

    monkeypatch.setattr(transfers.Request, "stream", watched)
    for token in ("x", upload.token[:-1], upload.token + "0", "..", "%2e%2e"):
        read.clear()
        answer = ask(APP, f"/tlearn/upload/{token}", "POST", parts=[b"x" * 1000] * 9)
        assert (answer.status, sum(read)) == (404, 9000)
        assert "this upload has ended" in json.loads(answer.body)["error"]
    monkeypatch.setattr(transfers, "DRAINED", 2500)
    read.clear()
    assert ask(APP, "/tlearn/upload/x", "POST", parts=[b"x" * 1000] * 9).status == 404
    assert sum(read) == 3000


def test_other_methods_are_none(upload):
    for method in ("GET", "HEAD", "PUT", "OPTIONS"):
        assert post(upload, method=method).status == 405


def test_a_cancelled_upload_leaves_nothing(upload, root):
    post(upload, frame("red/0.png", photo()))
    assert post(upload, method="DELETE").status == 200
    assert list(waiting(root)) == []
    assert find_upload(upload.token) is None
    assert post(upload, method="DELETE").status == 200  # again
    assert post(upload, frame("red/1.png", photo())).status == 404
    assert list(waiting(root)) == []


def test_cancelling_ends_a_request_that_goes_on(upload, root):
    path = UPLOAD.format(token=upload.token)
    body = frame("red/0.png", photo(0)) + frame("red/1.png", photo(1))

    async def both():
        parts = boundary(body, 300)
        sent = []

        async def receive():
            if len(parts) == 2:
                await asked(APP, scope(path, "DELETE"))
                # As if a file had been opened while the folder was removed:
                (upload._staging / "partial").mkdir(parents=True)
            if not parts:
                return {"type": "http.request", "body": b"", "more_body": False}
            return {"type": "http.request", "body": parts.pop(0), "more_body": True}

        async def send(message):
            sent.append(message)

        await APP(scope(path, "POST"), receive, send)
        return sent[0]["status"]

    assert asyncio.run(both()) == 404
    assert list(waiting(root)) == []


def test_a_placed_upload_takes_no_more(upload, root):
    post(upload, frame("red/0.png", photo()))
    placed(upload, root)
    answer = post(upload, frame("red/1.png", photo()))
    assert answer.status == 404
    assert find_upload(upload.token) is None


def test_sessions_do_not_see_each_other_s_uploads(root):
    first, second = begin_upload(root), begin_upload(root)
    assert first.token != second.token and len(first.token) == 32
    post(first, frame("red/0.png", photo(0)))
    post(second, frame("red/0.png", photo(1)))
    post(second, method="DELETE")
    assert placed(first, root)["red/0.png"].read_bytes() == photo(0)


def test_refused_files_are_remembered_in_bounds(upload, root, monkeypatch):
    monkeypatch.setattr(transfers, "MOST_REFUSED", 5)
    answer = post(upload, b"".join(frame(f"../{n}.png", b"") for n in range(50)))
    assert answer.status == 400
    assert "more than 5 files were refused" in json.loads(answer.body)["error"]
    assert len(upload.left_out) == 5


@pytest.mark.parametrize(
    ("error", "said"),
    [(KeyError("ours"), "the log has more"), (OSError(28, "No space left on device"), "No space")],
)
def test_whatever_fails_ends_one_request_and_no_more(upload, root, monkeypatch, error, said):
    def fails(self, data):
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(UploadWriter, "write", fails)
        answer = post(upload, frame("red/0.png", photo()))
    assert answer.status == 400
    assert said in json.loads(answer.body)["error"]
    assert str(root) not in answer.body.decode()
    assert staged(root) == []
    assert post(upload, frame("red/0.png", photo())).status == 200
    assert len(placed(upload, root)) == 1


def test_uploads_that_nobody_asks_for_are_removed(root, monkeypatch):
    left, used, new = begin_upload(root), begin_upload(root), None
    now = time.monotonic()
    monkeypatch.setattr(transfers.time, "monotonic", lambda: now + transfers.KEPT / 2)
    assert find_upload(used.token) is used
    monkeypatch.setattr(transfers.time, "monotonic", lambda: now + transfers.KEPT + 60)
    new = begin_upload(root)
    assert {p.name for p in waiting(root)} == {used.token, new.token}
    assert find_upload(left.token) is None


def test_uploads_that_have_ended_are_forgotten(root):
    for _ in range(20):
        begin_upload(root).cancel()
    begin_upload(root)
    assert len(transfers._uploads) == 1
    assert end_upload("x") is None


# Downloads


def test_a_file_is_given_under_its_link_alone(root, tmp_path):
    file = tmp_path / "a.csv"
    file.write_bytes(b"name,label\n")
    link = offer_file(lambda: file, 'ä "x".csv')
    answer = ask(APP, link)
    assert (answer.status, answer.body) == (200, b"name,label\n")
    assert answer.headers["content-disposition"].startswith("attachment; filename*=utf-8''")
    assert answer.headers["cache-control"] == "no-store"
    assert ask(APP, link, "HEAD").status == 200
    assert ask(APP, link, "DELETE").status == 405
    for other in ("x", link.rpartition("/")[2][:-1], "..%2f..%2fetc%2fpasswd", ""):
        assert ask(APP, f"/tlearn/file/{other}").status == 404


def test_a_file_that_has_gone_is_told(root, tmp_path):
    def damaged():
        raise RunError("the run has gone; load the page again")

    def unreadable():
        raise PermissionError(13, "Permission denied")

    for make, said in (
        (lambda: tmp_path / "gone.csv", "there is no file 'gone.csv' any more"),
        (lambda: tmp_path, "there is no file"),
        (damaged, "the run has gone"),
        (unreadable, "Permission denied"),
    ):
        answer = ask(APP, offer_file(make, "x.csv"))
        assert answer.status == 404
        assert said in answer.body.decode()
        assert "html" not in answer.headers["content-type"]


def test_links_end_and_are_kept_in_bounds(root, tmp_path, monkeypatch):
    (tmp_path / "x").write_text("x")
    first = offer_file(lambda: tmp_path / "x", "x")
    monkeypatch.setattr(transfers, "MOST_LINKS", 5)
    links = [offer_file(lambda: tmp_path / "x", "x") for _ in range(8)]
    assert len(set(links)) == 8
    assert [ask(APP, link).status for link in [first, *links]] == [404] * 4 + [200] * 5
    now = time.monotonic()
    monkeypatch.setattr(transfers.time, "monotonic", lambda: now + transfers.KEPT + 60)
    offer_file(lambda: tmp_path / "x", "x")
    assert ask(APP, links[-1]).status == 404


def test_a_temporary_file_is_made_for_each_request_and_removed(root, tmp_path):
    run = tmp_path / "runs" / "one"
    run.mkdir(parents=True)
    (run / "labels.txt").write_text("red\n")
    scratch, made = tmp_path / "scratch", []
    scratch.mkdir()

    def make():
        made.append(zip_run(run, scratch))
        assert made[-1].stat().st_mode & 0o077 == 0
        return made[-1]

    link = offer_file(make, "one.zip", temporary=True)
    for _ in range(2):
        with zipfile.ZipFile(io.BytesIO(ask(APP, link).body)) as archive:
            assert archive.namelist() == ["one/labels.txt"]
    with contextlib.suppress(OSError, ExceptionGroup):
        asyncio.run(APP(scope(link), asyncio.Event().wait, broken_off))
    assert len(set(made)) == 3 and list(scratch.iterdir()) == []


async def broken_off(message):
    raise OSError("gone")


# A real server


def sent(port, token, size, cookie, broken_off=False, watch=lambda: None):
    """Send one file of ``size`` bytes that begins as a ZIP does; return answer and digest."""
    part = np.random.default_rng(0).bytes(1 << 20)
    head = frame("big.zip", b"PK\x03\x04", size)
    digest = hashlib.sha256(b"PK\x03\x04")
    with socket.create_connection(("127.0.0.1", port), timeout=120) as connection:
        length = len(head) - 4 + size
        connection.sendall(
            f"POST {UPLOAD.format(token=token)} HTTP/1.1\r\nHost: localhost:{port}\r\n"
            f"Cookie: {cookie}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n".encode()
            + head
        )
        left = size - 4
        while left and not (broken_off and left < size / 2):
            data = part[:left]
            connection.sendall(data)
            digest.update(data)
            left -= len(data)
            watch()
        if broken_off:
            return "", ""
        answer = b""
        while more := connection.recv(65_536):
            answer += more
    return answer.decode(), digest.hexdigest()


CODE = """
import sys
from pathlib import Path
from tlearn.web.transfers import begin_upload
from tlearn.web.server import serve
for _ in range(3):
    print(begin_upload(Path(sys.argv[1])).token, flush=True)
serve("127.0.0.1", int(sys.argv[2]))
"""


def test_300_mb_go_to_disk_and_not_to_memory(tmp_path):
    size, port, root = 300 * 10**6, free_port(), tmp_path / "data"
    with Server(tmp_path, "-c", CODE, str(root), str(port), port=port) as running:
        first, second, third = (line.strip() for line in running.lines[:3])
        cookie = running.cookie()
        sent(port, first, 10**6, cookie)  # what is loaded once is loaded now
        process = psutil.Process(running.process.pid)
        before, most = process.memory_info().rss, []

        def watch():
            most.append(process.memory_info().rss)

        answer, digest = sent(port, second, size, cookie, watch=watch)
        assert answer.startswith("HTTP/1.1 200")
        assert json.loads(answer.rpartition("\r\n")[2]) == {"files": 1, "bytes": size}
        (file,) = staged(root, second)
        assert file.stat().st_size == size
        with file.open("rb") as stored:
            assert hashlib.file_digest(stored, "sha256").hexdigest() == digest
        watch()
        assert max(most) - before < 100 * 10**6

        sent(port, third, 50 * 10**6, cookie, broken_off=True)
        for _ in range(300):
            if not staged(root, third):
                break
            time.sleep(0.1)
        assert staged(root, third) == []
        assert len(running.lines) == 4  # it said nothing
