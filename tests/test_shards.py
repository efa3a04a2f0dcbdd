"""Photos in shards: packed, found and read in place, on a disk and in a store."""

import io
import json
import os
import shutil
import tarfile
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor

import fsspec
import pyarrow
import pytest
from conftest import TOY
from pyarrow import parquet
from test_scan_cache import age, cached
from test_store_data import upload
from test_store_scans import patched

import tlearn
from tlearn.cache_folder import cache_folder
from tlearn.cli import main
from tlearn.data import packing, shard_index, shards
from tlearn.data.edits import Change, append_edits, edits_path
from tlearn.data.images import read_bytes
from tlearn.data.packed_photos import PackedPath, forget_shards, photo_path
from tlearn.data.packing import pack
from tlearn.data.read_data import read_source
from tlearn.data.scan import scan
from tlearn.data.scan_cache import scans_bytes
from tlearn.errors import ConfigError, DataError
from tlearn.object_stores import as_path
from tlearn.progress import Silent

FORMS = ("webdataset", "parquet")


def write_tar(path, members):
    with tarfile.open(path, "w") as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("where", ["disk", "s3"])
def test_what_is_packed_is_what_it_was(form, where, parts, tmp_path, request, monkeypatch):
    monkeypatch.setattr(packing, "GROUP", 5000)
    out = as_path(f"{request.getfixturevalue('s3')()}/packed") if where == "s3" else tmp_path / "p"
    pack(parts, out, form, 15_000)
    before, after = scan(parts), scan(out)
    assert after.digest == before.digest
    assert after.labels == before.labels and after.given == {"train", "validation"}
    ending = ".tar" if form == "webdataset" else ".parquet"
    assert {f.name.partition("/")[0] for f in after.files} == {
        f"{split}-0000{i}{ending}" for split in ("train", "validation") for i in range(3)
    }
    for file in (after.files[0], after.files[-1]):
        path = photo_path(out, file.name)
        assert path.is_file() and not photo_path(out, f"{file.name}x").exists()
        assert read_bytes(path) == read_bytes(file.path)
        assert str(path) == f"{out}/{file.name}"
    with pytest.raises(DataError, match="exists already"):
        pack(parts, out, form)
    assert not (out / shards.UNFINISHED).exists()


def test_a_training_on_shards_is_that_on_the_photos(toy_run, tmp_path, capsys):
    out = tmp_path / "packed"
    assert main(["data", "pack", str(toy_run.photos), str(out)]) == 0
    assert "36 images of 3 classes" in capsys.readouterr().out
    run = tmp_path / "run"
    assert main(["finetune", str(out), *TOY, "--quiet", "--out", str(run)]) == 0
    of_photos, of_shards = tlearn.Run(toy_run.run), tlearn.Run(run)
    assert of_shards.metrics["validation"] == of_photos.metrics["validation"]
    assert [read_bytes(path) for path, _ in of_shards.images("validation")] == [
        read_bytes(path) for path, _ in of_photos.images("validation")
    ]
    packed, photos = (of_shards.predict(place) for place in (out, toy_run.photos))
    assert [p.top for p in packed] == [p.top for p in photos] and len(packed) == 36
    assert main(["evaluate", str(run), str(out), "--json"]) == 0
    pages = [tmp_path / "photos.html", tmp_path / "shards.html"]
    for place, page in zip((toy_run.run, run), pages, strict=True):
        assert main(["report", str(place), "--out", str(page)]) == 0
    pictures = [page.read_text().count("data:image/") for page in pages]
    assert pictures[0] == pictures[1] > 3
    assert main(["check", str(out), "--files-only", "--json"]) == 0


