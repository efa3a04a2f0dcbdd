"""Checks of files, names and classes: planted faults are reported, and little else."""

import io
import os
import shutil
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from conftest import draw_photos
from PIL import Image, ImageFilter

import tlearn
from tlearn.checks.check_page import page
from tlearn.checks.finding import CheckResult, Finding, proposed_edits, ranked
from tlearn.checks.name_checks import check_names, portability
from tlearn.checks.photo_checks import ENDINGS
from tlearn.data.edits import Change, Edits, undo_edits
from tlearn.data.file_table import FileTable, ImageFile
from tlearn.data.folders import EXTENSIONS
from tlearn.data.scan import scan
from tlearn.errors import ConfigError, DataError

SIZE = (160, 120)


def drawn(seed, size=SIZE):
    """Return a picture with sharp shapes on a ground of two colours."""
    rng = np.random.default_rng(seed)
    pixels = np.zeros((size[1], size[0], 3))
    pixels[:] = rng.uniform(60, 120, 3)
    for _ in range(40):
        x, y = rng.integers(0, size[0] - 8), rng.integers(0, size[1] - 8)
        pixels[y : y + rng.integers(4, 40), x : x + rng.integers(4, 40)] = rng.uniform(0, 255, 3)
    return Image.fromarray(pixels.astype(np.uint8))


