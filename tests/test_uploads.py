# ruff: noqa: RUF001 - characters that look like others are what is tested
"""Files from strangers: what is taken, what is refused, and that nothing of it stays."""

import bz2
import contextlib
import gzip
import io
import lzma
import os
import random
import re
import shutil
import stat
import struct
import tarfile
import threading
import tracemalloc
import unicodedata
import zipfile
import zlib
from pathlib import Path, PureWindowsPath

import numpy as np
import pytest
from conftest import picture
from PIL import Image

from tlearn.data import archives, uploads
from tlearn.data.scan import scan
from tlearn.data.uploads import Limits, Upload, inside, sanitize_filename
from tlearn.errors import DataError
from tlearn.progress import format_bytes


def photo(seed=0, ending="png", size=(40, 36)):
    """The bytes of a small picture."""
    buffer = io.BytesIO()
    picture((90, 120, 40), np.random.default_rng(seed), size).save(buffer, ending)
    return buffer.getvalue()


PHOTO, LIMITS = photo(), Limits()
RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)\s*(\..*)?", re.IGNORECASE)


def zipped(entries, method=zipfile.ZIP_DEFLATED):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, data in entries:
            archive.writestr(name, data)
    return buffer.getvalue()


def tarred(entries, packing="", **options):
    """Entries are pairs of a name or a TarInfo, and bytes."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=f"w:{packing}", **options) as archive:
        for name, data in entries:
            info = tarfile.TarInfo(name) if isinstance(name, str) else name
            info.size = info.size or len(data)
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def member(name, kind, target=""):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def send(upload, name, data, step=1000, size=None):
    with upload.receiving(name, size) as sink:
        for start in range(0, len(data), step):
            sink.write(data[start : start + step])


def tree(folder):
    """Every file below a folder, the staging folders' too."""
    files = (p for p in folder.rglob("*") if not p.is_dir() and p.name != ".lock")
    return sorted(p.relative_to(folder).as_posix() for p in files)


@pytest.fixture
def root(tmp_path):
    return tmp_path / "data"


@pytest.fixture
def upload(root):
    return Upload.begin(root)


def placed(root, *files, limits=LIMITS):
    """Send files, unpack and place them; return the upload and the files of the data set."""
    upload = Upload.begin(root, limits)
    for name, data in files:
        send(upload, name, data, step=100_000)
    upload.unpack()
    return upload, tree(upload.place(root / "set"))


def refused(root, data, match, name="photos.zip", limits=LIMITS):
    """Send an archive beside an image; only the image may be left."""
    upload = Upload.begin(root, limits)
    send(upload, "kept/a.png", PHOTO)
    send(upload, name, data, step=100_000)
    with pytest.raises(DataError, match=match) as told:
        upload.unpack()
    assert "\n" not in str(told.value)
    assert repr(name) in str(told.value)
    assert tree(root) == [f"{upload._staging.relative_to(root.resolve())}/files/kept/a.png"]
    assert [p.name for p in (upload._staging / "partial").iterdir()] == []
    assert (upload.files, upload.bytes, upload.left_out) == (1, len(PHOTO), [])
    assert [p.name for p in root.iterdir()] == [".uploads"]
    upload.unpack()  # nothing is left to do
    upload.cancel()


# Names


