"""Data in a store: listed, read, corrected and trained on as on a disk."""

import json
import shutil
import socket
import uuid
from pathlib import Path, PurePosixPath

import fsspec
import pytest
from conftest import TOY, Heard

import tlearn
from tlearn import store_access
from tlearn.cli import main
from tlearn.data.edits import Change, Edits, append_edits, undo_edits
from tlearn.data.image_paths import image_paths
from tlearn.data.read_data import data_name, read_source
from tlearn.data.scan import scan
from tlearn.errors import DataError, StoreError, TlearnError
from tlearn.object_stores import StorePath, absolute, as_path
from tlearn.store_access import is_url


def upload(folder, url):
    """Copy a folder or file into a store; return its path there."""
    files, root = fsspec.url_to_fs(url)
    files.put(str(folder), root, recursive=folder.is_dir())
    return as_path(url)


@pytest.fixture(params=["memory", "s3"])
def place(request):
    """The URL of an empty place in a store."""
    if request.param == "s3":
        return f"{request.getfixturevalue('s3')()}/sets"
    return f"memory://{uuid.uuid4().hex}/sets"


@pytest.fixture
def memory():
    return f"memory://{uuid.uuid4().hex}"


def names(manifest):
    return [(f.name, f.label, f.content, f.given, f.below) for f in manifest.files]


def test_paths_of_stores_are_paths():
    path = as_path("s3://bucket/photos/red/a b.jpg")
    assert isinstance(path, StorePath) and is_url(path) and not is_url("C:\\photos")
    assert str(path) == "s3://bucket/photos/red/a b.jpg"
    assert str(path.parent.parent / "x") == "s3://bucket/photos/x"
    assert (path.name, path.suffix, path.stem) == ("a b.jpg", ".jpg", "a b")
    root = as_path("s3://bucket/photos/")
    assert path.is_relative_to(root) and path.relative_to(root) == PurePosixPath("red/a b.jpg")
    assert not path.is_relative_to(Path("/photos")) and not Path("/x").is_relative_to(root)
    assert str(absolute(root / "../other/./y")) == "s3://bucket/other/y"
    assert {path: 1}[as_path(str(path))] == 1
    assert not is_url("a::b.jpg") and is_url("zip://a.csv::s3://bucket/b.zip")
    assert str(as_path("photos")) == "photos" and type(as_path("photos")) is type(Path())
    assert str(as_path("simplecache::s3://bucket/a")) == "simplecache::s3://bucket/a"
    assert data_name(as_path("memory://none/photos.zip")) == "photos"


def test_a_folder_in_a_store_is_scanned_as_on_a_disk(place, parts):
    data = upload(parts, f"{place}/parts")
    here, there = scan(parts), scan(data)
    assert names(here) == names(there)
    assert here.digest == there.digest
    assert (str(there.data), str(there.folder)) == (f"{place}/parts", f"{place}/parts")
    assert str(there.files[0].path).startswith(f"{place}/parts/train/")
    files, root = fsspec.url_to_fs(str(data))
    files.rm_file(f"{root}/{there.files[0].name}")
    assert len(scan(data).files) == len(here.files) - 1  # what was listed is forgotten


