"""Folders with tables in them: which tables count, and when the folders count instead."""

import re

import pytest
from conftest import Heard
from test_scan import found, problems, put, refusal, write
from test_uploads import photo, zipped

from tlearn.data.scan import scan
from tlearn.data.splits import list_dataset
from tlearn.errors import DataError
from tlearn.progress import Silent


@pytest.fixture
def root(tmp_path):
    return tmp_path / "data"


def splits(manifest):
    return {file.name: file.given for file in manifest.files}


def test_metadata_of_hugging_face_in_the_folder_or_its_split_folders(tmp_path):
    text = "file_name,label\n1.png,a\n2.png,b\n"
    lines = b'{"file_name": "1.png", "label": 0}\n{"file_name": "2.png", "label": 1}\n'
    for name, data in (("metadata.csv", text.encode()), ("Metadata.jsonl", lines)):
        root = write(tmp_path / name, "1.png", "2.png")
        put(root, name, data)
        labels = set(found(scan(root)).items())
        assert labels in ({("1.png", "a"), ("2.png", "b")}, {("1.png", "0"), ("2.png", "1")})
        folders = ("train", "validation", "test")
        root = write(
            tmp_path / f"{name} splits", *(f"{f}/{n}.png" for f in folders for n in (1, 2))
        )
        for folder in folders[:2]:
            put(root, f"{folder}/{name}", data)
        heard = Heard()
        manifest = scan(root, progress=heard)
        assert splits(manifest) == {f"{f}/{n}.png": f for f in folders[:2] for n in (1, 2)}
        assert heard.lines[0].startswith(f"2 photos named by train/{name} as train: paths from")
        reason = f"an image that is not in train/{name} and validation/{name}, as are 1 more"
        assert f"{reason}: ignored" in [problem.reason for problem in manifest.problems]
    root = write(tmp_path / "root", "data/train/1.png", "data/train/2.png", "data/test/1.png")
    put(root, "data/metadata.csv", b"file_name,label\ntrain/1.png,a\ntrain/2.png,b\ntest/1.png,a")
    given = {"data/train/1.png": "train", "data/train/2.png": "train", "data/test/1.png": "test"}
    assert splits(scan(root)) == given
    root = write(tmp_path / "classes", "cat/1.png", "dog/2.png")
    put(root, "metadata.csv", b"file_name,text\ncat/1.png,black\n")  # says nothing of classes
    assert scan(root).labels == ("cat", "dog")


def test_tables_as_kaggle_packs_them(root):
    write(root, "train_images/a.png", "train_images/b.png", "test_images/a.png")
    put(root, "train.csv", b"image_id,label\na,1\nb,2\n")
    put(root, "test.csv", b"image_id\na\n")
    put(root, "sample_submission.csv", b"image_id,label\na,1\n")
    put(root, "train.csv.edits.csv", b"time,path,action,value\n")
    put(write(root, "runs/one/curves.png"), "runs/one/run.yaml", b"")  # an output of tlearn
    heard = Heard()
    manifest = scan(root, progress=heard)
    assert found(manifest) == {"train_images/a.png": "1", "train_images/b.png": "2"}
    assert problems(manifest) == {"test_images/a.png": "folder"}
    assert heard.lines[0].startswith("2 photos named by train.csv: paths from 'image_id', classes")
    put(root, "test.csv", b"image_id,label\na,1\n")  # both have classes
    assert splits(scan(root)) == {
        "test_images/a.png": "test",
        "train_images/a.png": "train",
        "train_images/b.png": "train",
    }
    put(root, "test.csv", b"image_id,label\ntrain_images/a,1\n")
    assert re.search("test.csv' and another table|train.csv' and another table", refusal(root))
    write(root.parent / "packed", "archive.png")
    packed = root.parent / "packed" / "set.zip"
    names = [
        ("set/labels.csv", b"id;class\n1;x\n2;y\n"),
        *((f"set/{i}.png", photo(i)) for i in (1, 2)),
    ]
    packed.write_bytes(zipped(names))
    assert found(scan(packed)) == {"set/1.png": "x", "set/2.png": "y"}


def test_class_folders_count_unless_a_table_says_more_or_something_else(root):
    write(root, "cat/1.png", "dog/2.png", "dog/3.png")
    put(root, "labels.csv", b"path,label\ncat/1.png,cat\ndog/2.png,dog\n")
    assert scan(root).labels == ("cat", "dog") and len(scan(root).files) == 3
    put(root, "labels.csv", b"path,label,split\n1,cat,test\n2,dog,\n3,dog,\n")  # says more
    assert splits(scan(root)) == {"cat/1.png": "test", "dog/2.png": None, "dog/3.png": None}
    put(root, "labels.csv", b"path,label\n1,nevus\n2,melanoma\n3,nevus\n")  # folders are parts
    assert found(scan(root)) == {
        "cat/1.png": "nevus",
        "dog/2.png": "melanoma",
        "dog/3.png": "nevus",
    }
    put(root, "labels.csv", b"path,label\n1,nevus\n4,melanoma\n")
    manifest = scan(root)
    assert manifest.labels == ("cat", "dog")
    (problem,) = manifest.problems
    assert problem.name == "labels.csv" and "this table is ignored: " in problem.reason
    put(root, "labels.csv", b"path,label\n1,nevus\n2,melanoma\n")
    put(root, "more.csv", b"path,label\n1,nevus\n2,melanoma\n")
    assert "holds the tables labels.csv and more.csv" in scan(root).problems[0].reason
    put(root, "labels.csv", b"month,label\n1,nevus\n")
    put(root, "more.csv", b"\0\1\2")
    assert scan(root).problems == ()


def test_tables_in_folders_that_cannot_be_used(root):
    write(root, "images/1.png", "images/2.png")
    write(root.parent, "secret.png")
    for text, words in {
        "../secret.png": "line 3 of .* names '../secret.png', which is outside the folder of the",
        str(root.parent / "secret.png"): "secret.png', which is outside the folder of the table",
        "no.png": "names 2 photos, but 1 of them cannot be found",
    }.items():
        put(root, "labels.csv", f"path,label\n1,a\n{text},b\n".encode())
        assert re.search(words, refusal(root))
    put(root, "more.csv", b"path,label\n1,a\n2,b\n")
    assert "holds the tables labels.csv and more.csv; give one of them as DATA" in refusal(root)


def test_a_table_of_unknown_columns_is_named_where_there_are_no_two_classes(tmp_path):
    root = write(tmp_path / "one", "images/1.png")
    put(root, "labels.csv", b"images/1.png,a\n")
    with pytest.raises(DataError, match=r"only one class, 'images'; .*; labels.csv: this table"):
        list_dataset(root, "", Silent())
    ignored = "this table is ignored: .* has no column of"
    for folder, names, columns, words in (
        ("flat", ("1.png", "2.png"), "bild,klasse", f"labels.csv: {ignored} paths, but 'bild', "),
        ("split", ("train/1.png", "test/1.png"), "file_name,text", f"csv: {ignored} classes, but"),
    ):
        root = write(tmp_path / folder, *names)
        assert "ignored" not in refusal(root)
        put(root, "labels.csv" if folder == "flat" else "train/metadata.csv", columns.encode())
        assert re.search(words, refusal(root)), folder
