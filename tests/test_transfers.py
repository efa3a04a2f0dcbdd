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
from urllib.parse import quote, unquote

import numpy as np
import psutil
import pytest
from conftest import picture
from serving import Server, ask, asked, free_port, scope, until
from starlette.applications import Starlette

from tlearn.data.process_folder import process_folder
from tlearn.data.uploads import STAGING, Upload
from tlearn.web import downloads, transfers
from tlearn.web.downloads import export_url, report_url, run_url, zip_folder
from tlearn.web.i18n import texts_for
from tlearn.web.server import ROUTES
from tlearn.web.transfers import FORM_BYTES, UPLOAD, find_upload, new_upload
from tlearn.web.workspace import RUNS

APP = Starlette(routes=ROUTES)


@functools.cache
def photo(seed=0):
    buffer = io.BytesIO()
    picture((90, 120, 40), np.random.default_rng(seed)).save(buffer, "png")
    return buffer.getvalue()


def form(files, names=None, boundary=b"x7x", last=False):
    """A form as a browser sends it: the headers and the body."""
    names = json.dumps([name for name, _ in files] if names is None else names)
    parts = [(b'name="names"', names.encode()), *([(b'name="last"', b"")] if last else [])]
    parts += [(b'name="file"; filename="file"', data) for _, data in files]
    body = b"".join(
        b"--%s\r\nContent-Disposition: form-data; %s\r\n\r\n%s\r\n" % (boundary, *part)
        for part in parts
    )
    body += b"--%s--\r\n" % boundary
    kind = f"multipart/form-data; boundary={boundary.decode()}"
    return {"content-type": kind, "content-length": str(len(body))}, body


def pieces(data, size):
    return [data[i : i + size] for i in range(0, len(data), size)]


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setattr(transfers, "_uploads", {})
    return tmp_path / "photos"


@pytest.fixture
def upload(root):
    return new_upload(root)


def post(upload, files, size=10**9, method="POST", last=False, **given):
    """Send files as one form, in pieces of so many bytes."""
    headers, body = form(files, last=last)
    parts = pieces(body, size)
    return ask(APP, UPLOAD.format(token=upload.token), method, headers, parts, **given)


def post_file(upload, name, data, size=10**9, gone=False):
    """Send one file as the body of a request."""
    query = f"name={quote(name)}".encode()
    of = scope(UPLOAD.format(token=upload.token), "POST", query_string=query)
    return asyncio.run(asked(APP, of, *pieces(data, size), gone=gone))


def placed(upload, root):
    """End an upload well; return what is there by path."""
    target = upload.place(root / "set")
    assert waiting(root) == []
    files = (p for p in target.rglob("*") if p.is_file() and p.name != ".upload.csv")
    return {p.relative_to(target).as_posix(): p for p in files}


def waiting(root):
    """The staging folders of uploads."""
    return [p for p in process_folder(root / STAGING).iterdir() if p.is_dir()]


def staged(root, token="*"):
    """The files that wait in staging folders."""
    folders = (root / STAGING).glob(f"*/{token}")
    return [p for folder in folders for p in folder.rglob("*") if p.is_file()]


def test_an_upload_is_complete_when_its_last_form_has_come_whole(upload):
    red, blue = ("set/red/0.png", photo(0)), ("set/blue/0.png", photo(1))
    assert post(upload, [red]).status == 200 and not upload.complete
    assert post(upload, [("../0.png", b"")] * 501, last=True).status == 400 and not upload.complete
    assert post(upload, [blue], last=True).status == 200 and upload.complete and upload.files == 2


def test_files_come_whole_however_they_are_cut(root):
    data = {f"set/red/{n}.png": photo(n) for n in range(3)} | {"set/blue/ä 0.png": photo(9)}
    for size in (7, 4096, 10**9):
        upload = new_upload(root)
        answer = post(upload, [*data.items()][:3], size)
        assert answer.status == 200
        answer = post_file(upload, "set/blue/ä 0.png", photo(9), size)
        assert json.loads(answer.body) == {"files": 4, "bytes": sum(map(len, data.values()))}
        place = upload.place(root / f"set-{size}")
        files = {name: place / name.removeprefix("set/") for name in data}
        assert {name: path.read_bytes() for name, path in files.items()} == data


def test_two_requests_at_once_do_not_mix(upload, root):
    path = UPLOAD.format(token=upload.token)

    async def both():
        forms = [
            form([(f"{label}/{n}.png", photo(10 * k + n)) for n in range(20)])
            for k, label in enumerate(("red", "blue"))
        ]
        requests = [(scope(path, "POST", headers), pieces(body, 777)) for headers, body in forms]
        return await asyncio.gather(*(asked(APP, of, *parts) for of, parts in requests))

    assert [answer.status for answer in asyncio.run(both())] == [200, 200]
    found = placed(upload, root)
    assert len(found) == 40
    assert found["blue/7.png"].read_bytes() == photo(17)


