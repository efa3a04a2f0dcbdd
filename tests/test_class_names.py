"""Names of classes: any script, and nothing unsafe."""

import unicodedata

import pytest
from hypothesis import given, strategies as st

from tlearn.data.filenames import unsafe_reason, validate_class_name
from tlearn.errors import DataError

ALLOWED = (
    "猫",
    "قطة",
    "می\u200cخواهم",  # noqa: RUF001 - Persian, with a zero-width non-joiner
    "क्\u200dष",  # Hindi, with a zero-width joiner
    "👨\u200d👩\u200d👧",
    "🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f",
    "12:30 what?",
    'a"b|c<d>*',
    "con",
    "etc.",
    "x" * 100,
)
UNSAFE = [
    "",
    " ",
    ".",
    "..",
    "../x",
    "a/b",
    "a\\b",
    ".hidden",
    "a\nb",
    "a\0b",
    "a\x1bb",
    "a\u202eb",
]
UNSAFE += ["a\u200bb", "a\u2028b", "\ud800", "\u200d", "Thumbs.DB", "x.cache", " x", "x "]
UNSAFE += ["x" * 101, "猫" * 90]


def test_names_of_every_script_are_allowed():
    for name in ALLOWED:
        assert validate_class_name(name) == name
    assert validate_class_name(unicodedata.normalize("NFD", "Käfer")) == "Käfer"


def test_unsafe_names_are_refused_in_one_line():
    for name in UNSAFE:
        with pytest.raises(DataError, match="class name") as refused:
            validate_class_name(name)
        assert len(str(refused.value)) < 400 and str(refused.value).isprintable()


@given(st.text())
def test_an_allowed_name_is_one_folder_that_can_be_made(name):
    try:
        label = validate_class_name(name)
    except DataError:
        return
    assert label.strip() and not {"/", "\\", "\0", "\n"} & set(label) and label not in (".", "..")
    assert len(label.encode()) <= 255 and validate_class_name(label) == label
    assert not unsafe_reason(label)