def test_edits_and_groups_go_with_the_photos(photos, tmp_path):
    append_edits(photos, [Change("blue/blue00.png", "exclude")])
    append_edits(photos, [Change("blue/blue01.png", "class", "red/dark")])
    append_edits(photos, [Change("red/red00.png", "group", "one")])
    pack(photos, tmp_path / "packed")
    after = scan(tmp_path / "packed")
    assert after.counts == {"blue": 10, "green": 12, "red": 12, "red/dark": 1}
    assert [f.group for f in after.files if f.group] == ["one"]
    append_edits(tmp_path / "packed", [Change("photos-00000.tar/green/green03.png", "class", "x")])
    assert scan(tmp_path / "packed").counts["x"] == 1


def test_shards_of_other_programs(tmp_path, photos):
    image = (photos / "red" / "red00.png").read_bytes()
    other = (photos / "blue" / "blue00.png").read_bytes()
    data = tmp_path / "shards"
    (data / "train").mkdir(parents=True)
    write_tar(
        data / "train" / "a-000.tar",
        {
            "x/0001.jpg": image,
            "x/0001.cls": b"7\n",
            "0002.seg.png": other,
            "0002.seg.json": b"[1]",
            "0002.json": b'{"label": "cat"}',
            "dogs/0003.png": other,
            "dogs/.hidden.png": b"",
        },
    )
    write_tar(data / "test-000.tar", {"./cats/1.png": image, "./README.txt": b"hello"})
    found = {f.name: (f.label, f.given) for f in read_source(data).files}
    assert found == {
        "test-000.tar/cats/1.png": ("cats", "test"),
        "train/a-000.tar/x/0001.jpg": ("7", "train"),
        "train/a-000.tar/0002.seg.png": ("cat", "train"),
        "train/a-000.tar/dogs/0003.png": ("dogs", "train"),
    }
    table = pyarrow.table({"img": [image, other], "label": ["a", "b"], "id": [1, 2]})
    parquet.write_table(table, tmp_path / "photos.parquet")
    files = read_source(tmp_path / "photos.parquet").files
    assert [(f.name, f.label) for f in files] == [
        ("photos.parquet/0-photo", "a"),
        ("photos.parquet/1-photo", "b"),
    ]
    assert [read_bytes(f.path) for f in files] == [image, other]


def test_a_table_names_photos_in_shards(parts, tmp_path):
    pack(parts, tmp_path / "packed")
    files = scan(tmp_path / "packed").files
    table = tmp_path / "photos.jsonl"
    rows = [{"path": str(f.path), "label": f.label, "split": f.given} for f in files]
    table.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert scan(table).digest == scan(parts).digest
    rows.append({"path": f"{files[0].path}x", "label": "red", "split": "train"})
    table.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(DataError, match="1 of them cannot be found"):
        scan(table)


def test_shards_that_cannot_be_used(tmp_path, capsys):
    def refused(data):
        assert main(["finetune", str(data)]) == 2
        error = capsys.readouterr().err.strip()
        assert "\n" not in error
        return error

    bad = tmp_path / "bad.parquet"
    bad.write_bytes(b"PAR1 no parquet PAR1")
    assert "bad.parquet' cannot be read" in refused(bad)
    parquet.write_table(pyarrow.table({"text": ["a"]}), bad)
    assert "has the columns text; photos are in 'image'" in refused(bad)
    for members, words in (
        ({"../a.jpg": b"x"}, "holds the name '../a.jpg'"),
        ({"a/b.jpg": b"x", "./a/b.jpg": b"y"}, "two photos of one name"),
    ):
        folder = tmp_path / uuid.uuid4().hex
        folder.mkdir()
        write_tar(folder / "a-0.tar", members)
        assert words in refused(folder)
    folder = tmp_path / "cut"
    folder.mkdir()
    content = write_tar(tmp_path / "a.tar", {"a/1.jpg": b"x" * 9000}).read_bytes()
    (folder / "a-0.tar").write_bytes(content[:3000])
    assert "cannot be read" in refused(folder)


