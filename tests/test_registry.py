"""The registry: what is installed is found, what is broken is named, nothing heavy is loaded."""

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import tlearn
from tlearn.backbones import Backbone, load_registry, use_folder
from tlearn.backbones.plugin_sources import restoring_folders
from tlearn.backbones.registry import KINDS
from tlearn.cli import main
from tlearn.config import RunConfig
from tlearn.errors import BackboneError, ConfigError, TlearnError

OURS = {
    "vgg19": {"vgg19"},
    "inception_v3": {"inception_v3"},
    "xception": {"xception"},
    "efficientnet_lite": {f"efficientnet_lite{k}" for k in range(3)},
    "mobilenet_v2": {"mobilenet_v2", *(f"mobilenet_v2_{w}" for w in "035 050 075 130 140".split())},
}
HEAVY = {"keras", "tensorflow", "sklearn", "scipy", "lmdb", "numpy"}
HEAD = """
from tlearn.backbones import Backbone, Blocks, Preprocess, hookimpl

def a(name):
    return Backbone(name, "s", "r", lambda *a: None, 32, 16, 8, Preprocess(), Blocks.after("x"))

"""


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Install a distribution with one plugin module, as pip leaves it."""
    monkeypatch.syspath_prepend(tmp_path)
    modules = []

    def install(name, body, entry=None):
        module = f"{name.replace('-', '_')}_{tmp_path.name}"
        modules.append(module)
        (tmp_path / f"{module}.py").write_text(HEAD + body)
        info = tmp_path / f"{module}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[tlearn]\n{entry or name} = {module}\n")
        importlib.invalidate_caches()

    yield install
    for module in modules:
        sys.modules.pop(module, None)


def hook(answer, name="tlearn_backbones", mark="@hookimpl"):
    return f"{mark}\ndef {name}():\n    {answer}\n"


def problem_of(name):
    """Return the one problem there is, which must be of this distribution."""
    registry = load_registry()
    (plugin,) = registry.problems
    assert plugin.distribution == name and not plugin.backbones
    assert set(registry.backbones) >= set().union(*OURS.values(), {"toy"})
    assert "\n" not in plugin.problem
    return plugin.problem


def test_ours_and_the_toy_come_through_one_door():
    registry = load_registry()
    found = {plugin.name: {b.name for b in plugin.backbones} for plugin in registry.plugins}
    others = {name: set() for name in ("presets", "exporters", "report")}
    assert found == {**OURS, **others, "toy": {"toy"}}
    assert registry.problems == ()
    assert list(registry.backbones) == sorted(set().union(*found.values()))
    for name, backbone in registry.backbones.items():
        assert isinstance(backbone, Backbone) and registry.get(name) is backbone
        plugin = registry.plugin_of(name)
        assert plugin.distribution == ("tlearn-toy" if name == "toy" else "tlearn")
        if plugin.name not in ("toy", "efficientnet_lite"):  # from keras.applications
            assert backbone.preprocess_reference.endswith(":preprocess_input")
            assert [weights.name for weights in backbone.weights] == ["imagenet"]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("import nothing_of_this_name", "ModuleNotFoundError: No module named 'nothing_of_this"),
        ("raise RuntimeError('first\\nsecond')", "RuntimeError: first second"),
        ("import sys\nsys.exit('no licence')", "SystemExit: no licence"),
        ("def broken(:", "SyntaxError: "),
        (hook("return a('x')", name="tlearn_backbone"), "unknown hook 'tlearn_backbone'"),
        (hook("return a('x')", mark=""), "its tlearn_backbones is not marked @hookimpl"),
        ("x = 1", "it implements no hook; there are tlearn_backbones, "),
        (hook("return a('x')").replace("()", "(size)", 1), "size"),
        ("@hookimpl\ndef tlearn_callbacks(stage, runs): ...", "runs"),
        (hook("return None"), "it offers nothing: tlearn_backbones returned none"),
        (hook("return []"), "it offers nothing: tlearn_backbones returned none"),
        (hook("return 7"), "must return Backbone objects, it returned 7"),
        (hook("return 'vgg'"), "must return Backbone objects, it returned 'vgg'"),
        (hook("return [a('x'), None]"), "must return Backbone objects, it returned None"),
        (hook("return {'x': a('x')}"), "must return Backbone objects, it returned 'x'"),
        (hook("yield a('x')\n    1 / 0"), "ZeroDivisionError"),
        (hook("raise KeyError('x')"), "KeyError: 'x'"),
        (hook("return [a('x'), a('x')]"), "one name twice: x, x"),
        (hook("return a('Big Name')"), "ValueError: A backbone's name has lower case"),
        (
            hook("return [a('x'), a('vgg19')]"),
            f"'vgg19' is taken by tlearn {tlearn.__version__} (vgg19)",
        ),
    ],
)
def test_a_broken_plugin_keeps_its_reason_and_breaks_nothing(install, body, reason):
    install("zz-stranger", body)
    assert reason in problem_of("zz-stranger")
    assert "x" not in load_registry().backbones


def test_a_hook_may_return_one_or_several_or_yield(install):
    for k, answer in enumerate(["return a('x0')", "return [a('x1')]", "yield a('x2')"]):
        install(f"stranger{k}", hook(answer))
    registry = load_registry()
    assert not registry.problems
    assert all(registry.plugin_of(f"x{k}").distribution == f"stranger{k}" for k in range(3))


def test_of_two_with_one_name_the_second_is_refused_naming_both(install, capsys):
    install("first", hook("return a('twin')"))
    install("second", hook("return [a('other'), a('twin')]"))
    assert "'twin' is taken by first 1.0 (first)" in problem_of("second")
    assert load_registry().plugin_of("twin").distribution == "first"
    assert main(["backbones"]) == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "UNUSABLE" in line]
    assert "from second 1.0" in line and "taken by first 1.0" in line


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_offer_is_looked_at(install, kind):
    install("zz-stranger", hook("return a('x'), 7", name=f"tlearn_{kind}"))
    wrong = "7" if kind == "backbones" else "Backbone(name='x'"
    words = f"tlearn_{kind} must return {KINDS[kind][0].__name__} objects, it returned {wrong}"
    assert words in problem_of("zz-stranger")


@pytest.mark.parametrize("name", ["zz-entry", "zz-stranger"])
def test_what_is_left_out_is_not_imported(install, monkeypatch, name):
    install("zz-stranger", "raise OSError('no disk')", entry="zz-entry")
    monkeypatch.setenv("TLEARN_DISABLE_PLUGINS", f" {name} ,")
    registry = load_registry()
    assert not registry.problems and "toy" in registry.backbones
    assert [p.name for p in registry.plugins if p.disabled] == ["zz-entry"]


def test_a_name_is_free_where_its_plugin_is_left_out(install, monkeypatch):
    install("stranger", hook("return a('vgg19')"))
    monkeypatch.setenv("TLEARN_DISABLE_PLUGINS", "vgg19")
    registry = load_registry()
    assert not registry.problems and registry.plugin_of("vgg19").distribution == "stranger"


def test_files_of_one_name_are_two_plugins(tmp_path):
    with restoring_folders():
        for name in ("one", "two"):
            (tmp_path / name).mkdir()
            (tmp_path / name / "mine.py").write_text(HEAD + hook(f"return a({name!r})"))
            use_folder(tmp_path / name)
            use_folder(tmp_path / name)  # naming it again changes nothing
        found = [
            (p.distribution, p.backbones[0].name)
            for p in load_registry().plugins
            if p.name == "mine"
        ]
    assert found == [(str(tmp_path / name / "mine.py"), name) for name in ("one", "two")]


def test_a_single_file_has_the_same_module_name_everywhere(tmp_path):
    """What a saved model says of a layer's module must be true in another process and folder."""
    for number, name in enumerate(("one", "two")):
        (tmp_path / name).mkdir()
        body = f"VALUE = {number}\n\n@hookimpl\ndef tlearn_backbones():\n    return a('mine')\n"
        (tmp_path / name / "mine.py").write_text(HEAD + body)
        with restoring_folders():
            use_folder(tmp_path / name)
            for _ in range(2):
                assert "mine" in load_registry().backbones
                assert number == importlib.import_module("tlearn_file_mine").VALUE


