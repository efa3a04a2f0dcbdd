"""Names of every kind: sorted as people do, shown without harm, written and read back."""

import csv
import io
import random

import pytest
from hypothesis import given, strategies as st

from tlearn.csv_files import csv_rows, csv_text
from tlearn.text import decode_name, encode_name, natural_key, printable

# What file systems take: bytes that are not UTF-8 come as surrogates.
NAMES = st.text(
    st.one_of(
        st.characters(exclude_characters="\0/", exclude_categories=["Cs"]),
        st.sampled_from("\\u\udce9\udcff\udc80d89ac\x1b\r\n\"'=,"),
    ),
    min_size=1,
)


def test_numbers_in_names_count_as_numbers_and_case_does_not():
    ordered = ["1", "2", "10", "Cat 1", "cat 2", "cat 10", "cat 10b", "Dog", "roses", "Ümlaut"]
    shuffled = random.Random(0).sample(ordered, len(ordered))
    assert sorted(shuffled, key=natural_key) == ordered


@given(st.lists(NAMES, unique=True))
def test_every_set_of_names_has_one_order(names):
    ordered = sorted(names, key=natural_key)
    assert sorted(set(names), key=natural_key) == ordered


def test_what_would_steer_a_screen_is_escaped():
    shown = {"a\nb": r"a\nb", "\x1b[31m": r"\x1b[31m", "Icon\r": r"Icon\r", "\udce9": r"\udce9"}
    shown |= {
        "\u202egpj": r"\u202egpj",
        "é猫 \U0001f469\u200d\U0001f52c": "é猫 \U0001f469\u200d\U0001f52c",
    }
    assert {name: printable(name) for name in shown} == shown


@given(NAMES)
def test_every_name_is_written_as_text_and_read_back(name):
    text = encode_name(name)
    assert text.encode("utf-8") and decode_name(text) == name


@given(NAMES, NAMES)
def test_two_names_are_never_written_alike(one, other):
    assert (encode_name(one) == encode_name(other)) == (one == other)


CELLS = st.text(st.one_of(st.characters(codec="utf-8"), st.sampled_from("=+-@\t\r\n,;\"'\x1b")))


@given(st.lists(st.lists(CELLS, min_size=2, max_size=2)))
def test_what_a_table_holds_is_read_back(rows):
    text = csv_text(["one", "=two"], rows)
    assert csv_rows(text) == [{"one": one, "=two": two} for one, two in rows]


@given(st.lists(CELLS, min_size=1))
def test_no_cell_is_a_formula_to_a_spreadsheet(cells):
    [row] = csv.reader(io.StringIO(csv_text(cells, []), newline=""))
    assert not any(cell.startswith(("=", "+", "-", "@", "\t", "\r", "\n")) for cell in row)
    assert [c.strip("'") for c in row] == [c.strip("'") for c in cells]


def test_numbers_are_bare_and_a_damaged_table_is_refused():
    assert csv_text(["n", "what"], [[-0.5, "-0.5"]]) == '"n","what"\n-0.5,"\'-0.5"\n'
    for text in ("", "a,b\n1\n", 'a,b\n"1,2\n'):
        with pytest.raises(ValueError, match=r"expected|not enough|shorter"):
            csv_rows(text)