@pytest.mark.parametrize(
    ("name", "clean"),
    [
        ("a.jpg", "a.jpg"),
        ("./cats//a.jpg", "cats/a.jpg"),
        ("cats\\a.jpg", "cats/a.jpg"),
        ("e\u0301te\u0301/a.jpg", "\u00e9t\u00e9/a.jpg"),
        ("雏菊/照片.jpg", "雏菊/照片.jpg"),
        ("زهرة/صورة.png", "زهرة/صورة.png"),
        ("раздел/ต้นไม้/फूल.png", "раздел/ต้นไม้/फूल.png"),
        ("🌻/❤️.jpg", "🌻/❤️.jpg"),
        ("a..b.jpg", "a..b.jpg"),
        ("½ (1) ~ #&%20'.jpg", "½ (1) ~ #&%20'.jpg"),
        ("console/common.jpg", "console/common.jpg"),
        ("x" * 251 + ".jpg", "x" * 251 + ".jpg"),
        ("/".join("a" * 16), "/".join("a" * 16)),
    ],
)
def test_clean_names_are_kept(name, clean):
    assert sanitize_filename(name) == clean
    assert sanitize_filename(clean) == clean


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("", "names no file"),
        ("./.", "names no file"),
        *((name, "leads out") for name in ("/etc/x", "\\\\host\\x", "..", "a/../b", "a\\..\\b")),
        *(
            (name, "leads out")
            for name in ("C:\\x", "c:x", "Ｃ：x", "．．/x", "‥/x", "․․/x", ".. /x")
        ),
        *((name, "leads out") for name in ("..⁄x", "..∕x", "..／x", ".\u200b./x", "／x")),
        *(
            (name, "looks like")
            for name in ("a／b", "a＼b", "a⁄b", "a∕b", "ab：c", "a․b", "℀", "a⧵b")
        ),
        *((name, r"looks like '\.\.'") for name in ("a…jpg", "a‥b", "a．．b", "a..．．b")),
        *((f"a{char}b", "cannot be seen") for char in "\0\n\r\t\x1b\x7f\x85\u2028"),
        *((f"a{char}b", "cannot be seen") for char in "\u202e\u2066\u200d\ufeff\u00ad\udc80"),
        *((f"a{char}b", "on Windows") for char in '<>"|?*'),
        *((name, "reserved") for name in ("CON", "nul.jpg", "a/Aux", "com1.x.png", "LPT9 .jpg")),
        *((name, "reserved") for name in ("ＣＯＮ.jpg", "COM¹.jpg", "conin$")),
        *((name, "ends with") for name in ("a.", "a /b.jpg", "a.jpg ", "a\u3000", "a。．")),
        ("ab:c", "on Windows"),
        ("ä" * 128, "255 bytes"),
        ("/".join(["b" * 99] * 11), "1000 bytes"),
        ("/".join("a" * 17), "17 folders deep"),
    ],
)
def test_names_are_refused_in_one_line_that_shows_them(name, why):
    with pytest.raises(DataError, match=why) as told:
        sanitize_filename(name)
    text = str(told.value)
    assert text.isprintable()
    assert len(name) > 100 or repr(name) in text


def test_whatever_a_clean_name_is_lies_inside(tmp_path):
    rng = random.Random(0)
    pieces = [*"/\\.:. ~ab\0\n$%", "..", "../", "C:", "CON", "\u202e", "\u2044", "\uff0f", "\uff0e"]
    pieces += [
        "\u2024",
        "\u2025",
        "\u2026",
        "\ufe55",
        "\uff1a",
        "\u0301",
        "\u0338",
        "e",
        "花",
        "🌻",
    ]
    good = 0
    for _ in range(20_000):
        anything = (chr(rng.randrange(0x110000)) for _ in range(2))
        some = rng.choices(pieces, k=rng.randrange(1, 7))
        name = "".join(rng.sample([*some, *anything], rng.randrange(1, len(some) + 2)))
        try:
            clean = sanitize_filename(name)
        except DataError as error:
            assert str(error).isprintable()
            continue
        good += 1
        for form in (
            clean,
            unicodedata.normalize("NFKC", clean),
            unicodedata.normalize("NFD", clean),
        ):
            joined = Path(os.path.normpath(tmp_path / form))
            assert joined.is_relative_to(tmp_path)
            assert joined != tmp_path
            windows = PureWindowsPath("D:/root") / form
            assert windows.is_relative_to("D:/root")
            assert not {"..", "."} & set(windows.parts)
            assert not any(map(RESERVED.fullmatch, form.split("/")))
        assert inside(tmp_path, clean) == tmp_path.resolve() / clean
        assert sanitize_filename(clean) == clean
    assert good > 2000  # the test would pass without any


def test_inside_follows_links(tmp_path):
    root = tmp_path / "root"
    (root / "a").mkdir(parents=True)
    (root / "out").symlink_to(tmp_path)
    (root / "in").symlink_to(root / "a")
    (root / "round").symlink_to(root / "round")
    assert inside(root, "in/b.jpg") == root / "a/b.jpg"
    for name in ("../x", "/etc/passwd", "out/x", "a/../../x", "a\0b", "round/x"):
        with pytest.raises(DataError, match="does not lie in"):
            inside(root, name)


# Receiving


def test_files_are_received_and_placed_at_once(root, upload):
    send(upload, "flowers/daisy/a.png", PHOTO, size=len(PHOTO))
    send(upload, "flowers/雏菊/b.jpg", photo(1, "jpeg"))
    assert upload.files == 2
    assert [p.name for p in root.iterdir()] == [".uploads"]
    target = upload.place(root / "my" / "set")
    assert target == (root / "my" / "set").resolve()
    assert tree(root) == ["my/set/daisy/a.png", "my/set/雏菊/b.jpg"]
    assert tree(root / ".uploads") == []
    assert (target / "daisy/a.png").read_bytes() == PHOTO
    assert scan(target).labels == ("daisy", "雏菊")
    assert stat.S_IMODE(target.stat().st_mode) & 0o700 == 0o700
    with pytest.raises(DataError, match="has ended"):
        send(upload, "b.png", PHOTO)