def test_what_is_refused_or_renamed_is_told_and_the_others_go_on(upload, root, tmp_path):
    code = f"<script>1</script>\nopen({str(tmp_path / 'executed')!r}, 'w')\n".encode()
    files = [("red/0.png", photo(0)), ("../../x.png", photo(1)), ("/etc/x.png", photo(1))]
    files += [("run.py", code), ("a.png", code), ("model.keras", code), ("CON/0.png", photo(2))]
    files += [("\ud800/\0.png", photo(3)), ("red/0.png", photo(4)), ("blue/0.png", photo(5))]
    assert post(upload, files, 500).status == 200
    assert {p.name: p.kind for p in upload.report} == {
        "../../x.png": "refused",
        "/etc/x.png": "refused",
        "run.py": "not an image",
        "a.png": "not an image",
        "model.keras": "not an image",
        "CON": "renamed",
        "?/\0.png": "renamed",
        "red/0.png": "renamed",
    }
    found = placed(upload, root)
    assert sorted(found) == [
        "?/_.png",
        "CON_/0.png",
        "blue/0.png",
        "red/0-2.png",
        "red/0.png",
    ]
    assert not (tmp_path / "executed").exists()


def test_damaged_forms_are_told_and_the_upload_can_go_on(upload, root):
    files = [("red/0.png", photo(0))]
    path = UPLOAD.format(token=upload.token)
    damaged = [form(files, names) for names in ([], ["a", "b"], {"a": 1}, 7)]
    headers, body = form(files)
    damaged += [({**headers, "content-length": str(FORM_BYTES + 1)}, body)]
    damaged += [({"content-type": "text/plain", "content-length": "1"}, b"x")]
    damaged += [({"content-type": headers["content-type"]}, body)]
    damaged += [({**headers, "content-type": "multipart/form-data"}, body)]
    for given, data in damaged:
        answer = ask(APP, path, "POST", given, [data])
        assert answer.status == 400
        assert "the upload is damaged" in json.loads(answer.body)["error"]
    assert staged(root) == []
    assert post(upload, [("blue/0.png", photo(1))]).status == 200
    assert list(placed(upload, root)) == ["blue/0.png"]


def test_a_client_that_vanishes_leaves_nothing_half(upload, root):
    post_file(upload, "red/0.png", photo(0))
    post_file(upload, "red/1.png", photo(1)[:-5], 100, gone=True)
    assert len(staged(root)) == 1 and upload.bytes == len(photo(0))
    assert post_file(upload, "red/1.png", photo(1)).status == 200  # sent again
    assert len(placed(upload, root)) == 2


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
        assert (answer.status, sum(read)) == (400, 9000)
        assert "this upload has ended" in json.loads(answer.body)["error"]
    for method in ("GET", "HEAD", "PUT", "OPTIONS"):
        assert post(upload, [], method=method).status == 405


def test_a_cancelled_upload_leaves_nothing(upload, root):
    post(upload, [("red/0.png", photo())])
    for _ in range(2):
        assert post(upload, [], method="DELETE").status == 200
    assert waiting(root) == [] and find_upload(upload.token) is None
    assert post(upload, [("red/1.png", photo())]).status == 400
    assert waiting(root) == []


def test_cancelling_ends_a_request_that_goes_on(upload, root):
    path = UPLOAD.format(token=upload.token)
    parts = pieces(photo(0), 300)

    async def both():
        sent = []

        async def receive():
            if len(parts) == 2:
                await asked(APP, scope(path, "DELETE"))
            if not parts:
                return {"type": "http.request", "body": b"", "more_body": False}
            return {"type": "http.request", "body": parts.pop(0), "more_body": True}

        async def send(message):
            sent.append(message)

        await APP(scope(path, "POST", query_string=b"name=red/0.png"), receive, send)
        return sent[0]["status"]

    assert asyncio.run(both()) == 400
    assert waiting(root) == []


def test_sessions_do_not_see_each_other_s_uploads(root):
    first, second = new_upload(root), new_upload(root)
    assert first.token != second.token and len(first.token) == 32
    post(first, [("red/0.png", photo(0))])
    post(second, [("red/0.png", photo(1))])
    post(second, [], method="DELETE")
    assert placed(first, root)["red/0.png"].read_bytes() == photo(0)


def test_whatever_fails_ends_one_request_and_no_more(upload, root, monkeypatch):
    for error, said in (
        (KeyError("ours"), "the log has more"),
        (OSError(28, "No space left on device"), "the log has more"),
    ):

        def fails(self, file, data, error=error):
            raise error

        with monkeypatch.context() as patch:
            patch.setattr(Upload, "write", fails)
            answer = post(upload, [("red/0.png", photo())])
        assert answer.status == 400
        assert said in json.loads(answer.body)["error"]
        assert str(root) not in answer.body.decode()
        assert staged(root) == []
    assert post(upload, [("red/0.png", photo())]).status == 200
    assert len(placed(upload, root)) == 1


def test_uploads_that_nobody_asks_for_are_removed(root, monkeypatch):
    unused, used = new_upload(root), new_upload(root)
    now = time.monotonic()
    monkeypatch.setattr(transfers.time, "monotonic", lambda: now + transfers.LIFETIME / 2)
    assert find_upload(used.token) is used
    monkeypatch.setattr(transfers.time, "monotonic", lambda: now + transfers.LIFETIME + 60)
    for _ in range(20):
        new_upload(root).cancel()
    new = new_upload(root)
    assert {p.name for p in waiting(root)} == {used.token, new.token}
    assert find_upload(unused.token) is None and len(transfers._uploads) == 2