def test_nothing_is_left_of_what_cannot_be_packed(photos, tmp_path, monkeypatch):
    with pytest.raises(ConfigError, match="one of webdataset, parquet"):
        pack(photos, tmp_path / "p", "zip")
    out = as_path(f"memory://{uuid.uuid4().hex}/packed")
    packed = []
    verified = packing._verified

    def vanish(shard, part):
        packed.append(shard)
        if len(packed) == 3:
            raise DataError("no more")
        return verified(shard, part)

    monkeypatch.setattr(packing, "_verified", vanish)
    for place in (tmp_path / "p", out):
        packed.clear()
        with pytest.raises(DataError, match="no more"):
            pack(photos, place, shard_bytes=15_000)
        assert not place.exists() or not list(place.entries())  # a folder in memory stays
    assert [p.name for p in tmp_path.iterdir()] == ["photos"]


def test_a_photo_that_changes_meanwhile_is_refused(photos, tmp_path, monkeypatch):
    files = scan(photos).files
    monkeypatch.setattr(packing, "scan", lambda *args, **options: manifest)
    manifest = scan(photos)
    files[5].path.write_bytes(files[6].path.read_bytes())
    with pytest.raises(DataError, match="changed since it was scanned; start again"):
        pack(photos, tmp_path / "packed")
    files[5].path.unlink()
    with pytest.raises(DataError, match="changed since it was scanned: cannot be read"):
        pack(photos, tmp_path / "packed")


def test_a_folder_of_photos_is_none_of_shards(photos):
    shutil.make_archive(str(photos / "backup"), "tar", photos / "red")
    assert scan(photos).counts == {"blue": 12, "green": 12, "red": 12}


@pytest.mark.parametrize("where", ["disk", "s3"])
def test_a_shard_that_has_not_changed_is_not_read_again(
    where, parts, tmp_path, request, monkeypatch, capsys
):
    out = as_path(f"{request.getfixturevalue('s3')()}/packed") if where == "s3" else tmp_path / "p"
    pack(parts, out, shard_bytes=15_000)
    if where == "disk":
        for path in out.iterdir():
            age(path)
    first = cached(out)
    monkeypatch.setattr(shard_index, "_tar_samples", lambda shard: pytest.fail("it was read"))
    monkeypatch.setattr(PackedPath, "read_bytes", lambda path: pytest.fail("it was read"))
    forget_shards()
    assert cached(out) == first
    assert main(["cache", "clear"]) == 0
    assert scans_bytes() == 0


def test_a_shard_that_has_changed_is_read_again(photos, tmp_path):
    data = tmp_path / "packed"
    pack(photos, data)
    [shard] = data.iterdir()
    age(shard)
    assert cached(data).counts == {"blue": 12, "green": 12, "red": 12}
    (photos / "red/red00.png").rename(photos / "blue/red00.png")
    pack(photos, tmp_path / "again")
    shard.write_bytes((tmp_path / "again" / shard.name).read_bytes())
    assert cached(data).counts == {"blue": 13, "green": 12, "red": 11}


def test_an_index_that_is_damaged_or_of_names_of_all_kinds(tmp_path, photos):
    data = tmp_path / "shards"
    data.mkdir()
    image = (photos / "red" / "red00.png").read_bytes()
    other = (photos / "blue" / "blue00.png").read_bytes()
    names = ["caf\udce9/a\udce9.png", "日本/é.png", "back\\slash/\\udce9.png", f"x/{'y' * 230}.png"]
    members = {name: other if i else image for i, name in enumerate(names)}
    age(write_tar(data / "a-0.tar", members))
    forget_shards()
    first = read_source(data).files
    assert len(first) == 4 and read_bytes(first[0].path) == image
    forget_shards()
    assert read_source(data).files == first
    for file in (cache_folder() / shard_index.FOLDER).iterdir():
        file.write_bytes(file.read_bytes()[:100])
    forget_shards()
    assert read_source(data).files == first


