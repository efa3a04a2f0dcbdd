# ruff: noqa: RUF001 - names in every script are what is tested
"""Names of files and classes: any script, and nothing unsafe."""

import os
import unicodedata

import pytest
from hypothesis import given, strategies as st

from tlearn.data.filenames import (
    UniqueNames,
    class_folder_name,
    inside,
    leads_out,
    repair_part,
    unsafe_reason,
    validate_class_name,
)
from tlearn.errors import DataError

# Persian and Hindi joiners, a family, a flag, and what Windows alone forbids, on other systems.
GOOD = ["می\u200cخواهم", "क्\u200dष", "\U0001f468\u200d\U0001f469\u200d\U0001f467", "雏菊", "قطة"]
GOOD += ["🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f", "a..b", "x" * 100]
GOOD += ["½ (1) ~ #&%20'", "console"]
GOOD += ["12:30 what?", 'a"b|c<d>*'] if os.name != "nt" else []
UNSAFE = [
    "",
    " ",
    ".",
    "..",
    "../x",
    "/",
    "a/",
    "a/../b",
    "a\\b",
    ".hidden",
    "a\nb",
    "a\0b",
    "a\x1bb",
]
UNSAFE += ["a\u202eb", "a\u200bb", "a\u2028b", "\ud800", "\u200d", "Thumbs.DB", "x.cache"]
UNSAFE += [" x", "x ", "x" * 101, "猫" * 90]
PARTS = st.text(
    st.one_of(
        st.characters(exclude_characters="/\\"),
        st.sampled_from(' ..~_\0\n\u200b\u200c\u200d\u202e:*?"<>|e\u0301\ud800conauxpr'),
    ),
    max_size=300,
)


def test_good_names_stay_and_others_are_repaired():
    for name in GOOD:
        assert repair_part(name) == validate_class_name(name) == name
        assert repair_part(f"{name}.jpg") == f"{name}.jpg"
    repaired = {
        "CON": "CON_",
        "nul.tar.gz": "nul_.tar.gz",
        "Aux.jpg": "Aux_.jpg",
        "roses ": "roses",
        "roses.": "roses",
        "a\0b\n.jpg": "ab.jpg",
        "\u202egpj.exe": "gpj.exe",
        "e\u0301te\u0301": "été",
        "..": "unnamed",
        "": "unnamed",
        "\u200b.x": "_.x",
        "thumbs.db": "_thumbs.db",
        "x" * 300 + ".jpeg": "x" * 225 + ".jpeg",
    }
    assert {name: repair_part(name) for name in repaired} == repaired


@given(PARTS)
def test_a_repaired_name_is_safe_and_stays(part):
    name = repair_part(part)
    assert not unsafe_reason(name) and not leads_out(name)
    assert len(name.encode()) <= 240 and name == name.strip().rstrip(".")
    assert repair_part(name) == name


@given(st.lists(st.lists(PARTS, min_size=1, max_size=3).map("/".join), max_size=12))
def test_every_file_gets_a_path_of_its_own_and_folders_stay_together(sent):
    names = UniqueNames()
    given = [names.add(name) for name in sent]
    assert len({name.casefold() for name in given}) == len(sent)
    for name, path in zip(sent, given, strict=True):
        assert not any(map(unsafe_reason, path.split("/")))
        changed = path != "/".join(part for part in name.split("/") if part)
        known = [key for key in names.repaired if f"{name}/".startswith(f"{key}/")]
        assert known or not changed or name.strip("/") != name or "." in name.split("/")


def test_names_that_differ_by_case_or_were_repaired_are_kept_apart_and_listed():
    names = UniqueNames()
    sent = ["Cats/a.png", "cats/a.png", "cats/A.png", "CON/1.png", "CON_/1.png", "CON/2.png"]
    assert [names.add(name) for name in sent] == [
        "Cats/a.png",
        "cats-2/a.png",
        "cats-2/A-2.png",
        "CON_/1.png",
        "CON_-2/1.png",
        "CON_/2.png",
    ]
    assert names.repaired == {
        "cats": "cats-2",
        "cats/A.png": "cats-2/A-2.png",
        "CON": "CON_",
        "CON_": "CON_-2",
    }


def test_many_names_of_one_folded_form_take_no_time_each():
    names = UniqueNames()
    for bits in range(1 << 12):
        names.add("".join(c.upper() if bits >> k & 1 else c for k, c in enumerate("a" * 12)))
    assert next(names._numbers["a" * 12]) == (1 << 12) + 1


def test_what_leads_out():
    out = ["/etc/x", "\\\\host\\x", "..", "a/../b", "a\\..\\b", "C:\\x", "c:/x"]
    out += [".. /x", "../", "..."]
    assert all(map(leads_out, out))
    assert not any(map(leads_out, ["a..b", "..a", "a/b", "c:x", "./a", "a/./b", "."]))


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


def test_class_names_may_be_more_than_files_but_not_unsafe():
    for name in ("con", "etc."):
        assert validate_class_name(name) == name
    assert validate_class_name(unicodedata.normalize("NFD", "Käfer")) == "Käfer"
    for name in UNSAFE:
        with pytest.raises(DataError, match="class name") as refused:
            validate_class_name(name)
        assert len(str(refused.value)) < 400 and str(refused.value).isprintable()


@given(st.text())
def test_an_allowed_name_is_one_folder_that_can_be_made(name):
    try:
        label = class_folder_name(validate_class_name(name))
    except DataError:
        return
    assert label.strip() and not {"/", "\\", "\0", "\n"} & set(label) and label not in (".", "..")
    assert len(label.encode()) <= 255 and validate_class_name(label) == label
    assert not unsafe_reason(label)