def test_a_training_in_a_store_is_that_on_a_disk(s3, toy_run, tmp_path, capsys):
    data = upload(toy_run.photos, f"{s3()}/photos")
    run = tmp_path / "run"
    assert main(["finetune", str(data), *TOY, "--quiet", "--out", str(run)]) == 0
    for name in ("splits.csv", "predictions.csv", "labels.json"):
        assert (run / name).read_bytes() == (toy_run.run / name).read_bytes()
    opened = tlearn.Run(run)
    assert str(opened.photo_folder) == str(data)
    assert len(opened.images("validation")) == 7
    capsys.readouterr()
    photo = f"{data}/blue/blue00.png"
    assert main(["predict", str(run), photo, "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["path"] == photo
    assert main(["evaluate", str(run), str(data), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["n"] == 7
    assert len(image_paths([f"{data}/red", photo])) == 13
    assert main(["report", str(run)]) == 0
    assert main(["check", str(data), "--files-only", "--json"]) == 0


def test_edits_are_beside_the_data_in_the_store(place, photos):
    data = upload(photos, f"{place}/photos")
    append_edits(data, [Change("blue/blue00.png", "class", "red")])
    append_edits(data, [Change("green/", "class", "grass")])
    assert as_path(f"{place}/photos.edits.csv").is_file()
    assert scan(data).counts == {"blue": 11, "grass": 12, "red": 13}
    assert main(["data", "show", str(data)]) == 0
    assert len(undo_edits(data)) == 1
    assert len(Edits.of(data).lines) == 1
    undo_edits(data, everything=True)
    assert scan(data).counts == {"blue": 12, "green": 12, "red": 12}
    assert not as_path(f"{place}/photos.edits.csv").exists()


def test_a_corrected_copy_of_a_store_is_a_folder(memory, photos, tmp_path, capsys):
    data = upload(photos, f"{memory}/photos")
    append_edits(data, [Change("blue/blue00.png", "exclude")])
    assert main(["data", "apply", str(data), str(tmp_path / "copy")]) == 0
    assert scan(tmp_path / "copy").digest == scan(data).digest
    assert main(["data", "apply", str(data), str(tmp_path / "links"), "--link"]) == 2
    assert "leave out --link" in capsys.readouterr().err


def test_tables_in_stores_and_of_photos_in_stores(place, photos, tmp_path):
    lines = [f"{p.parent.name}/{p.name},{p.parent.name}" for p in sorted(photos.glob("*/*"))]
    (photos / "labels.csv").write_text("\n".join(["path,label", *lines]))
    data = upload(photos, f"{place}/photos")
    local = scan(photos / "labels.csv")
    assert names(scan(data / "labels.csv")) == names(local)
    elsewhere = tmp_path / "labels.csv"
    elsewhere.write_text("\n".join(["path,label", *(f"{data}/{line}" for line in lines)]))
    there = scan(elsewhere)
    assert [f.content for f in there.files] == [f.content for f in local.files]
    assert there.counts == local.counts
    elsewhere.write_text(f"path,label\n{data}/red/none.png,red\n{data}/red/red00.png,red\n")
    with pytest.raises(DataError, match=r"1 of them cannot be found"):
        read_source(elsewhere)


def test_an_archive_in_a_store_is_unpacked_into_the_cache(place, photos, tmp_path, cache):
    archive = shutil.make_archive(str(tmp_path / "photos"), "zip", photos)
    data, heard = upload(Path(archive), f"{place}/photos.zip"), Heard()
    first = scan(data, progress=heard)
    assert names(first) == names(scan(photos))
    assert scan(data, progress=heard).digest == first.digest
    assert sum("unpacked into" in line for line in heard.lines) == 1
    shutil.rmtree(photos / "red")
    archive = shutil.make_archive(str(tmp_path / "photos"), "zip", photos)
    assert set(scan(upload(Path(archive), str(data))).labels) == {"blue", "green"}
    assert not list((cache / "archives").rglob("*.zip"))


def test_a_file_that_vanishes_is_reported(memory, photos, monkeypatch, tmp_path, capsys):
    data = upload(photos, f"{memory}/photos")
    source = read_source(data)
    files, root = fsspec.url_to_fs(str(data))
    files.rm_file(f"{root}/blue/blue00.png")
    manifest = scan(source)
    assert [(p.name, p.kind) for p in manifest.problems] == [("blue/blue00.png", "unreadable")]
    assert "No such file" in manifest.problems[0].reason
    read = StorePath.read_bytes
    times = {}

    def vanishing(self):
        times[self] = times.get(self, 0) + 1
        if times[self] > 1 and self.name == "red00.png":
            raise FileNotFoundError(2, "No such file or directory", str(self))
        return read(self)

    monkeypatch.setattr(StorePath, "read_bytes", vanishing)
    out = tmp_path / "run"
    assert main(["finetune", str(data), *TOY, "--quiet", "--out", str(out)]) == 2
    error = capsys.readouterr().err.strip()
    assert "red00.png' changed since it was scanned: cannot be read: No such file" in error
    assert "\n" not in error
    assert not out.exists()


@pytest.mark.parametrize("command", ["finetune", "check", "plan"])
def test_what_cannot_be_is_refused_in_one_line(s3, tmp_path, monkeypatch, capsys, command):
    monkeypatch.chdir(tmp_path)
    bucket = s3()

    def refused(url):
        assert main([command, url]) == 2
        error = capsys.readouterr().err.strip()
        assert "\n" not in error and url in error
        return error

    assert "is not there" in refused(f"{bucket}/none")
    assert "is not there" in refused("s3://no-such-bucket/photos")
    assert "a URL such as s3://" in refused("nothing://x/y")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    type(fsspec.filesystem("s3")).clear_instance_cache()
    assert "Could not connect" in refused(f"{bucket}/other")
    assert not list(tmp_path.iterdir())


def test_no_permission_and_no_answer(memory, s3, photos, monkeypatch):
    data = upload(photos, f"{memory}/photos")

    def refuse(*args, **options):
        raise PermissionError("Access Denied")

    monkeypatch.setattr(type(fsspec.filesystem("memory")), "ls", refuse)
    with pytest.raises(StoreError, match=r"photos' cannot be used: no permission"):
        read_source(data)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{silent.getsockname()[1]}")
        type(fsspec.filesystem("s3")).clear_instance_cache()
        monkeypatch.setattr(store_access, "SECONDS", 0.5)
        with pytest.raises(TlearnError, match=r"no answer within 0\.5 seconds"):
            read_source(as_path("s3://bucket/photos"))


def test_a_package_that_is_missing_is_named(monkeypatch):
    def missing(*args, **options):
        raise ImportError("Install gcsfs")

    monkeypatch.setattr(fsspec, "url_to_fs", missing)
    with pytest.raises(StoreError, match=r"needs the package gcsfs: pip install gcsfs"):
        as_path("gs://bucket/photos").exists()