def test_a_single_class_and_sides_of_a_split_keep_their_folders(root):
    assert placed(root, ("cats/a.png", PHOTO), ("cats/b.png", PHOTO))[1] == [
        "cats/a.png",
        "cats/b.png",
    ]
    shutil.rmtree(root)
    names = ["a/b/train/x/1.png", "a/b/train/y/1.png"]
    assert placed(root, *((name, PHOTO) for name in names))[1] == ["train/x/1.png", "train/y/1.png"]


def test_names_that_differ_by_case_are_kept_apart(root):
    names = ["Cats/a.png", "cats/a.png", "cats/A.png", "cats/a-2.png", "v1.5/b.png", "V1.5/b.png"]
    assert placed(root, *((name, PHOTO) for name in names))[1] == sorted(
        [
            "Cats/a.png",
            "cats-2/a.png",
            "cats-2/A-2.png",
            "cats-2/a-2-2.png",
            "v1.5/b.png",
            "V1.5-2/b.png",
        ]
    )


def test_many_names_of_one_folded_form_take_no_time_each(root, upload):
    names = uploads.Names()
    for bits in range(1 << 12):
        names.give("".join(c.upper() if bits >> k & 1 else c for k, c in enumerate("a" * 12)))
    assert max(names._numbers.values()) == 1 << 12


def test_a_name_is_received_once_but_again_after_a_failure(root, upload):
    with pytest.raises(KeyError), upload.receiving("a.png") as sink:
        sink.write(PHOTO[:50])
        raise KeyError
    send(upload, "a.png", PHOTO)
    with pytest.raises(DataError, match="received already"):
        send(upload, "a.png", PHOTO)
    send(upload, "a.zip", zipped([("a.png", PHOTO)]))
    with pytest.raises(DataError, match="received already"):
        send(upload, "a.zip", PHOTO)
    assert upload.files == 2


def test_interrupted_files_leave_nothing(root, upload):
    with pytest.raises(ConnectionError), upload.receiving("a.png") as sink:
        sink.write(PHOTO[:100])
        raise ConnectionError
    with pytest.raises(DataError, match=f"ended after 10 of {len(PHOTO)} bytes"):
        send(upload, "a.png", PHOTO[:10], size=len(PHOTO))
    with pytest.raises(DataError, match="more than the 10 bytes"):
        send(upload, "a.png", PHOTO, size=10)
    assert tree(root) == []
    assert (upload.files, upload.bytes) == (0, 0)


def test_a_refusal_that_was_passed_over_is_raised_at_the_end(root, upload):
    with (
        pytest.raises(DataError, match="more than the 10 bytes"),
        upload.receiving("a.png", 10) as sink,
    ):
        sink.write(PHOTO[:10])
        with contextlib.suppress(DataError):
            sink.write(PHOTO[10:])
    assert tree(root) == []


@pytest.mark.parametrize("name", ["../a.png", "/a.png", "a\0.png", "CON", "a／b.png"])
def test_refused_names_are_not_received(root, upload, name):
    with pytest.raises(DataError):
        send(upload, name, PHOTO)
    assert tree(root.parent) == []


def test_what_is_no_image_is_left_out_when_received(root, upload):
    for name in (".DS_Store", "x/Thumbs.db", "__MACOSX/a.png"):
        send(upload, name, PHOTO)
    send(upload, "notes.txt", b"hello")
    send(upload, "empty.jpg", b"")
    send(upload, "evil.py.jpg", b"import os")
    send(upload, "bomb.png", bomb_png())
    heic = struct.pack(">I", 24) + b"ftypheic" + bytes(12)
    send(upload, "phone.heic", heic)
    assert (upload.files, upload.bytes) == (0, 0)
    assert {(p.name, p.kind) for p in upload.left_out} == {
        ("notes.txt", "not an image"),
        ("empty.jpg", "not an image"),
        ("evil.py.jpg", "not an image"),
        ("bomb.png", "unreadable"),
        ("phone.heic", "not an image"),
    }
    assert "HEIC" in upload.left_out[-1].reason
    assert tree(root) == []
    with pytest.raises(DataError, match=r"none of the 5 files received is .* 'notes.txt'"):
        upload.place(root / "set")
    with pytest.raises(DataError, match="none of the 5"):
        upload.images()
    upload.cancel()
    assert not (root / "set").exists()


def test_other_archives_are_named(root, upload):
    """Finding F13."""
    send(upload, "a.7z", b"7z\xbc\xaf\x27\x1c" + bytes(600))
    send(upload, "a.rar", b"Rar!\x1a\x07\x01\x00" + bytes(600))
    reasons = [problem.reason for problem in upload.left_out]
    assert [reason.split(",")[0] for reason in reasons] == ["a 7z archive", "a RAR archive"]
    with pytest.raises(DataError, match="a 7z archive, which is not unpacked; pack it anew"):
        upload.place(root / "set")