def test_an_unknown_name_lists_the_known_names_the_nearest_and_the_broken(install):
    install("zz-stranger", "raise OSError('no disk')")
    with pytest.raises(BackboneError) as caught:
        load_registry().get("Xeption")
    message = str(caught.value)
    assert message.startswith("no backbone is called 'Xeption' (did you mean 'xception'?); ")
    assert f"installed: {', '.join(load_registry().backbones)}; " in message
    assert "plugin zz-stranger 1.0 (zz-stranger) is unusable: OSError: no disk" in message
    with pytest.raises(ConfigError, match=r"no preset is called 'bets' \(did you mean 'best'"):
        load_registry().preset("bets")


def test_the_list_of_backbones_says_where_they_come_from(install, capsys):
    install("stranger", hook("return a('bare')"))
    install("zz-stranger", "import nothing_of_this_name")
    assert main(["backbones"]) == 0
    out, err = capsys.readouterr()
    lines = out.splitlines()
    for name, backbone in load_registry().backbones.items():
        (number,) = [i for i, line in enumerate(lines) if line.split()[0] == name]
        assert f"{backbone.default_size} px (from {backbone.min_size})" in lines[number]
        assert all(
            f"{w.name} from {w.source} ({w.licence})" in lines[number] for w in backbone.weights
        )
        assert backbone.summary in lines[number + 1]
    (bare,) = [line for line in lines if line.startswith("bare ")]
    assert bare.endswith("weights: none")
    assert "zz-stranger        UNUSABLE, from zz-stranger 1.0: ModuleNotFoundError" in out
    assert not err


