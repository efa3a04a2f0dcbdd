"""A folder to a manifest: what counts as a class, an image, a split, and a problem."""

import os
import re
import unicodedata
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from tlearn.data import images
from tlearn.data.file_reading import content_hash
from tlearn.data.folders import walk
from tlearn.data.scan import scan
from tlearn.errors import DataError


def write(root, *names):
    """Write a small image of its own at each path below ``root``."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        seed = np.frombuffer(content_hash(name.encode()).encode(), np.uint8)
        values = np.random.default_rng(seed).integers(0, 256, (8, 8, 3)).astype(np.uint8)
        Image.fromarray(values).save(path, "PNG")
    return root


def put(root, name, data):
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def found(manifest):
    return {file.name: file.label for file in manifest.files}


def problems(manifest):
    return {problem.name: problem.kind for problem in manifest.problems}


def refusal(root, **options):
    with pytest.raises(DataError) as caught:
        scan(root, **options)
    text = str(caught.value)
    assert "\n" not in text
    return text


@pytest.fixture
def root(tmp_path):
    return tmp_path / "data"


def test_class_folders_are_classes_and_nested_folders_count_to_them(root):
    write(root, "cat/1.png", "cat/2.png", "dog/1.png", "dog/puppies/2019/2.png", "dog/cat/3.png")
    manifest = scan(root)
    assert list(found(manifest).items()) == [
        ("cat/1.png", "cat"),
        ("cat/2.png", "cat"),
        ("dog/1.png", "dog"),
        ("dog/cat/3.png", "dog"),
        ("dog/puppies/2019/2.png", "dog"),
    ]
    assert manifest.labels == ("cat", "dog") and manifest.counts == {"cat": 2, "dog": 3}
    assert manifest.problems == () and manifest.data == root
    assert {file.given for file in manifest.files} == {None}
    assert all(file.content == content_hash(file.path.read_bytes()) for file in manifest.files)


def test_names_may_hold_any_characters(root):
    names = ["a cat", "Käfer", unicodedata.normalize("NFD", "é"), "猫", "a'b\"c", "100%", "x.jpg"]
    write(root, *(f"{name}/pic of {name}.png" for name in names))
    assert found(scan(root)) == {  # as macOS and Linux spell it are one class
        f"{name}/pic of {name}.png": unicodedata.normalize("NFC", name) for name in names
    }


def test_names_that_are_not_utf8_become_ones_that_can_be_written(root):
    write(root, "cat/1.png", "dog/1.png")
    old = root / os.fsdecode(b"caf\xe9")
    try:
        (root / "dog").rename(old)
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    (old / "1.png").rename(old / os.fsdecode(b"\xff.png"))
    manifest = scan(root)
    assert found(manifest) == {r"caf\udce9/\udcff.png": r"caf\udce9", "cat/1.png": "cat"}
    assert all(file.path.exists() for file in manifest.files) and manifest.digest


def test_what_the_system_leaves_beside_split_folders_is_no_obstacle(root):
    write(root, "train/cat/1.png", "val/cat/2.png", ".git/x.png", "__MACOSX/train/cat/1.png")
    put(root, "train/.ipynb_checkpoints/README.md", b"words")
    assert set(found(scan(root))) == {"train/cat/1.png", "val/cat/2.png"}


def test_hidden_and_system_entries_are_no_classes_images_or_problems(root):
    names = (
        ".git/1.png __MACOSX/cat/._1.png cat/.DS_Store cat/Thumbs.db cat/.hidden.png labels.cache "
        "cat/desktop.ini cat/tiny.cache my.cache/1.png cat/.thumbs/1.png cat/@eaDir/1.png "
        "$RECYCLE.BIN/1.png THUMBS.DB"
    )
    write(root, "cat/1.png", "dog/1.png", *names.split())  # real images: only the name speaks
    manifest = scan(root)
    assert set(found(manifest)) == {"cat/1.png", "dog/1.png"}
    assert manifest.labels == ("cat", "dog") and manifest.problems == ()


def test_content_decides_whatever_the_extension(root):
    names = [f"cat/{name}" for name in "1.PNG 2.JpEg 3.jpg.tmp 4 5.txt 6.gif".split()]
    assert set(found(scan(write(root, *names, "dog/1.png")))) == {*names, "dog/1.png"}


def test_what_cannot_be_used_is_reported(root):
    write(root, "cat/1.png", "dog/1.png")
    heic = b"\0\0\0\x18ftypheic" + b"\1" * 99
    unusable = {
        "notes.txt": (b"a few words", "not an image", "not an image"),
        "empty.txt": (b"", "not an image", "empty"),
        "zeros.bin": (b"\0" * 99, "not an image", "zeros"),
        "archive.zip": (b"PK\3\4" + b"\1" * 99, "not an image", "not an image"),
        "page.jpg": (b"<html>404</html>", "unreadable", "not an image"),
        "empty.JPG": (b"", "unreadable", "empty"),
        "zeros.png": (b"\0" * 99, "unreadable", "zeros"),
        "half.jpeg": (b"\xff\xd8\xff\xe0" + b"\1" * 99, "unreadable", "damaged"),
        "half": (b"\x89PNG\r\n\x1a\n" + b"\1" * 99, "unreadable", "damaged"),
        "photo.heic": (heic, "unreadable", ""),
        "photo": (heic, "unreadable", ""),
    }
    for name, (data, _, _) in unusable.items():
        put(root, f"cat/{name}", data)
    manifest = scan(root)
    assert set(found(manifest)) == {"cat/1.png", "dog/1.png"}
    assert problems(manifest) == {f"cat/{name}": kind for name, (_, kind, _) in unusable.items()}
    for problem in manifest.problems:
        assert unusable[problem.name.removeprefix("cat/")][2] in problem.reason


def test_images_outside_class_folders_are_reported(tmp_path):
    for used, stray in (
        (["cat/1.png", "dog/1.png"], ["stray.PNG"]),
        (["train/cat/1.png", "val/cat/2.png"], ["train/a.png", "val/b.jpg", "c.gif"]),
    ):
        root = write(tmp_path / stray[0], *used, *stray)
        put(root, "README.md", b"words")
        manifest = scan(root)
        assert set(found(manifest)) == set(used)
        assert problems(manifest) == dict.fromkeys(stray, "no class")


def test_identical_images_are_reported_in_one_class_and_in_two(root):
    write(root, "cat/1.png", "cat/2.png", "dog/1.png", "fox/1.png")
    for copy in ("cat/copy.png", "dog/copy.png", "fox/copy.jpg"):
        put(root, copy, (root / "cat/1.png").read_bytes())
    manifest = scan(root)
    assert {problem.name: problem.reason for problem in manifest.problems} == {
        "cat/copy.png": "the same image as cat/1.png, in the same class",
        "dog/copy.png": "the same image as cat/1.png, in another class",
        "fox/copy.jpg": "the same image as cat/1.png, in another class",
    }
    assert len(manifest.files) == 7  # reported, not left out


def test_links_to_images_and_folders_are_followed(root, tmp_path):
    write(tmp_path / "elsewhere", "kittens/1.png", "2.png")
    write(root, "dog/1.png", "cat/0.png")
    (root / "cat/linked").symlink_to(tmp_path / "elsewhere/kittens")
    (root / "cat/2.png").symlink_to(tmp_path / "elsewhere/2.png")
    (root / "fox").symlink_to(tmp_path / "elsewhere/kittens")
    expected = {"cat/0.png": "cat", "cat/2.png": "cat", "cat/linked/1.png": "cat"}
    assert found(scan(root)) == {**expected, "dog/1.png": "dog", "fox/1.png": "fox"}


def test_cycles_of_links_end_and_give_no_image_twice(root):
    write(root, "cat/1.png", "cat/deep/2.png", "dog/1.png")
    (root / "cat/deep/back").symlink_to(root / "cat")
    for target in (".", "..", root, "deep", "deep/back", "itself"):
        (root / "cat/itself").symlink_to(target)
        images = Counter(found(scan(root)).values())
        assert images == {"cat": 3 if target == "deep" else 2, "dog": 1}
        (root / "cat/itself").unlink()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_dangling_links_are_reported_and_pipes_not_waited_for(root):
    write(root, "cat/1.png", "dog/1.png")
    (root / "cat/gone.png").symlink_to(root / "nowhere.png")
    os.mkfifo(root / "cat/pipe.png")
    assert [path.name for path in walk(root / "cat")] == ["1.png", "gone.png"]
    assert problems(scan(root)) == {"cat/gone.png": "unreadable"}


def test_a_folder_that_cannot_be_listed_is_an_error(root, monkeypatch):
    write(root, "cat/1.png", "dog/1.png")
    listed = os.scandir

    def scandir(path):
        if os.fspath(path).endswith("dog"):
            raise PermissionError(13, "Permission denied", str(path))
        return listed(path)

    monkeypatch.setattr(os, "scandir", scandir)
    assert re.search("dog.*cannot be listed: Permission denied", refusal(root))


def test_nothing_usable_is_an_error_that_says_what_is_there(root):
    assert "not there" in refusal(root)
    for i, (names, data, expected) in enumerate(
        [
            ([], b"", "no images below"),
            (["cat/notes.txt"], b"words", "no images below"),
            (["1.png", "2.jpg"], b"", "no class folders"),
            (["cat/1.png", "dog/2.jpg", "3.png"], b"", "none of the 2 .*'cat/1.png': .* empty"),
            (["train/cat/1.png"], b"", "none of the 1 images"),
        ]
    ):
        (root / str(i)).mkdir(parents=True)
        for name in names:
            put(root / str(i), name, data)
        assert re.search(expected, refusal(root / str(i)))
    put(root, "file", b"")
    assert "a file of another kind" in refusal(root / "file")


def test_the_group_is_what_the_pattern_finds(root, monkeypatch):
    write(root, "cat/p1_a.png", "dog/p1_b.png", "dog/x.png")
    for pattern, expected in {
        "": ["", "", ""],
        r"p\d+": ["p1", "p1", ""],
        r"p(\d+)_": ["1", "1", ""],
        r"p(?P<who>\d+)_(\w)": ["1", "1", ""],
        r"^([a-z])": ["p", "p", "x"],
        r"cat|p1": ["p1", "p1", ""],
    }.items():
        assert [file.group for file in scan(root, group=pattern).files] == expected
    monkeypatch.setattr(images, "read_bytes", lambda path: 1 / 0)  # nothing is read to say so
    for pattern in ("nothing like it", "x(q)?", "^cat/"):
        assert "matches none of the 3 images" in refusal(root, group=pattern)


def test_groups_may_be_folders_below_the_class(root):
    write(root, "train/cat/joe/1.png", "train/cat/ann/1.png", "test/cat/joe/2.png")
    groups = {file.name: file.group for file in scan(root, group=r"^(\w+)/").files}
    assert sorted(groups.values()) == ["ann", "joe", "joe"]


def test_the_digest_depends_on_content_and_class_alone(tmp_path):
    first = scan(write(tmp_path / "first", "cat/1.png", "cat/2.png", "dog/3.png"))
    renamed = {"dog/3.png": "dog/sub/a.jpg", "cat/1.png": "cat/y.png", "cat/2.png": "cat/x.png"}
    for old, new in renamed.items():
        put(tmp_path / "other", new, (first.folder / old).read_bytes())
    other = scan(tmp_path / "other")
    assert first.digest == other.digest and found(first) != found(other)

    (other.folder / "cat/y.png").rename(other.folder / "dog/y.png")
    moved = scan(other.folder).digest
    (other.folder / "dog").rename(other.folder / "wolf")
    assert len({first.digest, moved, scan(other.folder).digest}) == 3


def test_a_class_folder_without_images_is_reported(root):
    write(root, "a/1.png", "b/2.png")
    (root / "c").mkdir()
    (root / "d").mkdir()
    (root / "d" / "broken.jpg").write_bytes(b"none")
    kinds = {p.name: p.kind for p in scan(root).problems}
    assert kinds == {"c": "empty class", "d": "empty class", "d/broken.jpg": "unreadable"}