def test_limits_on_what_is_received(root):
    upload = Upload.begin(root, Limits(files=2, bytes=3000 + len(PHOTO), image_bytes=len(PHOTO)))
    with pytest.raises(DataError, match=r"more than the .* that are allowed"):
        send(upload, "a.png", b"", size=10**6)
    with pytest.raises(DataError, match="that one image may have"):
        send(upload, "b.png", PHOTO + b"x")
    with pytest.raises(DataError, match="that one image may have"):
        Upload.begin(root, Limits(image_bytes=5)).receiving("c.png").__enter__().write(PHOTO[:513])
    with pytest.raises(DataError, match="that one image may have"):
        send(Upload.begin(root, Limits(image_bytes=5)), "c.txt", b"123456")
    with pytest.raises(DataError, match=r"more than the .* that are allowed"):
        send(upload, "big.tar", tarred([("a", bytes(10_000))]))
    send(upload, "a.png", PHOTO)
    assert upload.bytes == len(PHOTO)
    send(upload, "b.txt", b"what is left out counts")
    with pytest.raises(DataError, match="after 2 files"):
        send(upload, "c.png", PHOTO)
    assert tree(upload._staging) == ["files/a.png"]


def test_a_full_disk_is_told_and_leaves_nothing(root, upload, monkeypatch):
    usage = shutil.disk_usage(root)
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=archives.SPARE + 100))
        for size in (None, 200):
            with pytest.raises(DataError, match=r"needs .* of disk, where 100 bytes are free"):
                send(upload, "a.png", PHOTO, size=size)
        assert tree(root) == []
    send(upload, "a.tar", tarred([("x/a.png", PHOTO)]))
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=archives.SPARE + 100))
        with pytest.raises(DataError, match=r"'a\.tar' needs"):
            upload.unpack()
    assert tree(root) == []


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
        with pytest.raises(DataError, match=r"'a.bmp' cannot be written: File too large"):
            send(upload, "a.bmp", large, step=7000)
        with pytest.raises(DataError, match=r"'a.zip' cannot be unpacked: File too large"):
            upload.unpack()
    assert tree(root) == [f"{upload._staging.relative_to(root.resolve())}/files/b.png"]


def test_files_come_in_several_threads(root, upload):
    errors = []

    def work(k):
        try:
            for i in range(10):
                send(upload, f"{'Cc'[k % 2]}at/{i}.png", PHOTO)
        except DataError as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert (upload.files, upload.bytes) == (20, 20 * len(PHOTO))
    assert len(tree(upload.place(root / "set"))) == 20


# Placing


def test_place_refuses_other_places(root, upload, tmp_path):
    send(upload, "a/a.png", PHOTO)
    (root / "there").mkdir()
    (root / "dangling").symlink_to(root / "nowhere")
    (root / "out").symlink_to(tmp_path)
    for target, why in [
        (root / "there", "is there already"),
        (root / ".uploads" / "x", "not for data"),
        (root, "not for data"),
        (root / ".." / "x", "does not lie"),
        (tmp_path / "x", "does not lie"),
        (root / "out" / "x", "does not lie"),
    ]:
        with pytest.raises(DataError, match=why):
            upload.place(target)
    with pytest.raises(DataError, match="still being received"), upload.receiving("b.png") as sink:
        sink.write(PHOTO)
        upload.place(root / "set")
    assert upload.files == 1  # and the upload can still be placed
    assert tree(upload.place(root / "set")) == ["a/a.png"]


def test_nothing_is_placed_while_archives_are_packed(root, upload):
    send(upload, "a.png", PHOTO)
    send(upload, "b.zip", zipped([("b.png", PHOTO)]))
    with pytest.raises(DataError, match=r"'b\.zip' is not unpacked yet"):
        upload.place(root / "set")
    upload.unpack()
    assert tree(upload.place(root / "set")) == ["a.png", "b/b.png"]


def test_images_can_be_copied_until_the_upload_ends(root, upload):
    send(upload, "x/a.png", PHOTO)
    send(upload, "c.zip", zipped([("deep/a.png", PHOTO)]))
    with pytest.raises(DataError, match="not unpacked yet"):
        upload.images()
    upload.unpack()
    assert [path.read_bytes() for path in upload.images()] == [PHOTO, PHOTO]
    upload.cancel()
    assert tree(root) == []


def test_cancel_removes_all_and_never_raises(root, upload):
    send(upload, "a.png", PHOTO)
    send(upload, "a.zip", zipped([("a.png", PHOTO)]))
    upload.cancel()
    assert tree(root / ".uploads") == []
    upload.cancel()
    other = Upload.begin(root)
    with pytest.raises(DataError, match="has ended"), other.receiving("a.png") as sink:
        sink.write(PHOTO)
        other.cancel()
    assert tree(root) == []