def test_the_list_takes_wildcards_and_says_which_weights_are_here(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    (tmp_path / "models").mkdir()
    file = load_registry().get("mobilenet_v2_050").weights[0].file
    (tmp_path / "models" / file).touch()
    assert main(["backbones", "mobilenet_v2_0*"]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if " px (from " in line]
    places = {line.split()[0]: line.partition("), ")[2] for line in lines}
    assert places == {
        "mobilenet_v2_035": "60.3% on ImageNet, not on this machine",
        "mobilenet_v2_050": "65.4% on ImageNet, on this machine",
        "mobilenet_v2_075": "69.8% on ImageNet, not on this machine",
    }
    assert load_registry().get("toy").weights[0].on_this_machine is None
    assert main(["backbones", "vgg18*"]) == 2
    assert "no backbone is called 'vgg18*' (did you mean 'vgg19'?)" in capsys.readouterr().err


def test_a_configuration_is_checked_against_what_is_installed():
    registry = load_registry()
    backbone, preset = registry.check(RunConfig(backbone="toy", size=64, weights="none"))
    assert (backbone.name, preset.name) == ("toy", "auto")
    for values, key in [
        ({"backbone": "toi"}, "backbone"),
        ({"preset": "quack"}, "preset"),
        ({"backbone": "vgg19", "size": 31}, "size"),
        ({"backbone": "toy", "weights": "nowhere.h5"}, "weights"),
    ]:
        with pytest.raises(TlearnError) as caught:
            registry.check(RunConfig(**values))
        assert caught.value.key == key


def test_processes_that_are_started_know_the_folders(tmp_path):
    (tmp_path / "mine.py").write_text(HEAD + hook("return a('mine')"))
    with restoring_folders():
        use_folder(tmp_path)
        command = [sys.executable, "-m", "tlearn", "backbones", "mine"]
        assert b"mine" in subprocess.check_output(command)
    assert "mine" not in load_registry().backbones


def test_public_names_are_those_of_their_homes_and_of_the_type_checkers():
    homes = {home: names.split() for home, names in tlearn._HOMES.items()}
    assert len(set(tlearn.__all__)) == len(tlearn.__all__) == 1 + sum(map(len, homes.values()))
    assert dir(tlearn) == sorted(tlearn.__all__)
    for home, names in homes.items():
        for name in names:
            assert getattr(tlearn, name) is getattr(importlib.import_module(home), name)
    with pytest.raises(AttributeError, match="module 'tlearn' has no attribute 'finetun'"):
        _ = tlearn.finetun
    tree = ast.parse(Path(tlearn.__file__).read_text(encoding="utf-8"))
    (guarded,) = [node for node in tree.body if isinstance(node, ast.If)]
    assert {node.module: [a.name for a in node.names] for node in guarded.body} == homes
    assert all(a.name == a.asname for node in guarded.body for a in node.names)


def test_importing_listing_and_refusing_load_nothing_heavy(tmp_path):
    """One process walks the light ways in; after each, what it has loaded is looked at."""
    code = """
import sys
def loaded(step):
    print(step, *sorted(m for m in sys.modules if "." not in m))
import tlearn; loaded("import")
tlearn.RunConfig, tlearn.Backbone, tlearn.TlearnError; loaded("names")
from tlearn.backbones import load_registry; load_registry(); loaded("registry")
from tlearn.cli import main
out, sys.stdout = sys.stdout, open(sys.argv[1], "w")
codes = [main(a.split()) for a in ("backbones", "--help", "finetune --help", "nonsense",
                                   "finetune x --set nonsense=1", "finetune x --views 0")]
sys.stdout = out
assert codes == [0, 0, 0, 2, 2, 2], codes
loaded("commands")
"""
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "out"], capture_output=True, text=True, check=True
    )
    steps = {line.split()[0]: set(line.split()[1:]) for line in done.stdout.splitlines()}
    assert list(steps) == ["import", "names", "registry", "commands"]
    assert {"tlearn", "sys"} <= steps["import"] and "tlearn_plugins" in steps["registry"]
    assert not HEAVY & steps["commands"]  # modules stay loaded: the last step has them all
    assert not {"yaml", "pydantic", "click", "rich"} & steps["import"]
    assert "toy" in (tmp_path / "out").read_text()