def test_folders_and_classes_that_are_called_like_shards(photos, tmp_path):
    folder = tmp_path / "photos.tar"
    photos.rename(folder)
    (folder / "red").rename(folder / "red.parquet")
    counts = {"blue": 12, "green": 12, "red.parquet": 12}
    assert scan(folder).counts == cached(folder).counts == counts
    assert all(read_bytes(file.path) for file in scan(folder).files)
    pack(folder, tmp_path / "out.tar" / "packed")
    after = scan(tmp_path / "out.tar" / "packed")
    assert after.counts == counts and after.digest == scan(folder).digest


@pytest.mark.parametrize("form", FORMS)
def test_names_of_all_kinds_are_packed(form, photos, tmp_path):
    names = [
        "a.JSON",
        "b.txt",
        "c",
        "d.cls",
        "e.tar.png",
        "f..png",
        f"{'g' * 240}.png",
        "h\udce9.png",
    ]
    for name, path in zip(names, sorted((photos / "red").iterdir()), strict=False):
        path.rename(path.with_name(os.fsdecode(os.fsencode(name))))
    pack(photos, tmp_path / "packed", form)
    assert scan(tmp_path / "packed").digest == scan(photos).digest


def test_what_a_killed_process_has_packed_is_refused(photos, s3, capsys, monkeypatch):
    out = as_path(f"{s3()}/packed")
    verified = packing._verified

    class Killed(BaseException):
        pass

    def kill(shard, part):
        if shard.name.endswith("1.tar"):
            patch.setattr(type(out), "unlink", lambda *args, **options: None)
            raise Killed
        return verified(shard, part)

    with monkeypatch.context() as patch:
        patch.setattr(packing, "_verified", kill)
        with pytest.raises(Killed):
            pack(photos, out, shard_bytes=15_000)
    for command in (["check", str(out)], ["finetune", str(out)]):
        assert main(command) == 2
        assert "not all shards of" in capsys.readouterr().err


@pytest.mark.parametrize("where", ["disk", "s3"])
def test_of_two_that_pack_to_one_place_one_is_refused(where, photos, request, tmp_path):
    place = request.getfixturevalue("s3")() if where == "s3" else tmp_path
    out = as_path(f"{place}/packed")
    append_edits(photos, [Change("red/red00.png", "group", "one")])
    other = shutil.copytree(photos, tmp_path / "other")
    shutil.rmtree(other / "blue")
    both = threading.Barrier(2, timeout=30)

    class Together(Silent):
        def task(self, title, total, unit):
            if title == "reading images":
                both.wait()  # until both have seen a place that is free
            return super().task(title, total, unit)

    def packed(data):
        try:
            return pack(data, out, shard_bytes=15_000, progress=Together())
        except DataError as error:
            return str(error)

    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(packed, (photos, other)))
    manifest, refusal = sorted(results, key=lambda result: isinstance(result, str))
    assert "packed' exists already" in refusal
    assert scan(out).digest == manifest.digest
    assert edits_path(out).exists() is (manifest.data == photos)


def test_a_store_that_fails_while_photos_are_packed(photos, s3, monkeypatch, tmp_path, capsys):
    bucket = s3()
    data, out = upload(photos, f"{bucket}/photos"), as_path(f"{bucket}/packed")
    append_edits(data, [Change("red/red00.png", "group", "one")])

    def refuse(place, *args):
        if not str(place).endswith(".csv"):
            raise PermissionError("Access Denied")

    def refused(method, place):
        with monkeypatch.context() as patch:
            patched(patch, method, refuse)
            assert main(["data", "pack", str(data), str(place)]) == 2
        type(fsspec.filesystem("s3")).clear_instance_cache()
        error = capsys.readouterr().err.strip().splitlines()[-1]
        assert "no permission (Access Denied)" in error
        return error

    assert f"{data}/blue/" in refused("_cat_file", tmp_path / "packed")
    assert "packed/photos-00000.tar" in refused("_put_file", out)
    monkeypatch.setattr(packing, "append_edits", refuse)
    for place in (tmp_path / "packed", out):
        with pytest.raises(DataError, match="Access Denied"):
            pack(data, place)
    assert not out.exists() and not edits_path(out).exists()
    assert not list(tmp_path.glob("*packed*"))
