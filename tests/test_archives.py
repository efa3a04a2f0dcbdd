"""Archives from others: what is unpacked, and what is refused."""

import bz2
import gzip
import io
import lzma
import stat
import struct
import tarfile
import zipfile
import zlib

import pytest
from test_uploads import PHOTO, photo, tree, zipped

from tlearn.data import archives, unpacking
from tlearn.data.archives import Limits, detect_encoding
from tlearn.progress import format_bytes

LIMITS = Limits()
GOOD = ("good/a.png", PHOTO)
CLASSES = [("daisy/1.png", photo(1)), ("daisy/2.png", photo(2)), ("雏菊/1.png", photo(3))]


def tarred(entries, packing="", **options):
    """Entries are pairs of a name or a TarInfo, and bytes."""
    buffer = io.BytesIO()
    options = {"format": tarfile.GNU_FORMAT, **options}
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


@pytest.fixture
def unpacked(tmp_path):
    """Unpack bytes in this process; return the answer and the files."""
    number = iter(range(10**6))

    def unpack(data, limits=LIMITS):
        path = tmp_path / f"{next(number)}.x"
        path.write_bytes(data)
        into = path.with_suffix("")
        return unpacking.answer_to(path, into, limits), tree(into)

    return unpack


@pytest.fixture
def refused(unpacked):
    """Unpack bytes that are refused; look for words in the reason."""

    def refuse(data, words, limits=LIMITS):
        answer, _ = unpacked(data, limits)
        assert set(answer) == {"refused"}
        assert any(word in answer["refused"] for word in words.split("|")), answer

    return refuse


def test_archives_are_known_by_content(unpacked):
    plain = tarred(CLASSES)
    comment = {"comment": "x" * 99}
    for data in (
        zipped(CLASSES),
        zipped(CLASSES, zipfile.ZIP_STORED),
        zipped(CLASSES, zipfile.ZIP_LZMA),
        tarred(CLASSES, format=tarfile.GNU_FORMAT),
        tarred(CLASSES, format=tarfile.PAX_FORMAT, pax_headers=comment),
        tarred((f"./{name}", data) for name, data in CLASSES),
        gzip.compress(plain),
        bz2.compress(plain),
        lzma.compress(plain),
        lzma.compress(plain[:5000]) + lzma.compress(plain[5000:]),
    ):
        answer, files = unpacked(data)
        assert files == sorted(name for name, _ in CLASSES)
        assert (answer["files"], answer["bytes"]) == (3, sum(len(data) for _, data in CLASSES))
        assert (answer["encoding"], answer["repaired"], answer["left_out"]) == ("", {}, [])


def test_what_is_not_usable_is_left_out_by_name_and_names_are_repaired(unpacked):
    left_out = {
        "x/notes.txt": ("not an image", "not an image"),
        "x/fake.jpg": ("unreadable", "JPEG"),
        "x/bomb.png": ("unreadable", "pixels"),
        "x/large.bmp": ("refused", "are allowed"),
        "x/inner.zip": ("not an image", "a zip archive"),
        "x/inner.tgz": ("not an image", "a gzip archive"),
        "x/old.7z": ("not an image", "a 7z archive"),
        "x/phone.heic": ("unreadable", ""),  # damaged, or of a format to install
    }
    entries = [
        ("x/a.png", PHOTO),
        ("x/A.PNG", PHOTO),
        ("x/CON.png", PHOTO),
        ("x/a\u202eb.png", PHOTO),
        ("x/x/a\\b.png", PHOTO),
        ("x/notes.txt", b"notes"),
        ("x/fake.jpg", b"\xff\xd8\xff no"),
        ("x/bomb.png", bomb_png()),
        ("x/large.bmp", photo(0, "bmp", (90, 90))),
        ("x/inner.zip", zipped([("a.png", PHOTO)])),
        ("x/inner.tgz", gzip.compress(b"x")),
        ("x/old.7z", b"7z\xbc\xaf\x27\x1c"),
        ("x/phone.heic", struct.pack(">I", 24) + b"ftypheic" + bytes(12)),
        ("x/.hidden/a.png", PHOTO),
        ("__MACOSX/x/._a.png", b"fork"),
        ("x/.DS_Store", b"store"),
    ]
    for data in (zipped(entries), tarred(entries)):
        answer, files = unpacked(data, Limits(image_bytes=10_000))
        assert files == ["x/A-2.PNG", "x/CON_.png", "x/a.png", "x/ab.png", "x/x/a/b.png"]
        assert set(answer["repaired"]) == {"x/A.PNG", "x/CON.png", "x/a\u202eb.png"}
        assert [name for name, *_ in answer["left_out"]] == list(left_out)
        for name, kind, reason in answer["left_out"]:
            assert kind == left_out[name][0] and left_out[name][1] in reason