# Archives that are right

CLASSES = [("daisy/1.png", photo(1)), ("daisy/2.png", photo(2)), ("雏菊/1.png", photo(3))]


@pytest.mark.parametrize("packing", ["zip", "stored", "tar", "gz", "bz2", "xz", "xz2", "pax", "v7"])
def test_archives_are_known_by_content(root, packing):
    plain = tarred(CLASSES)
    data = {
        "zip": lambda: zipped(CLASSES),
        "stored": lambda: zipped(CLASSES, zipfile.ZIP_STORED),
        "tar": lambda: tarred(CLASSES, format=tarfile.GNU_FORMAT),
        "pax": lambda: tarred(
            CLASSES, format=tarfile.PAX_FORMAT, pax_headers={"comment": "x" * 99}
        ),
        "gz": lambda: gzip.compress(plain),
        "bz2": lambda: bz2.compress(plain),
        "xz": lambda: lzma.compress(plain),
        "xz2": lambda: lzma.compress(plain[:5000]) + bytes(8) + lzma.compress(plain[5000:]),
        "v7": lambda: v7(plain),
    }[packing]()
    upload, files = placed(root, ("misleading.jpg", data))
    assert files == sorted(name for name, _ in CLASSES)
    assert upload.left_out == []
    assert (root / "set/daisy/2.png").read_bytes() == photo(2)


def v7(data):
    """Make the headers of a tar those of the oldest kind, without its signature."""
    out = bytearray(data)
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        offsets = [m.offset for m in archive if not m.pax_headers]
    for offset in offsets:
        out[offset + 257 : offset + 512] = bytes(255)
        out[offset + 148 : offset + 156] = b" " * 8
        out[offset + 148 : offset + 156] = b"%06o\0 " % sum(out[offset : offset + 512])
    return bytes(out)


def test_files_go_to_a_folder_named_after_the_archive_or_to_their_own(root, upload):
    send(upload, "cats.tar.gz", gzip.compress(tarred([("1.png", PHOTO), ("x/2.png", PHOTO)])))
    send(upload, "sub/one.zip", zipped([("dogs/1.png", PHOTO), ("dogs/x/2.png", PHOTO)]))
    send(upload, "sub/two.zip", zipped([("Dogs/1.png", PHOTO)]))
    send(upload, "x.cache.zip", zipped([("1.png", PHOTO)]))  # folders of this name are not seen
    send(upload, "cats.zip", zipped([("9.png", PHOTO)]))
    upload.unpack()
    expected = ["archive/1.png", "cats/1.png", "cats/x/2.png", "cats-2/9.png"]
    expected += ["sub/dogs/1.png", "sub/dogs/x/2.png", "sub/Dogs-2/1.png"]
    assert upload.files == len(expected)
    assert upload.bytes == len(expected) * len(PHOTO)
    assert tree(upload.place(root / "set")) == sorted(expected)


def test_what_is_not_usable_in_an_archive_is_reported(root):
    entries = [
        ("x/a.png", PHOTO),
        ("x/A.PNG", PHOTO),
        ("x/notes.txt", b"notes"),
        ("x/fake.jpg", b"\xff\xd8 no"),
        ("x/bomb.png", bomb_png()),
        ("x/large.bmp", photo(0, "bmp", (90, 90))),
        ("x/large.mov", bytes(20_000)),
        ("x/inner.zip", zipped([("a.png", PHOTO)])),
        ("x/inner.tgz", gzip.compress(b"x")),
        ("x/con.png", PHOTO),
        ("x/a\u202eb.png", PHOTO),
        ("x/.hidden/a.png", PHOTO),
        ("__MACOSX/x/._a.png", b"fork"),
        ("x/.DS_Store", b"store"),
        ("Icon\r/.x", b""),
    ]
    for ending, data in (("zip", zipped(entries)), ("tar", tarred(entries))):
        upload, files = placed(root, (f"in.{ending}", data), limits=Limits(image_bytes=10_000))
        assert files == ["x/A-2.PNG", "x/a.png"]
        left = {p.name.removeprefix(f"in.{ending}/x/"): p for p in upload.left_out}
        assert {name: problem.kind for name, problem in left.items()} == {
            "notes.txt": "not an image",
            "fake.jpg": "not an image",
            "bomb.png": "unreadable",
            "large.bmp": "unreadable",
            "large.mov": "not an image",
            "inner.zip": "not an image",
            "inner.tgz": "not an image",
            "con.png": "unreadable",
            "a\\u202eb.png": "unreadable",
        }
        assert "pixels" in left["bomb.png"].reason
        assert "archive within an archive" in left["inner.zip"].reason
        assert "allowed" in left["large.bmp"].reason
        assert "reserved" in left["con.png"].reason
        shutil.rmtree(root)