# Downloads


@pytest.fixture
def run(root, tmp_path, monkeypatch):
    """A run with a name that needs to be quoted."""
    monkeypatch.setenv(RUNS, str(tmp_path / "runs"))
    run = tmp_path / "runs" / 'ä "x"'
    run.mkdir(parents=True)
    (run / "model.keras").write_bytes(b"model")
    return run


def test_a_model_is_given(run):
    link = run_url(f"{run.name}.keras")
    answer = ask(APP, unquote(link))
    assert (answer.status, answer.body) == (200, b"model")
    assert answer.headers["content-disposition"].startswith("attachment; filename*=utf-8''")
    assert answer.headers["cache-control"] == "no-store"
    assert ask(APP, unquote(link), "HEAD").status == 200
    assert ask(APP, unquote(link), "DELETE").status == 405


def test_a_report_and_an_export_are_given(run):
    (run / "report.html").write_text("<p>a report</p>")
    folder = run / "export" / "openvino"
    folder.mkdir(parents=True)
    (folder / "model.xml").write_text("a model")
    report = ask(APP, unquote(report_url(run.name)))
    assert (report.status, report.body) == (200, b"<p>a report</p>")
    assert report.headers["content-security-policy"].startswith("sandbox allow-scripts")
    exported = ask(APP, unquote(export_url(run.name, "openvino")))
    with zipfile.ZipFile(io.BytesIO(exported.body)) as archive:
        assert archive.namelist() == ["openvino/model.xml"]
    for form in ("onnx", "..", ".", "%2e%2e", "*"):
        assert ask(APP, export_url(run.name, form)).status == 404


def test_a_file_that_has_gone_is_told(run, monkeypatch):
    (run / "model.keras").unlink()
    (run.parent / ".hidden").mkdir()
    for file, said in (
        (f"{run.name}.keras", "any more"),
        (f"{run.name}.yaml", "any more"),
        (run.name, "there is no run ''"),
        ("gone.zip", "there is no run 'gone'"),
        (".hidden.zip", "there is no run"),
        ("...zip", "there is no run"),
    ):
        answer = ask(APP, f"/tlearn/run/{file}")
        assert answer.status == 404 and said in answer.body.decode()
        assert "html" not in answer.headers["content-type"]
    for file in ("", "../x.zip", "..%2f..%2fetc%2fpasswd"):
        assert ask(APP, f"/tlearn/run/{file}").status == 404

    def unreadable(*arguments):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(downloads, "zip_folder", unreadable)
    answer = ask(APP, f"/tlearn/run/{run.name}.zip", headers={"accept-language": "zh-CN"})
    said = "the file cannot be read: Permission denied"
    assert (answer.status, answer.body.decode()) == (404, texts_for("zh").message(said))


def test_a_whole_run_is_packed_for_each_request_and_removed(run, monkeypatch):
    made = []

    def recorded(*arguments):
        made.append(zip_folder(*arguments))
        assert made[-1].stat().st_mode & 0o077 == 0
        return made[-1]

    monkeypatch.setattr(downloads, "zip_folder", recorded)
    link = f"/tlearn/run/{run.name}.zip"
    for _ in range(2):
        with zipfile.ZipFile(io.BytesIO(ask(APP, link).body)) as archive:
            assert archive.namelist() == [f"{run.name}/model.keras"]
    with contextlib.suppress(OSError, ExceptionGroup):
        asyncio.run(APP(scope(link), asyncio.Event().wait, broken_off))
    assert len(set(made)) == 3 and not any(path.exists() for path in made)


async def broken_off(message):
    raise OSError("gone")


# A real server


def sent(port, token, size, cookie, broken_off=False, watch=lambda: None):
    """Send one file of ``size`` bytes that begins as a ZIP does; return answer and digest."""
    part = np.random.default_rng(0).bytes(1 << 20)
    digest = hashlib.sha256(b"PK\x03\x04")
    with socket.create_connection(("127.0.0.1", port), timeout=120) as connection:
        connection.sendall(
            f"POST {UPLOAD.format(token=token)}?name=big.zip HTTP/1.1\r\n"
            f"Host: localhost:{port}\r\nCookie: {cookie}\r\n"
            f"Content-Length: {size}\r\nConnection: close\r\n\r\nPK\x03\x04".encode()
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
from tlearn.web.transfers import new_upload
from tlearn.web.server import serve
for _ in range(3):
    print(new_upload(Path(sys.argv[1])).token, flush=True)
serve("127.0.0.1", int(sys.argv[2]))
"""


def test_150_mb_go_to_disk_and_not_to_memory(tmp_path):
    size, port, root = 150 * 10**6, free_port(), tmp_path / "data"
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
        assert max(most) - before < 50 * 10**6

        sent(port, third, 20 * 10**6, cookie, broken_off=True)
        until(lambda: staged(root, third) == [])
        assert len(running.lines) == 4  # it said nothing