def bomb_png(side=60_000):
    """A PNG whose header says that it is huge."""
    header = b"IHDR" + struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    chunk = struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    return b"\x89PNG\r\n\x1a\n" + chunk + struct.pack(">I", 0) + b"IEND\xaeB`\x82"


# Names in other encodings

ENCODED = {
    "gb18030": ["雏菊/猫.png", "向日葵/狗.png"],
    "cp932": ["表/ソース.png", "ひまわり/予定.png", "能力/十.png"],  # second bytes are backslashes
    "cp866": ["розы/кот.png", "ромашки/собака.png"],
    "big5": ["蘋果/許功蓋.png", "香蕉/葡萄.png"],
    "cp949": ["고양이/개.png", "장미/해바라기.png"],
    "cp1251": ["Кошки/фото.png", "Собаки/фото.png"],
}


def legacy_zip(names, encoding):
    """A zip as an archiver writes it that knows no UTF-8."""
    stand_ins = [chr(65 + k) * len(name.encode(encoding)) for k, name in enumerate(names)]
    data = zipped((stand_in, PHOTO) for stand_in in stand_ins)
    for stand_in, name in zip(stand_ins, names, strict=True):
        data = data.replace(stand_in.encode(), name.encode(encoding))
    return data


def test_names_in_other_encodings_are_read_and_it_is_said(unpacked, monkeypatch):
    for encoding, names in ENCODED.items():
        answer, files = unpacked(legacy_zip(names, encoding))
        assert (files, answer["encoding"]) == (sorted(names), encoding)
        data = tarred([("a.png", PHOTO), *((name, PHOTO) for name in names)], encoding=encoding)
        answer, files = unpacked(data)
        assert (files, answer["encoding"]) == (sorted(["a.png", *names]), encoding)
    names = ["雏菊/照片.jpg", "été/a.png"]
    answer, files = unpacked(legacy_zip(names, "utf-8"))  # macOS does not say that it is
    assert (files, answer["encoding"]) == (sorted(names), "")
    monkeypatch.setattr(archives, "detect_encoding", None)  # all names would be read once more
    name = "क्\u200dष/\U0001f468\u200d\U0001f467.png"
    assert unpacked(tarred([(name, PHOTO)]))[1] == [name]


def test_few_short_names_are_enough():
    for encoding, names in {
        "gb18030": ["猫", "狗"],
        "cp932": ["犬", "猫"],
        "cp866": ["кот", "собака"],
        "cp437": ["été", "crème"],
        "cp1252": ["Bäume", "Straße"],
    }.items():
        assert detect_encoding([name.encode(encoding) for name in names]) == encoding
    assert detect_encoding(["é".encode(), b"a"]) == detect_encoding([b"a", b"b"]) == ""
    assert detect_encoding([b"\xff\xfe\x81"]) in ("cp437", "cp850", "cp1252", "cp866", "cp1251")


# Archives that are refused


def patched(data, add):
    """Add flags to all entries of a zip."""
    out = bytearray(data)
    for signature, place in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        at = out.find(signature)
        while at >= 0:
            (flags,) = struct.unpack_from("<H", out, at + place)
            struct.pack_into("<H", out, at + place, flags | add)
            at = out.find(signature, at + 1)
    return bytes(out)


def test_what_leads_out_refuses_the_archive(refused, tmp_path):
    for name in ("../out.png", "a/../../out.png", "..\\out.png", "C:\\out.png", "../.DS_Store"):
        refused(zipped([GOOD, (name, PHOTO)]), "leads out of its folder")
        refused(tarred([GOOD, (name, PHOTO)]), "leads out of its folder")
    assert not [*tmp_path.rglob("*out.png"), *tmp_path.parent.glob("*out.png")]


def test_links_devices_and_passwords_refuse_the_archive(refused):
    for kind in "SYMTYPE LNKTYPE CHRTYPE BLKTYPE FIFOTYPE".split():
        info = member("good/b.png", getattr(tarfile, kind), "a.png")
        refused(tarred([GOOD, (info, b"")], format=tarfile.GNU_FORMAT), "link or a device")
    for mode in (stat.S_IFLNK, stat.S_IFCHR, stat.S_IFIFO, stat.S_IFSOCK):
        info = zipfile.ZipInfo("good/b.png")
        info.create_system, info.external_attr = 3, (mode | 0o777) << 16
        refused(zipped([GOOD, (info, b"/etc/passwd")]), "link or a device")
    for flag in (0x1, 0x41, 0x2000):
        refused(patched(zipped([GOOD]), flag), "encrypted; pack it anew without a password")


