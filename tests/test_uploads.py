"""Files from others: what is taken, what is refused, and that nothing of it stays."""

import contextlib
import io
import os
import shutil
import stat
import struct
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import psutil
import pytest
from conftest import picture
from serving import until

from tlearn.data import archives
from tlearn.data.archive_folder import read_report
from tlearn.data.scan import scan
from tlearn.data.unpacking import unpack
from tlearn.data.uploads import Limits, Upload
from tlearn.errors import DataError
from tlearn.priority import AWAITED
from tlearn.web import background


def photo(seed=0, ending="png", size=(40, 36)):
    """The bytes of a small picture."""
    buffer = io.BytesIO()
    picture((90, 120, 40), np.random.default_rng(seed), size).save(buffer, ending)
    return buffer.getvalue()


PHOTO = photo()


def zipped(entries, method=zipfile.ZIP_DEFLATED):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, data in entries:
            archive.writestr(name, data)
    return buffer.getvalue()


def send(upload, name, data, step=1000):
    with upload.receiving(name) as file:
        for start in range(0, len(data), step):
            upload.write(file, data[start : start + step])


def tree(folder):
    """Every file below a folder, the staging folders' too."""
    files = (p for p in folder.rglob("*") if not p.is_dir() and p.name != ".lock")
    return sorted(p.relative_to(folder).as_posix() for p in files)


def visible_tree(folder):
    return [name for name in tree(folder) if name != ".upload.csv"]


@pytest.fixture
def root(tmp_path):
    return tmp_path / "data"


@pytest.fixture
def upload(root):
    return Upload(root)


# Receiving


def test_files_are_received_and_placed_at_once(root, upload):
    send(upload, "flowers/daisy/a.png", PHOTO)
    send(upload, "flowers/雏菊/b.jpg", photo(1, "jpeg"))
    assert (upload.files, upload.report) == (2, [])
    assert [p.name for p in root.iterdir()] == [".uploads"]
    target = upload.place(root / "my" / "set")
    assert target == (root / "my" / "set").resolve()
    assert tree(root) == ["my/set/daisy/a.png", "my/set/雏菊/b.jpg"]
    assert (target / "daisy/a.png").read_bytes() == PHOTO
    assert scan(target).labels == ("daisy", "雏菊")
    assert stat.S_IMODE(target.stat().st_mode) & 0o700 == 0o700
    assert read_report(target) == []
    with pytest.raises(DataError, match="has ended"):
        send(upload, "b.png", PHOTO)
    for names, stay in (  # a single class, and split folders
        (["cats/a.png", "cats/b.png"], ["cats/a.png", "cats/b.png"]),
        (["a/b/train/x/1.png", "a/b/train/y/1.png"], ["train/x/1.png", "train/y/1.png"]),
    ):
        upload = Upload(root)
        for name in names:
            send(upload, name, PHOTO)
        assert tree(upload.place(root / f"set-{len(names[0])}")) == stay


def test_what_was_left_out_or_renamed_is_reported_and_stays_with_the_data(root, upload):
    sent = {
        "x/CON/a.png": PHOTO,
        "x/CON/b.png": PHOTO,
        "x/red/a.png": PHOTO,
        "x/notes.txt": b"hello",
        "x/empty.jpg": b"",
        "x/\ud800.jpg": b"\xff\xd8\xff no",
        "x/old.rar": b"Rar!\x1a\x07\0" + bytes(99),
        "../red/b.png": PHOTO,
        "/etc/b.png": PHOTO,
        ".DS_Store": PHOTO,
        "x/Thumbs.db": PHOTO,
        "__MACOSX/a.png": PHOTO,
    }
    for name, data in sent.items():
        send(upload, name, data)
    assert (upload.files, upload.bytes) == (3, 3 * len(PHOTO))
    for problem, (name, words) in zip(
        upload.report,
        {
            "x/notes.txt": "not an image: not an image in a supported format",
            "x/empty.jpg": "not an image: the file is empty",
            "x/\ud800.jpg": "unreadable: damaged or unsupported JPEG",
            "x/old.rar": "not an image: a rar archive; zip and tar alone",
            "../red/b.png": "refused: the name leads out",
            "/etc/b.png": "refused: the name leads out",
            "x/CON": "renamed: it is 'x/CON_' now",
        }.items(),
        strict=True,
    ):
        assert problem.name == name and f"{problem.kind}: {problem.reason}".startswith(words)
    target = upload.place(root / "set")
    assert visible_tree(target) == ["CON_/a.png", "CON_/b.png", "red/a.png"]
    assert read_report(target) == upload.report
    assert scan(target).labels == ("CON_", "red")
    for damage in (b"", b"\xff", b"a,b\n1\n"):
        (target / ".upload.csv").write_bytes(damage)
        assert read_report(target) == []