def test_an_archive_without_images_is_reported(root, upload):
    send(upload, "a.zip", zipped([("readme.txt", b"hello")]))
    send(upload, "b.zip", zipped([]))
    upload.unpack()
    assert [p.name for p in upload.left_out] == ["a.zip/readme.txt", "a.zip", "b.zip"]
    with pytest.raises(DataError, match="none of the 3"):
        upload.place(root / "set")


def test_names_in_utf_8_are_read_also_where_the_zip_does_not_say_so(root):
    names = ["雏菊/照片.png", "été/a.png"]
    data = patched(zipped([(name, PHOTO) for name in names]), clear=0x800)
    assert placed(root, ("x.zip", data))[1] == sorted(names)


def test_progress_goes_to_the_end(root, upload):
    class Heard:
        def __init__(self):
            self.total = self.done = 0

        @contextlib.contextmanager
        def task(self, title, total, unit):
            self.total += total
            yield self

        def advance(self, n=1, note=""):
            assert n >= 0
            self.done += n

    for packing, data in (("zip", zipped(CLASSES)), ("tar", tarred(CLASSES, "gz"))):
        send(upload, f"a.{packing}", data)
    heard = Heard()
    upload.unpack(heard)
    assert heard.done == heard.total > 0


# Archives that are refused


def bomb_png(side=60_000):
    """A PNG whose header says that it is huge."""
    header = b"IHDR" + struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    chunk = struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    return b"\x89PNG\r\n\x1a\n" + chunk + struct.pack(">I", 0) + b"IEND\xaeB`\x82"


def patched(data, clear=0, add=0):
    """Change the flags of all entries of a zip."""
    out = bytearray(data)
    for signature, place in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        at = out.find(signature)
        while at >= 0:
            (flags,) = struct.unpack_from("<H", out, at + place)
            struct.pack_into("<H", out, at + place, flags & ~clear | add)
            at = out.find(signature, at + 1)
    return bytes(out)


