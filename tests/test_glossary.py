"""The words of the house: those of the field, one for each thing, and one file for each name."""

import ast
import inspect
import re
from collections import Counter

import pytest
import yaml
from conftest import ROOT

from tlearn.backbones import hookspecs
from tlearn.backbones.registry import HOOKS
from tlearn.cli import COMMANDS, load_command

FOLDERS = ("tlearn", "plugins", "benchmarks", "examples", "tests")
OURS = [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))]
SOURCES = [path for path in OURS if "tests" not in path.relative_to(ROOT).parts]
# No part of a public name: a private word, or a synonym of one in docs/architecture.md.
WORDS = set(
    "ahead around begun course cut doctor draft drafts entrant entrants found gate heard here "
    "judge judged keeper kept leader left lost mend policies policy recipe recipes "
    "side sides sink standing told trunk way ways".split()
)
# No public name by themselves, though they may be parts of one.
NAMES = set(
    "Answer Conditions Field Frames Holding Layout Library Listed Live Look Places Space Step "
    "Trained Work adding answers begin comparing ending enlist enter frozen give go judge_all "
    "listing looking mentions offer products publishing said settle tell ticket using waiting "
    "watching".split()
)
# Plain English in which one of them means what it says, and a name of asyncio's.
PLAIN = ("left_out", "side_by_side", "connection_lost")


def words_of(name):
    """Split a name in snake, kebab or camel case into its words."""
    return re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", name)


def is_old(name):
    for plain in PLAIN:
        name = name.replace(plain, "")
    return name in NAMES or bool({word.lower() for word in words_of(name)} & WORDS)


def defined(body):
    """Yield the public names that a module or a class defines: functions, classes, attributes."""
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name
            if isinstance(node, ast.ClassDef) and node.name[0] != "_":
                yield from defined(node.body)
            elif not isinstance(node, ast.ClassDef) and node.name[0] != "_":
                arguments = node.args
                yield from (a.arg for a in (*arguments.args, *arguments.kwonlyargs))
        elif isinstance(node, ast.AnnAssign):
            yield from (n.id for n in [node.target] if isinstance(n, ast.Name))
        elif isinstance(node, ast.Assign):
            yield from (n.id for n in node.targets if isinstance(n, ast.Name))


def written_keys(tree):
    """Yield what looks like the keys of JSON, events and configurations: strings that are keys."""
    for node in ast.walk(tree):
        keys = node.keys if isinstance(node, ast.Dict) else []
        for key in keys:
            if isinstance(key, ast.Constant) and isinstance(key.value, str):
                yield from [key.value] if re.fullmatch(r"[a-z_]+", key.value) else []


def test_public_names_are_words_of_the_field():
    old = set()
    for path in SOURCES:
        where = path.relative_to(ROOT).as_posix()
        tree = ast.parse(path.read_text("utf-8"))
        names = {path.stem, *(n for n in defined(tree.body) if n[0] != "_"), *written_keys(tree)}
        old |= {f"{where}: {name}" for name in names if is_old(name)}
    assert not old, "\n".join(sorted(old))


def test_options_and_texts_of_the_page_are_words_of_the_field():
    old = set()
    for name in COMMANDS:
        command = load_command(name)
        for part in [command, *getattr(command, "commands", {}).values()]:
            for parameter in part.params:
                old |= {f"tlearn {name} {o}" for o in parameter.opts if is_old(o.lstrip("-"))}
    for section, texts in yaml.safe_load((ROOT / "tlearn/web/i18n/en.yaml").read_text()).items():
        old |= {f"en.yaml: {section}.{key}" for key in texts if is_old(key)}
    assert not old, "\n".join(sorted(old))


def test_the_guides_and_examples_use_no_old_name():
    old = "Begun|Cut|Doctor|Draft|Entrant|Judged|Keeper|Leader|StagePolicy|Standing|Told|Trunk"
    old = re.compile(rf"\b({old}|stage_polic\w+|tlearn_stage_policies)\b")
    for folder in ("docs", "benchmarks", "examples"):
        for path in (ROOT / folder).rglob("*"):
            if path.suffix in (".md", ".py", ".toml"):
                assert not old.findall(path.read_text("utf-8")), path


def test_a_file_name_stands_for_one_file():
    names = Counter(path.name for path in OURS)
    twice = {name for name, times in names.items() if times > 1}
    assert not twice - {"__init__.py", "__main__.py"}


def test_a_command_is_a_file_of_its_name():
    for name in COMMANDS:
        assert load_command(name).name == name
        assert (ROOT / "tlearn" / "cli" / f"{name.replace('-', '_')}.py").is_file()


@pytest.mark.parametrize("name", HOOKS)
def test_the_guide_gives_hooks_their_signatures(name):
    guide = (ROOT / "docs" / "plugins.md").read_text("utf-8")
    entry = guide.split(f"### `{name}`\n")[1].split("\n### ")[0]
    arguments = ", ".join(inspect.signature(getattr(hookspecs, name)).parameters)
    assert f"def {name}({arguments}):" in entry