def test_nothing_usable_is_told_with_the_reasons(root, upload):
    send(upload, "old.7z", b"7z\xbc\xaf\x27\x1c")
    send(upload, "notes.txt", b"hello")
    for end in (upload.images, lambda: upload.place(root / "set")):
        with pytest.raises(DataError, match=r"none of the 2 files rec.*'old.7z': a 7z archive"):
            end()
    upload.cancel()
    assert tree(root) == []


def test_interrupted_files_and_a_full_disk_leave_nothing(root, upload, monkeypatch):
    with pytest.raises(ConnectionError), upload.receiving("a.png") as file:
        upload.write(file, PHOTO[:100])
        raise ConnectionError
    assert tree(root) == [] and (upload.files, upload.bytes) == (0, 0)
    little = shutil.disk_usage(root)._replace(free=archives.SPARE + 100)
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda path: little)
        with pytest.raises(DataError, match=r"needs .* of disk, where 100 bytes are free"):
            send(upload, "a.png", PHOTO)
    assert tree(root) == []
    send(upload, "a.png", PHOTO)
    assert upload.bytes == len(PHOTO)


def test_limits_on_what_is_received(root):
    limits = Limits(files=3, bytes=3000 + len(PHOTO), image_bytes=len(PHOTO))
    upload = Upload(root, limits)
    send(upload, "b.png", PHOTO + b"x")
    assert "are allowed" in upload.left_out[0].reason
    with pytest.raises(DataError, match=r"more than the .* that are allowed"):
        send(upload, "big.tar", bytes(10_000))
    send(upload, "a.png", PHOTO)
    assert upload.bytes == len(PHOTO)
    send(upload, "b.txt", b"what is left out counts")
    with pytest.raises(DataError, match="exceeds the 3 files"):
        send(upload, "c.png", PHOTO)
    assert [p.name for p in upload.images()] == ["a.png"]


@contextlib.contextmanager
def files_of_at_most(size):
    """Let the system refuse to write more to a file, as it does where a disk is full."""
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_what_the_system_does_not_write_is_told(root, upload):
    large = photo(2, "bmp", (200, 200))
    send(upload, "a.zip", zipped([("x/a.bmp", large), ("x/b.png", PHOTO)]))
    send(upload, "b.png", PHOTO)
    with files_of_at_most(100_000):
        with pytest.raises(DataError, match=r"upload cannot be written: File too large"):
            send(upload, "a.bmp", large, step=7000)
        with pytest.raises(DataError, match=r"'a.zip' cannot be unpacked: File too large"):
            upload.unpack()
    assert [p.name for p in upload.images()] == ["b.png"] and len(tree(root)) == 1


def test_files_come_in_several_threads(root, upload):
    def work(k):
        for i in range(10):
            send(upload, f"{'Cc'[k % 2]}at/{i}.png", PHOTO)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(work, range(2)))
    assert (upload.files, upload.bytes) == (20, 20 * len(PHOTO))
    assert len(visible_tree(upload.place(root / "set"))) == 20


def test_place_refuses_other_places(root, upload, tmp_path):
    send(upload, "a/a.png", PHOTO)
    (root / "there").mkdir()
    (root / "dangling").symlink_to(root / "nowhere")
    (root / "out").symlink_to(tmp_path)
    for target, why in [
        (root / "there", "exists already"),
        (root / ".uploads" / "x", "not for data"),
        (root, "not for data"),
        (root / ".." / "x", "does not lie"),
        (tmp_path / "x", "does not lie"),
        (root / "out" / "x", "does not lie"),
    ]:
        with pytest.raises(DataError, match=why):
            upload.place(target)
    assert tree(upload.place(root / "set")) == ["a/a.png"]


