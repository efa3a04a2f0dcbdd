"""Archives given as DATA: unpacked once into the cache, and read as the folder they hold."""

import io
import re
import shutil
import tarfile

import pytest
from conftest import TOY, Heard
from test_scan import found, problems, refusal
from test_uploads import PHOTO, photo, zipped

from tlearn.cli import main
from tlearn.data.archive_folder import archives_folder, unpacked_bytes
from tlearn.data.editing import add_photos, move
from tlearn.data.edits import edits_path
from tlearn.data.scan import scan
from tlearn.errors import DataError
from tlearn.runs.run import Run

FLOWERS = [
    *((f"flowers/{label}/{i}.png", photo(i)) for i in range(3) for label in ("daisy", "rose")),
    ("flowers/notes.txt", b"words"),
]


@pytest.fixture
def archive(tmp_path):
    path = tmp_path / "flowers.zip"
    path.write_bytes(zipped(FLOWERS))
    return path


def test_an_archive_is_unpacked_once_and_read_as_a_folder(archive, cache):
    before = archive.read_bytes()
    heard = Heard()
    manifest = scan(archive, progress=heard)
    assert manifest.data == archive and manifest.folder.parent == archives_folder()
    assert set(found(manifest)) == {name for name, _ in FLOWERS[:-1]}
    assert manifest.labels == ("daisy", "rose") and problems(manifest)["flowers/notes.txt"]
    words = r"flowers.zip: 6 photos, .* unpacked into .*/archives/\w+; .*"
    assert re.fullmatch(words, heard.lines[0])
    assert heard.lines[1] == "class folders in flowers/: daisy, rose"
    heard.lines.clear()
    copy = archive.rename(archive.with_name("same.zip"))
    assert scan(copy, progress=heard).files == manifest.files
    assert not any("unpacked" in line for line in heard.lines)
    assert [path.name for path in archive.parent.iterdir()] == ["same.zip"]
    assert copy.read_bytes() == before and unpacked_bytes() > 6 * len(PHOTO)
    assert main(["cache", "clear"]) == 0
    assert not unpacked_bytes() and scan(copy).files == manifest.files


def test_tar_files_and_tables_in_archives(tmp_path):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, data in FLOWERS:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    path = tmp_path / "flowers.tar.gz"
    path.write_bytes(buffer.getvalue())
    assert scan(path).counts == {"daisy": 3, "rose": 3}


def test_a_table_in_an_archive_may_name_damaged_photos(tmp_path):
    path = tmp_path / "set.zip"
    for rows, photos in ((b"r/1.png,b\nr/0.png,a", {"r/1.png": "b"}), (b"r/0.png,a", None)):
        files = [("labels.csv", b"path,label\n" + rows), ("s/r/0.png", b"x"), ("s/r/1.png", PHOTO)]
        path.write_bytes(zipped(files))
        if photos:
            assert found(scan(path)) == {"s/" + name: label for name, label in photos.items()}
            assert problems(scan(path))["s/r/0.png"]
        else:
            assert "1 photos, but 1 of them cannot be found" in refusal(path)


def test_archives_that_cannot_be_used(tmp_path, archive):
    whole = archive.read_bytes()
    encrypted = bytearray(zipped([("a/1.png", PHOTO)]))
    for signature, offset in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        encrypted[encrypted.index(signature) + offset] |= 1
    twice = [(f"{split}/{label}/1.png", PHOTO) for split in ("val", "valid") for label in "ab"]
    for name, data, words in (
        ("cut.zip", whole[:-500], "the archive 'cut.zip' is damaged or cut off"),
        ("words.zip", b"words", "the archive 'words.zip' is neither a zip nor a tar"),
        ("secret.zip", bytes(encrypted), "holds 'a/1.png', which is encrypted; pack it anew"),
        ("nested.zip", zipped([("in.zip", whole)]), "holds no photos: in.zip .a zip archive; zip"),
        ("empty.zip", zipped([]), "the archive 'empty.zip' holds no photos; pack a folder of"),
        ("out.zip", zipped([("../a.png", PHOTO)]), "leads out of its folder"),
        ("loose.zip", zipped([("a.png", PHOTO)]), "loose.zip' holds images but no class folders"),
        ("twice.zip", zipped(twice), "^in the archive 'twice.zip': .* mean the same split; keep"),
        (
            "gone.zip",
            zipped([("l.csv", b"path,label\n1.png,a\n"), ("2.png", PHOTO)]),
            "^in the archive 'gone.zip': 'l.csv' names 1 .* relative to 'gone.zip', or put",
        ),
        ("old.rar", b"Rar!\x1a\x07\0" + bytes(99), "old.rar' is a rar archive; zip and tar alone"),
        ("cut.7z", b"words", "cut.7z' is a 7z archive"),
        ("photo.png", PHOTO, "photo.png' is a file of another kind; give a folder"),
    ):
        path = tmp_path / name
        path.write_bytes(data)
        assert re.search(words, refusal(path)), name
    folders = [path for path in archives_folder().iterdir() if path.name != ".unpacking"]
    assert len(folders) == 3  # of those that were whole


def test_runs_and_edits_of_an_archive(photos, tmp_path, capsys):
    archive = tmp_path / "photos.zip"
    shutil.make_archive(str(archive.with_suffix("")), "zip", photos.parent, photos.name)
    runs = []
    for data, name in ((photos, "folder"), (archive, "archive")):
        assert main(["finetune", str(data), *TOY, "--out", str(tmp_path / name), "--quiet"]) == 0
        runs.append(Run(tmp_path / name))
    folder, packed = runs
    assert packed.metrics["validation"] == folder.metrics["validation"]
    assert packed.record["data"]["path"] == str(archive) and packed.images("train")
    capsys.readouterr()
    assert main(["evaluate", str(packed.path), str(archive)]) == 0
    assert len(packed.predict(archive)) == len(folder.predict(photos)) == 36
    move(archive, ["photos/red/red00.png"], "blue")
    assert edits_path(archive) == tmp_path / "photos.zip.edits.csv"
    assert found(scan(archive))["photos/red/red00.png"] == "blue"
    with pytest.raises(DataError, match="is an archive, to which nothing is added"):
        add_photos(archive, "red", [("a.png", PHOTO)])