def test_a_name_that_comes_twice_gets_a_number(unpacked):
    with pytest.warns(UserWarning, match="Duplicate name"):
        twice = zipped([("a.png", PHOTO), ("a.png", PHOTO)])
    for data in (twice, tarred([("a.png", PHOTO)] * 2)):
        answer, files = unpacked(data)
        assert files == ["a-2.png", "a.png"] and answer["repaired"] == {"a.png": "a-2.png"}


def test_bombs_are_refused_by_ratio(refused, unpacked):
    zeros = bytes(30 * 10**6)
    bombs = [zipped([GOOD, ("x.bmp", zeros)]), zipped([GOOD, (".DS_Store", zeros)])]
    bombs += [tarred([GOOD, ("x.bmp", zeros)], packing) for packing in ("gz", "bz2", "xz")]
    bombs += [tarred([GOOD, (".DS_Store", zeros)], "gz")]
    for data in bombs:
        refused(data, "more than 200 times its")
    refused(gzip.compress(tarred([GOOD]) + zeros), "after its end")
    little = zipped([("x/a.bmp", b"BM" + bytes(10**6))])  # it does no harm
    assert unpacked(little)[0]["files"] == 0


def test_limits_on_what_is_unpacked(refused):
    photos = [(f"x/{k}.png", PHOTO) for k in range(8)]
    hidden = [(f".x/{k}", b"") for k in range(40)]
    drawing = photo(0, "bmp", (300, 300))
    drawings = [(f"x/{k}.bmp", drawing) for k in range(4)]
    for pack in (zipped, tarred):
        refused(pack(photos), "more files than the 7", Limits(files=7))
        refused(pack([*hidden, *photos]), "more than 40 entries", Limits(files=10))
        refused(pack(drawings), f"more than the {format_bytes(10**6)}", Limits(bytes=10**6))


def test_headers_that_lead_astray_are_refused(refused):
    back = tarfile.TarInfo("x/b.png")
    back.pax_headers = {"size": "-1024"}
    refused(tarred([GOOD, (back, b"")], format=tarfile.PAX_FORMAT), "damaged")
    chain = member("././@LongLink", tarfile.GNUTYPE_LONGNAME).tobuf(tarfile.GNU_FORMAT) * 3000
    refused(tarred([GOOD])[:1024] + chain + bytes(1024), "damaged")
    huge = tarfile.TarInfo("x/b.png")
    huge.size = 10**15
    data = tarred([GOOD])[:2048] + huge.tobuf(tarfile.GNU_FORMAT) + bytes(2048)
    refused(data, "damaged or cut off|unpacks to more")
    refused(gzip.compress(PHOTO * 9), "no whole tar in the gzip")


def test_archives_that_are_cut_off_or_damaged_are_refused(refused):
    entries = [(f"x/{k}.png", photo(k)) for k in range(3)]
    for packing in ("zip", "tar", "gz", "bz2", "xz"):
        whole = zipped(entries) if packing == "zip" else tarred(entries, packing.replace("tar", ""))
        end = len(whole)
        if packing == "tar":
            with tarfile.open(fileobj=io.BytesIO(whole)) as archive:
                end = archive.getmembers()[-1].offset_data + len(photo(2))
                third = archive.getmembers()[2].offset
            refused(whole[:third], "damaged or cut off")
            refused(whole[: third + 100], "damaged or cut off")
            refused(whole[:third] + b"x" * 2000, "damaged or cut off")
        for length in (1000, end // 3, end // 2, end - 700, end - 20, end - 1):
            refused(whole[:length], "damaged or cut off")
        if packing != "tar":  # which has no checksum of what it holds
            damaged = bytearray(whole)
            for k in range(40):
                damaged[end // 2 + k] ^= 0x55
            refused(bytes(damaged), "damaged or cut off")


def test_nothing_is_left_with_rights(unpacked, tmp_path):
    info = tarfile.TarInfo("x/a.png")
    info.mode = 0o7777
    assert unpacked(tarred([(info, PHOTO)]))[1] == ["x/a.png"]
    assert not (tmp_path / "0" / "x" / "a.png").stat().st_mode & 0o7111