def test_cancel_removes_all_and_never_raises(root, upload):
    send(upload, "a.png", PHOTO)
    send(upload, "a.zip", zipped([("a.png", PHOTO)]))
    upload.cancel()
    upload.cancel()
    other = Upload(root)
    with pytest.raises(DataError, match=r"has ended|cannot be written"):  # noqa: SIM117
        with other.receiving("a.png") as file:
            other.write(file, PHOTO)
            other.cancel()
    assert tree(root) == []


# Archives that are right: see test_archives.py for what is refused


class Counted:
    total = done = 0

    @contextlib.contextmanager
    def task(self, title, total, unit):
        self.total += total
        yield self

    def advance(self, n=1, note=""):
        assert n >= 0
        self.done += n


def test_archives_become_folders(root, upload):
    send(upload, "cats.zip", zipped([("1.png", PHOTO), ("x/2.png", PHOTO)]))
    send(upload, "sub/one.zip", zipped([("dogs/1.png", PHOTO), ("dogs/x/2.png", PHOTO)]))
    send(upload, "sub/two.zip", zipped([("Dogs/1.png", PHOTO), ("Dogs/notes.txt", b"x")]))
    send(upload, "empty.zip", zipped([]))
    with pytest.raises(DataError, match=r"'cats\.zip' is not unpacked yet"):
        upload.place(root / "set")
    counted = Counted()
    upload.unpack(counted)
    assert counted.done == counted.total > 0
    expected = ["cats/1.png", "cats/x/2.png"]
    expected += ["sub/dogs/1.png", "sub/dogs/x/2.png", "sub/Dogs-2/1.png"]
    assert (upload.files, upload.bytes) == (len(expected), len(expected) * len(PHOTO))
    assert {p.name: p.kind for p in upload.report} == {
        "empty.zip": "not an image",
        "sub/two.zip/Dogs/notes.txt": "not an image",
        "sub/Dogs": "renamed",
    }
    assert visible_tree(upload.place(root / "set")) == sorted(expected)


def test_an_archive_that_is_refused_leaves_nothing_and_those_after_it_wait(root, upload):
    send(upload, "a.zip", zipped([("good/a.png", PHOTO), ("../x.png", PHOTO)]))
    send(upload, "b.zip", zipped([("b.png", PHOTO)]))
    with pytest.raises(DataError, match=r"'a\.zip' holds '\.\./x\.png', which leads out") as error:
        upload.unpack()
    assert "\n" not in str(error.value)
    assert len(tree(root)) == 1 and (upload.files, upload.left_out) == (1, [])
    upload.unpack()
    assert tree(upload.place(root / "set")) == ["b/b.png"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no named pipes")
def test_unpacking_takes_no_time_from_the_page(tmp_path):
    """Its process leads a session of low priority; else it shares a core with that of the page."""
    os.mkfifo(fifo := tmp_path / "a.zip")
    limits = Limits(seconds=60)
    task = background.start(lambda p: unpack(fifo, "a.zip", tmp_path / "a", limits, p, False))

    def waiting():
        """Return the processes that read the pipe, which nothing is written into."""
        children = psutil.Process().children()
        return [c for c in children if str(fifo) in " ".join(c.cmdline()) and c.nice() == AWAITED]

    until(lambda: waiting() or task.over.is_set())
    (process,) = waiting()
    until(lambda: os.getsid(process.pid) == process.pid)
    if (autogroup := Path(f"/proc/{process.pid}/autogroup")).exists():
        until(lambda: f"nice {AWAITED}" in autogroup.read_text())
    process.kill()
    assert task.over.wait(60) and task.problem


def test_unpacking_is_ended_after_its_time_and_its_memory_is_bounded(root):
    upload = Upload(root, Limits(seconds=0.01))
    send(upload, "a.zip", zipped([("b.png", PHOTO)]))
    with pytest.raises(DataError, match=r"'a\.zip' takes more than"):
        upload.unpack()
    assert tree(root) == []
    pytest.importorskip("resource")
    upload = Upload(root, Limits(memory=50 * 10**6))
    data = bytearray(zipped([("a.png", PHOTO)], zipfile.ZIP_LZMA))
    properties = data.index(b"\x09\x04\x05\x00\x5d")  # version, length, and the size of the window
    data[properties + 5 : properties + 9] = struct.pack("<L", 0xF000_0000)  # 4 GB
    send(upload, "a.zip", bytes(data))
    with pytest.raises(DataError, match="too much memory"):
        upload.unpack()
    assert tree(root) == []