def forged(entries, forge):
    """Let ``forge`` change what the directory of a zip says of its entries."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in entries:
            archive.writestr(name, data)
        forge(archive.filelist)
    return buffer.getvalue()


def with_mode(name, mode):
    info = zipfile.ZipInfo(name)
    info.create_system, info.external_attr = 3, (mode | 0o777) << 16
    return info


GOOD = ("good/a.png", PHOTO)
OUT = [
    "../x.png",
    "a/../../x.png",
    "/tmp/x.png",
    "..\\x.png",
    "C:\\x.png",
    "．．／x.png",
    "../.DS_Store",
]
OUT += ["..∕x.png", "\\\\host\\x.png", "a/.\u200b./x.png", "../"]


@pytest.mark.parametrize("name", OUT)
def test_an_entry_that_leads_out_refuses_the_archive(root, name):
    refused(root, zipped([GOOD, (name, PHOTO)]), "leads out of its folder")
    refused(root, tarred([GOOD, (name, PHOTO)]), "leads out of its folder")
    assert tree(root.parent) == []


def test_a_nul_does_not_hide_the_end_of_a_name(root):
    data = zipped([GOOD, ("a.png0/../../x.png", PHOTO)]).replace(b"a.png0/", b"a.png\0/")
    refused(root, data, "leads out of its folder")
    data = zipped([("a.png", PHOTO), ("a.png0b.exe", PHOTO)]).replace(b"a.png0b", b"a.png\0b")
    upload, files = placed(root / "2", ("a.zip", data))
    assert files == ["a/a.png"]
    assert "cannot be seen" in upload.left_out[0].reason


@pytest.mark.parametrize(
    "kind", [*"SYMTYPE LNKTYPE CHRTYPE BLKTYPE FIFOTYPE GNUTYPE_SPARSE".split(), b"Z"]
)
def test_links_and_devices_in_a_tar_refuse_it(root, kind):
    info = member("good/b.png", getattr(tarfile, kind) if isinstance(kind, str) else kind, "a.png")
    data = tarred([GOOD, (info, b""), ("good/c.png", PHOTO)], format=tarfile.GNU_FORMAT)
    refused(root, data, "link or a device" if kind != "GNUTYPE_SPARSE" else "holes|damaged")


@pytest.mark.parametrize("mode", [stat.S_IFLNK, stat.S_IFCHR, stat.S_IFIFO, stat.S_IFSOCK])
def test_links_and_devices_in_a_zip_refuse_it(root, mode):
    data = zipped([GOOD, (with_mode("good/b.png", mode), b"/etc/passwd")])
    refused(root, data, "link or a device")
    fine = zipped([GOOD, (with_mode("good/b.png", stat.S_IFREG), PHOTO)])
    assert placed(root / "2", ("a.zip", fine))[1] == ["good/a.png", "good/b.png"]


@pytest.mark.parametrize("flag", [0x1, 0x41, 0x2000])
def test_encrypted_entries_refuse_a_zip(root, flag):
    refused(root, patched(zipped([GOOD, ("b.png", PHOTO)]), add=flag), "encrypted; .* password")


def test_other_methods_refuse_a_zip(root):
    refused(root, zipped([GOOD], zipfile.ZIP_BZIP2), "by method 12, where only Deflate is read")


@pytest.mark.parametrize(
    "names", [("a.png", "a.png"), ("é.png", "e\u0301.png"), ("x/a.png", "x//./a.png")]
)
def test_a_name_that_comes_twice_refuses_the_archive(root, names):
    def rename(infos):
        infos[1].filename = infos[1].orig_filename = names[1]

    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive, contextlib.ExitStack() as warned:
        if names[0] == names[1]:
            warned.enter_context(pytest.warns(UserWarning, match="Duplicate name"))
        for name in names:
            archive.writestr(name, PHOTO)
    refused(root, buffer.getvalue(), "twice")
    refused(root, tarred([(name, PHOTO) for name in names]), "twice")


def test_overlapping_entries_refuse_a_zip(root):
    def all_one(infos):
        other = zipfile.ZipInfo("good/b.png")
        for field in ("header_offset", "CRC", "compress_size", "file_size", "compress_type"):
            setattr(other, field, getattr(infos[0], field))
        infos.append(other)

    def quoting(infos):  # what the first holds goes over the header of the second
        infos[0].compress_size += 40

    def beyond(infos):
        infos[-1].compress_size = 10**6

    refused(root, forged([GOOD], all_one), "'good/b.png' overlapping another")
    refused(root, forged([GOOD, ("good/b.png", PHOTO)], quoting), "overlapping another")
    refused(root, forged([GOOD], beyond), "goes beyond its end")


def test_lying_sizes_refuse_a_zip(root):
    large = photo(3, "bmp", (600, 600))
    for change in (-len(large) + 100, -1, 1, 10**6):

        def lie(infos, change=change):
            infos[0].file_size += change

        refused(root, forged([("x/a.bmp", large)], lie), "damaged or cut off")

    def short(infos):  # and the checksum agrees
        infos[0].file_size, infos[0].CRC = 100, zlib.crc32(large[:100])

    upload, _ = placed(root / "2", ("a.zip", forged([("a.bmp", large), GOOD], short)))
    sizes = [p.stat().st_size for p in (root / "2" / "set").rglob("*") if p.is_file()]
    assert sum(sizes) == upload.bytes == 100 + len(PHOTO)


def test_bombs_are_refused_by_ratio(root):
    zeros = bytes(30 * 10**6)
    refused(root, zipped([GOOD, ("x.bmp", zeros)]), "more than 200 times its")
    refused(root, tarred([GOOD, ("x.bmp", zeros)], "gz"), "more than 200 times its", "a.tgz")
    refused(root, tarred([GOOD, ("x.bmp", zeros)], "bz2"), "more than 200 times its")
    refused(root, tarred([GOOD, ("x.bmp", zeros)], "xz"), "more than 200 times its")
    # Also in what is passed over, and behind the end of the tar.
    hidden = tarred([GOOD, (".DS_Store", zeros)], "gz")
    refused(root, hidden, "more than 200 times its")
    refused(root, gzip.compress(tarred([GOOD]) + zeros), "more than 200 times its")
    drawing = zipped([("x/a.bmp", b"BM" + bytes(10**6))])  # little of it does no harm
    assert placed(root, ("a.zip", drawing), ("b.png", PHOTO))[1] == ["b.png"]


def test_bombs_take_little_memory(root):
    zeros = bytes(100 * 10**6)
    bombs = [tarred([("x.bmp", zeros)], packing) for packing in ("gz", "bz2", "xz")]
    bombs += [zipped([("x.bmp", zeros)])]
    header = member("x", b"x")
    header.size = len(zeros)
    bombs += [gzip.compress(header.tobuf(tarfile.USTAR_FORMAT) + zeros)]
    del zeros
    for k, bomb in enumerate(bombs):
        tracemalloc.start()
        small = Limits(bytes=10**6)
        refused(root / str(k), bomb, "times its|headers are too long")
        refused(root / f"{k}b", bomb, "allowed|headers are too long", limits=small)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 20 * 10**6


def test_a_nest_of_archives_is_not_followed(root):
    nest = zipped([("x.bmp", bytes(10**6))])
    for _ in range(3):
        nest = zipped([(f"{k}.zip", nest) for k in range(16)])
    upload = Upload.begin(root)
    send(upload, "42.zip", nest)
    upload.unpack()
    assert len(upload.left_out) == 17
    assert tree(root) == []


def test_limits_on_what_is_unpacked(root):
    photos = [(f"x/{k}.png", PHOTO) for k in range(8)]
    folders = [(f"x/{k}/", b"") for k in range(40)]
    for pack in (zipped, tarred):
        refused(root, pack(photos), "more files than the 7", limits=Limits(files=8))
        refused(root, pack([*folders, *photos]), "more than 36 entries", limits=Limits(files=10))
    flat = io.BytesIO()
    Image.new("RGB", (300, 300)).save(flat, "bmp")
    drawings = [(f"x/{k}.bmp", flat.getvalue()) for k in range(4)]
    for data in (zipped(drawings), tarred(drawings, "gz")):
        refused(
            root,
            data,
            f"more than the {format_bytes(10**6 - len(PHOTO))} that are still allowed",
            limits=Limits(bytes=10**6),
        )
        assert len(placed(root / f"{len(data)}", ("a.x", data))[1]) == 4
        shutil.rmtree(root / f"{len(data)}")


def test_a_directory_of_too_many_entries_is_not_read(root):
    names = [(f"{k:0200d}/", b"") for k in range(6000)]
    refused(root, zipped(names), "directory of too many entries", limits=Limits(files=10))


def test_headers_of_a_tar_that_lead_astray_refuse_it(root):
    back = tarfile.TarInfo("x/b.png")
    back.pax_headers = {"size": "-1024"}
    refused(root, tarred([GOOD, (back, b"")], format=tarfile.PAX_FORMAT), "damaged")
    long = member("././@LongLink", tarfile.GNUTYPE_LONGNAME)
    chain = long.tobuf(tarfile.GNU_FORMAT) * 3000
    refused(root, tarred([GOOD])[:1024] + chain + bytes(1024), "damaged")
    for size in (10**15, -1024):
        huge = tarfile.TarInfo("x/b.png")
        huge.size = size
        header = huge.tobuf(tarfile.GNU_FORMAT)
        refused(root, tarred([GOOD])[:2048] + header + bytes(2048), "damaged or cut off|disk")


def test_xz_that_asks_for_much_memory_is_refused(root):
    data = bytearray(lzma.compress(tarred([GOOD])))
    end = 12 + (data[12] + 1) * 4 - 4
    data[data.index(b"\x21\x01", 12, end) + 2] = 38  # two gigabytes
    data[end : end + 4] = struct.pack("<I", zlib.crc32(data[12:end]))
    refused(root, bytes(data), "[Mm]emory usage limit")


@pytest.mark.parametrize("packing", ["zip", "tar", "gz", "bz2", "xz"])
def test_archives_that_are_cut_off_or_damaged_are_refused(root, packing):
    entries = [(f"x/{k}.png", photo(k)) for k in range(3)]
    whole = zipped(entries) if packing == "zip" else tarred(entries, packing.replace("tar", ""))
    end = len(whole)
    if packing == "tar":
        with tarfile.open(fileobj=io.BytesIO(whole)) as archive:
            end = archive.getmembers()[-1].offset_data + len(photo(2))
            boundary = archive.getmembers()[2].offset
        refused(root, whole[:boundary], "damaged or cut off")
        refused(root, whole[: boundary + 100], "damaged or cut off")
        refused(root, whole[:boundary] + b"x" * 2000, "damaged or cut off")
    for boundary in (1000, end // 3, end // 2, end - 700, end - 20, end - 1):
        refused(root, whole[:boundary], "damaged or cut off")
    if packing != "tar":  # which has no checksum of what it holds
        damaged = bytearray(whole)
        for k in range(40):
            damaged[end // 2 + k] ^= 0x55
        refused(root, bytes(damaged), "damaged or cut off")


def test_compressed_files_that_are_no_archive_are_refused(root):
    refused(root, gzip.compress(PHOTO * 9), "damaged or cut off", "a.png.gz")


def test_archives_after_a_refused_one_still_wait(root, upload):
    send(upload, "a.zip", zipped([("../x.png", PHOTO)]))
    send(upload, "b.zip", zipped([("b.png", PHOTO)]))
    with pytest.raises(DataError, match=r"'a\.zip' holds '\.\./x\.png'"):
        upload.unpack()
    upload.unpack()
    assert tree(upload.place(root / "set")) == ["b/b.png"]


def test_nothing_of_a_stranger_is_run_or_left_with_rights(root):
    info = tarfile.TarInfo("x/a.png")
    info.mode = 0o7777
    assert placed(root, ("a.tar", tarred([(info, PHOTO)])))[1] == ["x/a.png"]
    assert not (root / "set/x/a.png").stat().st_mode & 0o7111
