"""Scans of data in a store: names of all kinds, what changes, and a store that fails meanwhile."""

import errno
import shutil
import unicodedata
import uuid

import boto3
import fsspec
import pytest
from conftest import Counted
from test_scan_cache import cached
from test_store_data import names, upload

from tlearn import store_access
from tlearn.cli import main
from tlearn.data.read_data import read_source
from tlearn.data.scan import scan
from tlearn.errors import StoreError
from tlearn.object_stores import StorePath, as_path

ODD = (
    *("a b.png", "a#b.png", "a?b=c.png", "100%25.png", "a::b.png", "zip::b.png", "a&b;c'd.png"),
    *("[1]*.png", unicodedata.normalize("NFD", "é.png"), "日本.png", f"{'x' * 200}.png", "~$.png"),
)


@pytest.fixture
def memory():
    return f"memory://{uuid.uuid4().hex}"


@pytest.fixture
def reads(monkeypatch):
    """The names of the objects whose contents are read, in the order of reading."""
    seen = []
    read = StorePath.read_bytes

    def read_bytes(self):
        seen.extend([self.name] * (self.suffix == ".png"))
        return read(self)

    monkeypatch.setattr(StorePath, "read_bytes", read_bytes)
    return seen


def patched(monkeypatch, method, before):
    """Have ``before`` called with the path before a method of the package of S3."""
    files = type(fsspec.filesystem("s3"))
    real = getattr(files, method)

    async def call(self, *paths, **options):
        before(paths[-1])
        return await real(self, *paths, **options)

    monkeypatch.setattr(files, method, call)
    files.clear_instance_cache()  # of which each has its own


def test_a_second_scan_reads_what_has_changed_alone(s3, photos, reads, monkeypatch):
    requests = []
    patched(monkeypatch, "_ls", requests.append)
    data = upload(photos, f"{s3()}/photos")
    first = cached(data)
    assert len(reads) == 36
    reads.clear()
    requests.clear()
    assert cached(data) == first and not reads
    assert len(requests) == 4  # the folder and its classes, once
    blue, red = (data / f"{label}/{label}05.png" for label in ("blue", "red"))
    blue.write_bytes((data / "green/green05.png").read_bytes())
    red.unlink()
    (data / "red/new.png").write_bytes((data / "red/red06.png").read_bytes())
    reads.clear()
    again = cached(data)
    assert sorted(reads) == ["blue05.png", "new.png"]
    assert names(again) == names(scan(data)) and len(again.files) == 36


def test_a_second_scan_of_what_a_table_names_in_a_store(s3, photos, reads, tmp_path):
    data = upload(photos, f"{s3()}/photos")
    lines = [f"{data}/{p.parent.name}/{p.name},{p.parent.name}" for p in photos.glob("*/*")]
    (tmp_path / "labels.csv").write_text("\n".join(["path,label", *lines]))
    first = cached(tmp_path / "labels.csv")
    reads.clear()
    assert cached(tmp_path / "labels.csv") == first and not reads


@pytest.mark.parametrize("where", ["memory", "s3"])
def test_names_of_all_kinds(where, photos, request, tmp_path):
    top = request.getfixturevalue("s3")() if where == "s3" else f"memory://{uuid.uuid4().hex}"
    folder = tmp_path / "odd" / "photos"
    sources = sorted(photos.glob("*/*.png"))
    for label in ("a #?% é", "b"):
        (folder / label).mkdir(parents=True)
        for name in ODD:
            shutil.copy(sources.pop(), folder / label / name)
    files, root = fsspec.url_to_fs(f"{top}/photos")
    for path in folder.glob("*/*"):
        files.pipe_file(f"{root}/{path.relative_to(folder).as_posix()}", path.read_bytes())
    here, there = scan(folder), scan(as_path(f"{top}/photos"))
    assert len(here.files) == 2 * len(ODD)
    assert names(there) == names(here)
    assert [problem.reason for problem in there.problems] == [p.reason for p in here.problems]


def test_objects_that_no_disk_has(s3, photos):
    bucket = s3()
    data = upload(photos, f"{bucket}/photos")
    client, name = boto3.client("s3"), bucket.removeprefix("s3://")
    for key in ("photos/", "photos/red/", "photos/empty/", "photos/red"):
        client.put_object(Bucket=name, Key=key, Body=b"")
    manifest = scan(data)
    assert manifest.counts == {"blue": 12, "green": 12, "red": 12}
    assert {p.name for p in manifest.problems} == {"empty"}
    client.put_object(Bucket=name, Key="photos/red//a.png", Body=b"")
    with pytest.raises(StoreError, match=r"a name with a part that is empty, .*photos/red/"):
        scan(data)


@pytest.mark.parametrize("error", [PermissionError("Access Denied"), OSError("503 Slow Down")])
def test_a_store_that_fails_meanwhile_ends_a_scan_that_goes_on_later(
    s3, photos, reads, monkeypatch, capsys, tmp_path, error
):
    monkeypatch.chdir(tmp_path)
    data = upload(photos, f"{s3()}/photos")
    monkeypatch.setattr("tlearn.data.file_reading.READERS", 1)

    def fail(path):
        if path.endswith("green05.png"):
            raise error

    with monkeypatch.context() as patch:
        patched(patch, "_cat_file", fail)
        for command in ("check", "finetune", "plan"):
            assert main([command, str(data)]) == 2
            message = capsys.readouterr().err.strip().splitlines()[-1]
            assert f"{data}/green/green05.png' cannot be used: " in message
            assert str(error) in message
    type(fsspec.filesystem("s3")).clear_instance_cache()
    reads.clear()
    assert len(cached(data).files) == 36
    assert 0 < len(reads) < 36
    assert not list(tmp_path.glob("runs/*"))


def test_a_file_that_vanishes_is_unreadable(s3, photos):
    data = upload(photos, f"{s3()}/photos")
    source = read_source(data)
    (data / "red/red05.png").unlink()
    manifest = scan(source)
    assert [(p.name, p.kind) for p in manifest.problems] == [("red/red05.png", "unreadable")]


def test_a_scan_of_a_store_that_was_interrupted_goes_on(s3, photos, reads):
    class Impatient(Counted):
        def advance(self, n=1, note=""):
            super().advance(n)
            if self.done > 20:
                raise KeyboardInterrupt

    data = upload(photos, f"{s3()}/photos")
    with pytest.raises(KeyboardInterrupt):
        cached(data, progress=Impatient())
    reads.clear()
    cached(data)
    assert len(reads) <= 36 - 20


def test_a_large_folder_may_take_longer_than_an_answer(memory, photos, monkeypatch):
    data = upload(photos, f"{memory}/photos")
    files = type(fsspec.filesystem("memory"))
    ls = files.ls
    monkeypatch.setattr(store_access, "SECONDS", 0.2)

    def slow(self, path, *args, **options):
        if path.endswith("red"):
            store_access.threading.Event().wait(0.5)
        return ls(self, path, *args, **options)

    monkeypatch.setattr(files, "ls", slow)
    assert len(scan(data).files) == 36


def test_errors_of_a_disk_are_still_those_of_files(photos, monkeypatch):
    def fail(path):
        raise OSError(errno.EIO, "Input/output error", str(path))

    source = read_source(photos)
    blue = source.files[0].path
    read = type(blue).read_bytes
    monkeypatch.setattr(
        type(blue), "read_bytes", lambda self: fail(self) if self == blue else read(self)
    )
    manifest = scan(source)
    assert [p.kind for p in manifest.problems] == ["unreadable"] and len(manifest.files) == 35
