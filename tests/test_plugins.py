"""How backbones are found: all that work, and for the others the reason."""

import sys

import pytest

import tlearn
from tlearn.backbones import Backbone, Blocks, Preprocess, load_registry
from tlearn.errors import BackboneError

GOOD = """
from tlearn.backbones import Backbone, Blocks, Preprocess, hookimpl

@hookimpl
def tlearn_backbones():
    blocks = Blocks.after("x")
    return [Backbone("{name}", "s", "r", lambda *a: None, 32, 16, 8, Preprocess(), blocks)]
"""


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Put a distribution with one plugin module on the path."""
    monkeypatch.syspath_prepend(tmp_path)

    def install(distribution, code, entry="plugin"):
        module = distribution.replace("-", "_")
        sys.modules.pop(module, None)  # another test's
        (tmp_path / f"{module}.py").write_text(code)
        info = tmp_path / f"{module}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n"
        )
        (info / "entry_points.txt").write_text(f"[tlearn]\n{entry} = {module}\n")
        return load_registry()

    return install


def test_ours_come_through_the_same_door():
    registry = load_registry()
    assert not registry.problems
    assert {"vgg19", "inception_v3", "mobilenet_v2", "xception", "toy"} <= registry.backbones.keys()
    assert registry.plugin_of("vgg19").distribution == "tlearn"
    assert registry.plugin_of("toy").distribution == "tlearn-toy"


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("import nothing_of_this_name", "ModuleNotFoundError: No module named"),
        ("raise SystemError('boom')", "SystemError: boom"),
        ("def broken(:", "SyntaxError"),
        (GOOD.format(name="a").replace("tlearn_backbones", "tlearn_backbone"), "tlearn_backbone"),
        (GOOD.format(name="Bad Name"), "lower case letters"),
        ("from tlearn.backbones import hookimpl\n@hookimpl\ndef tlearn_backbones(): return 'x'",
         "must return Backbone objects, it returned 'x'"),
        ("from tlearn.backbones import hookimpl\n@hookimpl\ndef tlearn_backbones(): return 7",
         "must return Backbone objects, it returned 7"),
        (GOOD.format(name="vgg19"), r"'vgg19' is taken by tlearn"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_named_and_harms_nobody(install, code, reason):
    registry = install("some-stranger", code, entry="zz_last")
    (problem,) = registry.problems
    assert problem.distribution == "some-stranger" and reason in problem.problem
    assert "\n" not in problem.problem
    assert {"vgg19", "toy"} <= registry.backbones.keys()


def test_of_two_with_one_name_the_second_is_refused(install):
    install("first-of-two", GOOD.format(name="twin"))
    registry = install("second-of-two", GOOD.format(name="twin"))
    (problem,) = registry.problems
    assert problem.distribution == "second-of-two"
    assert "taken by first-of-two 1.0" in problem.problem


def test_an_unknown_name_lists_the_known_and_the_broken(install):
    install("some-stranger", "raise OSError('boom')")
    with pytest.raises(BackboneError, match=r"did you mean 'vgg19'.*some-stranger.*boom"):
        load_registry().get("vg19")


@pytest.mark.parametrize(
    "change",
    [
        {"name": "No"}, {"min_size": 0}, {"min_size": 99}, {"blocks": Blocks(())},
        {"blocks": Blocks.after("x", "x")}, {"taps": ("y",)}, {"finetune_from": "y"},
    ],
    ids=str,
)  # fmt: skip
def test_contradicting_facts_are_refused(change):
    facts = {
        "name": "a", "summary": "", "reference": "", "build": print, "default_size": 32,
        "min_size": 16, "channels": 8, "preprocess": Preprocess(), "blocks": Blocks.after("x"),
    }  # fmt: skip
    Backbone(**facts)
    with pytest.raises(ValueError, match=r"."):
        Backbone(**facts | change)


def test_every_public_name_is_there():
    assert sorted(tlearn.__all__) == tlearn.__all__
    for name in tlearn.__all__:
        assert getattr(tlearn, name) is not None
    assert set(tlearn._HOME_OF) | {"__version__"} == set(tlearn.__all__)
    with pytest.raises(AttributeError):
        _ = tlearn.nothing