@pytest.fixture(scope="module")
def sharp_template(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sharp") / "data"
    for k, label in enumerate(("cups", "plates")):
        (folder / label).mkdir(parents=True)
        for i in range(20):
            drawn(100 * k + i).save(folder / label / f"{i:02d}.jpg", quality=92)
    return folder


@pytest.fixture
def data(sharp_template, tmp_path):
    return shutil.copytree(sharp_template, tmp_path / "data")


def look(data, **more):
    return tlearn.check(data, content=False, quiet=True, **more)


def by_check(result):
    return {check: [f.names[0] for f in result.of(check)] for check in result.counts}


def bytes_of(image, kind, **more):
    out = io.BytesIO()
    image.save(out, kind, **more)
    return out.getvalue()


def test_nothing_is_wrong_with_good_photos(data):
    result = look(data)
    assert not result.findings and result.photos == 40 and result.labels == ("cups", "plates")


def test_planted_photos_are_reported_once_and_no_others(data):
    cups = data / "cups"
    one = drawn(900)
    planted = {
        "blurred": one.filter(ImageFilter.GaussianBlur(5)),
        "dark": one.point(lambda v: v * 0.12),
        "bright": one.point(lambda v: 225 + v * 0.1),
        "one colour": Image.new("RGB", SIZE, (200, 30, 30)),
        "tiny": one.resize((24, 18)),
        "extreme aspect": drawn(901, (640, 80)),
        "grey": one.convert("L"),
        "unusual mode": drawn(902).convert("CMYK"),
    }
    for check, image in planted.items():
        image.save(cups / f"{check}.jpg", quality=92)
    drawn(903).save(cups / "wrong extension.jpg", "PNG")
    drawn(904).save(cups / "wrong extension", "PNG")
    frames = [drawn(905), drawn(906)]
    frames[0].save(cups / "animated.webp", save_all=True, append_images=frames[1:])
    exif = Image.Exif()
    exif[0x0112] = 6
    drawn(907).save(cups / "EXIF-rotated.jpg", exif=exif)
    (cups / "zero bytes.jpg").touch()
    (cups / "unreadable.jpg").write_bytes(bytes_of(drawn(908), "JPEG")[:900])
    (cups / "not an image.txt").write_text("notes")
    Image.fromarray(np.full((80, 80), 40_000, np.uint16)).save(cups / "deep.png")
    shutil.copy(cups / "00.jpg", cups / "duplicate.jpg")
    shutil.copy(cups / "01.jpg", data / "plates" / "conflict.jpg")
    result = look(data)
    found = by_check(result)
    assert found.pop("one colour") == ["cups/deep.png", "cups/one colour.jpg"]
    assert found.pop("wrong extension") == ["cups/wrong extension", "cups/wrong extension.jpg"]
    assert found.pop("pixel values") == ["cups/deep.png"]
    assert found.pop("not an image") == ["cups/not an image.txt"]
    assert found.pop("animated") == ["cups/animated.webp"]
    assert found.pop("conflict") == ["plates/conflict.jpg"]
    assert found == {check: [f"cups/{check}.jpg"] for check in found}
    expected = {*planted, "EXIF-rotated", "zero bytes", "unreadable", "duplicate"} - {"one colour"}
    assert found.keys() == expected
    assert "truncated" in result.of("unreadable")[0].reason
    assert result.of("conflict")[0].names == ("plates/conflict.jpg", "cups/01.jpg")
    assert result.findings == ranked(result.findings)


def moved(image, down, right):
    """Blur a picture by a motion of nine steps."""
    pixels = np.asarray(image, np.float32)
    shots = [np.roll(pixels, (k * down, k * right), (0, 1)) for k in range(9)]
    return Image.fromarray(np.mean(shots, axis=0).astype(np.uint8))


def test_photos_that_a_motion_blurred_are_reported_whatever_its_direction(data):
    for i, (down, right) in enumerate(((0, 1), (1, 0), (1, 1), (1, -1), (2, 1))):
        moved(drawn(900 + i), down, right).save(data / "cups" / f"moved{i}.jpg", quality=92)
    found = by_check(look(data))
    assert found.keys() == {"blurred"}
    assert sorted(found["blurred"]) == [f"cups/moved{i}.jpg" for i in range(5)]


def test_what_a_whole_set_has_in_common_is_not_reported(tmp_path):
    """Photos at night, grey scans, icons, panoramas and blurred pictures are as they should be."""
    changes = {
        "night": lambda image: image.point(lambda v: v * 0.15),
        "grey": lambda image: image.convert("L"),
        "icons": lambda image: image.resize((28, 28)),
        "panoramas": lambda image: image.resize((800, 100)),
        "blurred": lambda image: image.filter(ImageFilter.GaussianBlur(4)),
        "moved": lambda image: moved(image, 1, 1),
        "sketches": lambda image: image.point(lambda v: 230 + v * 0.1),
    }
    for name, change in changes.items():
        for label in ("a", "b"):
            (tmp_path / name / label).mkdir(parents=True)
            for i in range(12):
                image = change(drawn(100 * (label == "b") + i))
                image.save(tmp_path / name / label / f"{i}.png")
        assert not look(tmp_path / name).findings, name


def test_ink_on_white_and_lights_at_night_can_be_seen(data):
    for name, ground, colour in (("ink", 255, 10), ("lights", 4, 240)):
        image = Image.new("RGB", SIZE, (ground,) * 3)
        image.paste((colour,) * 3, (70, 50, 90, 62))  # 1.25% of it
        image.save(data / "cups" / f"{name}.png")
    assert look(data).counts.keys() == {"grey"}


def test_what_a_class_has_in_common_is_not_reported(data):
    (data / "night").mkdir()
    for i in range(9):
        image = drawn(700 + i).point(lambda v: v * 0.15).filter(ImageFilter.GaussianBlur(5))
        image.save(data / "night" / f"{i}.jpg")
    assert set(look(data).counts) == {"small class"}


def test_a_turned_photo_or_one_reduced_while_decoding_has_the_size_of_its_file(data):
    drawn(5, (2400, 300)).save(data / "cups" / "wide.jpg")
    drawn(6, (120, 1600)).save(data / "cups" / "high.webp")
    reasons = {f.names[0]: f.reason for f in look(data).of("extreme aspect")}
    assert reasons["cups/wide.jpg"].startswith("2400 x 300 pixels")
    assert reasons["cups/high.webp"].startswith("120 x 1600 pixels")


def test_every_ending_of_an_image_is_one_of_a_format():
    endings = {ending for text in ENDINGS.values() for ending in text.split()}
    assert EXTENSIONS - endings == {".tga", ".psd"}  # which are not read


# ---- Names


def names_found(*names):
    files = [ImageFile(None, name, "", below=name.partition("/")[2]) for name in names]
    return {f.names[0]: f.severity for f in check_names(FileTable.of(Path("photos"), files))}


def test_names_that_other_systems_refuse_are_reported():
    bad = ("a:b.jpg", "con.png", "x.jpg ", "y.", "what?.jpg", "z\u200b.jpg", "caf\\udce9.jpg")
    assert set(names_found(*(f"c/{name}" for name in bad))) == {f"c/{name}" for name in bad}
    assert names_found("aux/1.jpg", "aux/2.jpg") == {"aux/": "note"}
    assert names_found("c/" + "d" * 100 + "/" + "e" * 100 + ".jpg")
    assert not names_found(
        "红色/é 1.jpg", "سیب/می‌خواهم.jpg", "/elsewhere/con.png", "c/v1.2 (3).jpg"
    )
    assert portability("x" * 251 + ".jpeg").endswith("longer than 255 bytes in UTF-8")


def test_names_that_differ_in_case_spaces_or_unicode_form_are_reported():
    decomposed = unicodedata.normalize("NFD", "é.jpg")
    found = names_found("c/a.jpg", "c/A.JPG", "c/é.jpg", f"c/{decomposed}", "c/b 1.jpg", "c/b1.jpg")
    assert found == {"c/A.JPG": "warning", f"c/{decomposed}": "warning", "c/b1.jpg": "note"}
    assert not names_found("c/1 1.jpg", "c/11.jpg", "d/a.jpg", "c/a.jpg", "c/a.png")


@pytest.mark.skipif(os.name == "nt", reason="these names are one file there")
def test_classes_that_differ_in_case_or_spaces_can_be_merged_into_the_largest(data):
    for label in ("Cups", "cups ", "CUPS"):
        (data / label).mkdir()
        drawn(len(label) + ord(label[1])).save(data / label / "1.jpg")
    findings = look(data).of("similar classes")
    assert {f.names for f in findings} == {(f"{k}/", "cups/") for k in ("Cups", "cups ", "CUPS")}
    assert "similar names" not in look(data).counts
    look(data).apply(findings)
    assert scan(data).counts == {"cups": 23, "plates": 20}


def test_hidden_photos_and_folders_are_reported(data):
    (data / "cups" / ".more").mkdir()
    for name in (".more/a.jpg", ".more/b.jpg", ".c.jpg", "._00.jpg"):
        shutil.copy(data / "cups" / "00.jpg", data / "cups" / name)
    (data / ".DS_Store").touch()
    (data / "__MACOSX").mkdir()
    shutil.copy(data / "cups" / "00.jpg", data / "__MACOSX" / "00.jpg")
    found = {f.names[0]: f.reason for f in look(data).of("hidden")}
    assert found.keys() == {"cups/.more/", "cups/.c.jpg"} and "(2)" in found["cups/.more/"]


# ---- Classes


def test_empty_small_and_unbalanced_classes_are_reported(tmp_path):
    for label, count in (("many", 120), ("few", 4), ("one", 1), ("some", 12)):
        draw_photos(tmp_path / "drawn", count, ("red",), seed=count)
        (tmp_path / "data").mkdir(exist_ok=True)
        (tmp_path / "drawn" / "red").rename(tmp_path / "data" / label)
    (tmp_path / "data" / "empty").mkdir()
    result = look(tmp_path / "data")
    assert by_check(result)["empty class"] == ["empty/"]
    assert {f.names[0]: f.severity for f in result.of("small class")} == {
        "one/": "error",
        "few/": "warning",
    }
    (imbalance,) = result.of("imbalance")
    assert imbalance.names == ("some/", "many/") and imbalance.score == 10


def test_a_set_of_one_class_is_looked_at_too(tmp_path):
    draw_photos(tmp_path / "data", 12, ("red",))
    assert look(tmp_path / "data").of("one class")[0].severity == "error"
    draw_photos(tmp_path / "outer" / "photos", 2)
    shutil.copy(tmp_path / "data" / "red" / "red00.png", tmp_path / "outer" / "photos")
    assert "blue, green, red: if these are" in look(tmp_path / "outer").of("one class")[0].reason


def test_the_same_file_in_two_splits_stays_in_the_one_that_measures(parts):
    shutil.copy(parts / "val" / "red" / "red00.png", parts / "train" / "red" / "copy.png")
    (leak,) = look(parts).of("leak")
    assert leak.names == ("train/red/copy.png", "val/red/red00.png")
    assert leak.edits == (Change("train/red/copy.png", "exclude"),)


# ---- Findings and edits


def test_findings_become_edits_at_once_and_one_undo_takes_them_back(data):
    (data / "cups" / "broken.jpg").write_bytes(b"\xff\xd8\xffno")
    Image.new("RGB", SIZE).save(data / "cups" / "black.jpg")
    result = look(data)
    assert [f.check for f in result.of("cups/black.jpg", "unreadable")] == [
        "unreadable",
        "one colour",
    ]
    assert result.of("all") == result.findings
    assert result.path_of("cups/black.jpg").is_file()
    assert result.of("blurred") == ()  # there are none
    with pytest.raises(ConfigError, match="did you mean 'unreadable'"):
        result.of("unreadible")
    assert len(result.apply(result.findings)) == len(Edits.of(data).lines) == 2
    assert not look(data).findings
    assert result.apply(result.findings) == ()  # made already
    assert len(undo_edits(data)) == 2 and look(data).counts == result.counts
    (data / "cups" / "black.jpg").unlink()
    with pytest.raises(DataError, match="scan the folder again"):
        result.apply(result.findings)
    assert not Edits.of(data).lines


def test_a_photo_gets_one_class_and_what_is_excluded_is_excluded_alone():
    findings = [
        Finding("suspect label", ("a",), "", edits=(Change("a", "class", "x"),)),
        Finding("suspect label", ("a",), "", edits=(Change("a", "class", "y"),)),
        Finding("leak", ("a",), "", edits=(Change("a", "group", "1"), Change("b", "group", "1"))),
        Finding("duplicate", ("b",), "", edits=(Change("b", "exclude"),)),
    ]
    assert proposed_edits(findings) == (
        Change("a", "class", "x"),
        Change("a", "group", "1"),
        Change("b", "exclude"),
    )


def test_a_fix_is_told_in_a_few_words():
    group = tuple(Change(name, "group", "1") for name in "abc")
    for edits, words in (
        ((Change("a", "exclude"),), "exclude"),
        ((Change("b", "exclude"),), "exclude b"),
        ((Change("a", "class", "x"), *group), "relabel as 'x'; group 3 photos as '1'"),
        ((Change("a/", "class", "x"),), "merge a/ into 'x'"),
        ((), ""),
    ):
        assert Finding("burst", ("a", "b"), "", edits=edits).fix == words


def test_what_matters_most_stands_first():
    findings = [
        Finding("burst", ("1",), "", "note", 3),
        Finding("blurred", ("2",), "", "warning", 1),
        Finding("burst", ("3",), "", "error", 1),
        Finding("suspect label", ("4",), "", "warning", 1),
        Finding("blurred", ("5",), "", "warning", 2),
    ]
    assert [f.names[0] for f in ranked(findings)] == ["3", "1", "4", "5", "2"]


def test_the_page_shows_names_of_strangers_as_text(data):
    name = "<script>alert(1)</script>\x1b.jpg"
    finding = Finding(
        "blurred", (name, "cups/00.jpg"), "why & how", edits=(Change(name, "exclude"),)
    )
    html = page(CheckResult(data, data, 40, ("cups",), (finding,) * 70, 1.0))
    assert "<script>" not in html and "&lt;script&gt;" in html and "\x1b" not in html
    assert "why &amp; how" in html and "and 10 more" in html and html.count("data:image/jpeg") == 60
