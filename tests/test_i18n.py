"""The texts of the pages: complete in every language, and all of them used."""

import ast
import re
from pathlib import Path
from string import Formatter
from typing import get_args

import pytest
import yaml
from pydantic_core import PydanticKnownError

from tlearn.backbones.registry import KINDS
from tlearn.checks.finding import CHECKS
from tlearn.config_schema import fields_of
from tlearn.runs.run_state import State
from tlearn.settings import WORDS
from tlearn.web.components.config_options import APART
from tlearn.web.i18n import LANGUAGES, _options, error_texts, flat, texts_for
from tlearn.web.words import isolate

APP = Path(__file__).parent.parent / "tlearn" / "web"
CODE = "\n".join(path.read_text("utf-8") for path in APP.rglob("*.py"))
# Keys that are made from a value.
MADE = {
    "state.": get_args(State),
    "plugins.": (*KINDS, "works", "failed", "disabled"),
    "predict.": ("view", "files", "camera"),
    "results.": ("precision_between", "recall_between", "f1_between"),
}


def holes(text):
    return sorted({name for _, name, _, _ in Formatter().parse(text) if name})


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_language_says_the_same_things(language):
    english, other = flat("en"), flat(language)
    assert english.keys() == other.keys()
    for key in english:
        assert holes(english[key]) == holes(other[key]), key
        assert other[key]


def test_every_text_that_is_asked_for_is_there_and_every_text_is_used():
    known = flat("en").keys()
    asked = set(re.findall(r"""\bt\(\s*f?["']([\w.]+)["']""", CODE))
    assert not asked - known
    made = set(re.findall(r"""\bf["']([a-z]+\.[a-z_]*)\{[^{}]*\}(\w*)["']""", CODE))
    tables = set(re.findall(r"""["']([a-z]+\.[a-z_]+)["']""", CODE))
    from_values = {start + end for start, ends in MADE.items() for end in ends}
    assert from_values <= known
    rest = known - asked - tables - from_values
    source = "\n".join(path.read_text("utf-8") for path in APP.parent.rglob("*.py"))
    values = {re.sub(r"\W", "_", v.lower()) for v in re.findall(r"""["']([^"'\n]+)["']""", source)}
    values |= set(re.findall(r"\w+", source))
    rest -= {start + value + end for start, end in made for value in values}
    assert not rest


def test_no_key_stands_twice_in_a_table():
    """YAML would take the last without a word."""

    def mapping(loader, node, deep=False):
        keys = [loader.construct_object(key) for key, _ in node.value]
        twice.extend(key for key in set(keys) if keys.count(key) > 1)
        return yaml.SafeLoader.construct_mapping(loader, node, deep)

    class Loader(yaml.SafeLoader):
        pass

    Loader.add_constructor("tag:yaml.org,2002:map", mapping)
    for file in sorted((APP / "i18n").glob("*.yaml")):
        twice = []
        yaml.load(file.read_text("utf-8"), Loader)
        assert not twice, file.name


@pytest.mark.parametrize(
    ("locale", "language"),
    [("zh-CN", "zh"), ("zh_TW", "zh"), ("zh", "zh"), ("en-GB", "en"), ("de", "en"), (None, "en")],
)
def test_the_browser_chooses(locale, language):
    assert texts_for(locale).language == language


def test_values_are_filled_in():
    assert texts_for("en")("data.photos", count=3) == "Photos: 3"


def test_every_check_and_what_it_says_is_translated():
    reasons, checks = set(), set()
    for path in (APP.parent / "checks").glob("*_checks.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Finding":
                checks |= {a.value for a in node.args[:1] if isinstance(a, ast.Constant)}
            if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "reason":
                reasons |= template_of(node.value)
    assert checks <= set(CHECKS)  # which has their order
    keys = {f"check.{re.sub(r'[^a-z0-9]', '_', check.lower())}" for check in CHECKS}
    assert keys == {key for key in flat("en") if key.startswith("check.")}
    assert not reasons - error_texts().keys()


def test_every_option_has_a_name_in_every_language():
    keys = {f.key for f in fields_of()} | {
        f"{f.key}.{c.key}" for f in fields_of() for c in f.columns
    }
    assert _options().keys() == keys - set(APART)
    assert all(len(texts) == 3 and all(texts) for texts in _options().values())
    assert texts_for("zh").option("size", "x")[0] != texts_for("en").option("size", "x")[0]


def template_of(node):
    """Return a text with {} for each value, as a set; empty of what is no text."""
    if isinstance(node, ast.Constant):
        return {node.value}
    if not isinstance(node, ast.JoinedStr):
        return set()
    parts = (part.value if isinstance(part, ast.Constant) else "{}" for part in node.values)
    return {"".join(map(str, parts))}


def templates():
    """Return all texts of the source, and what pydantic says, with {} for each value."""
    found = set()
    for path in [*APP.parent.rglob("*.py"), *APP.parent.parent.glob("plugins/*.py")]:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.add(node.value)
            found |= template_of(node) if isinstance(node, ast.JoinedStr) else set()
    bounds = {
        "greater_than": "gt",
        "greater_than_equal": "ge",
        "less_than": "lt",
        "less_than_equal": "le",
    }
    for kind in (*bounds, "finite_number", "int_parsing", "int_from_float", "float_parsing"):
        said = PydanticKnownError(
            kind, {bounds[kind]: 0} if kind in bounds else None
        ).message_template
        for long, short in WORDS.items():
            said = said.replace(long, short)
        found.add(said[:1].lower() + said[1:])
    return {re.sub(r"\{[^{}]*\}", "{}", text) for text in found}


def test_every_error_that_is_translated_is_one_of_the_source():
    assert not error_texts().keys() - templates()
    for english, chinese in error_texts().items():  # no hole too many, and another text
        chinese.format(*"x" * english.count("{}"))
        assert chinese != english


def test_errors_are_translated_with_those_within_them():
    t = texts_for("zh")
    inner = (
        "the archive 'a.zip' holds 'b', which leads out of its folder; pack a folder of photos anew"
    )
    outer, refused = (
        "the archive {} {}",
        "holds {}, which leads out of its folder; pack a folder of photos anew",
    )
    said = error_texts()[refused].format("'b'")
    assert t.message(inner) == error_texts()[outer].format("'a.zip'", said)
    damaged = "the file is empty"
    files = f" ('a.png': {damaged}; 'b.png': {damaged})"
    assert t.message(files).count(error_texts()[damaged]) == 2 and "'b.png'" in t.message(files)
    bound = error_texts()["must be at least {}"].format(8)
    whole = error_texts()["{}: {}. Received: {}"].format("size", bound, 3)
    assert t.message("size: must be at least 8. Received: 3") == whole
    assert t.message("relabel 3 photos as 'cat'") == "3 张照片改为类别 'cat'"
    assert t.message("of no such kind") == "of no such kind"
    assert texts_for("en").message(inner) == inner


def test_names_written_from_the_right_turn_nothing_around_them():
    first, left, end = "\u2068", "\u2066", "\u2069"
    assert isolate("roses/a.jpg") == "roses/a.jpg" and isolate("כלב") == f"{first}כלב{end}"
    assert isolate("כלב/כלב_1.jpg") == f"{first}כלב{end}/{left}כלב_1.jpg{end}"
    caption = f"{first}כלב{end}, predicted a/b"
    assert isolate(caption) == f"{first}{caption}{end}"
