"""Plugins as users and authors meet them: listed, tried out, left out, asked for what they give."""

import json
import re

import pytest

from tlearn.backbones import load_registry
from tlearn.cli import main
from tlearn.config import Stage
from tlearn.errors import PluginError
from tlearn.testing import CHECKS

TOY = ["--backbone", "toy", "--weights", "none", "--quiet"]
BACKBONE = """
from dataclasses import replace
from tlearn.backbones import hookimpl
from tlearn_toy import BACKBONE

@hookimpl
def tlearn_backbones():
    return replace(BACKBONE, name="{name}")
"""
TWO = BACKBONE.replace('name="{name}")', 'name=name, build=None) for name in ("one", "other")]')
TWO = TWO.replace("return ", "return [")
HEAD = """
from pathlib import Path
import click
from tlearn.backbones import Exporter, ReportSection, Preset, hookimpl
from tlearn.config import Stage

"""
CALLBACKS = """
@hookimpl
def tlearn_callbacks(stage, run):
    from keras.callbacks import LambdaCallback
    assert isinstance(stage, Stage) and (run / "run.yaml").exists()
    seen = run / "seen.txt"
    before = seen.read_text() if seen.exists() else ""
    note = lambda *a: seen.write_text(before + f"{stage.unfreeze} ")
    return [LambdaCallback(on_train_begin=note)]
"""


@pytest.fixture
def folder(plugin_file):
    """Write a single-file plugin; ``head`` is what most of them begin with."""

    def write(name, body, head=HEAD):
        return str(plugin_file(name, head + body))

    return write


@pytest.fixture
def tlearn(capsys):
    def run(*arguments):
        code = main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return code, out, err

    return run


def listed(tlearn, *options):
    code, out, err = tlearn("plugins", "--json", *options)
    assert code == 0 and not err
    return {plugin["name"]: plugin for plugin in json.loads(out)}


def test_the_list_says_what_comes_from_where(tlearn):
    found = listed(tlearn)
    assert found["toy"]["distribution"] == "tlearn-toy" and found["toy"]["backbones"] == ["toy"]
    assert found["presets"]["presets"] == ["auto", "quick", "balanced", "best"]
    formats = "keras h5 weights savedmodel litert litert-int8 onnx openvino tfjs"
    assert found["exporters"]["exporters"] == formats.split()
    assert found["report"]["hooks"] == ["tlearn_reports"]
    assert not any(plugin["problem"] or plugin["disabled"] for plugin in found.values())
    code, out, _ = tlearn("plugins")
    assert code == 0
    assert re.search(r"^toy +tlearn-toy 1\.0\n +backbones: toy$", out, re.M)
    assert re.search(r"^presets +tlearn [\d.]+\n +presets: auto, quick, balanced, best$", out, re.M)


def test_plugins_and_packages_can_be_left_out(tlearn, monkeypatch):
    monkeypatch.setenv("TLEARN_DISABLE_PLUGINS", "vgg19, tlearn-toy,nobody")
    found = listed(tlearn)
    assert {name for name, plugin in found.items() if plugin["disabled"]} == {"vgg19", "toy"}
    assert not {"vgg19", "toy"} & set(load_registry().backbones)
    _, out, _ = tlearn("plugins")
    assert "DISABLED by TLEARN_DISABLE_PLUGINS" in out
    assert "TLEARN_DISABLE_PLUGINS names nobody, which is not installed" in out
    code, _, err = tlearn("layers", "toy")
    assert code == 2 and "no backbone is called 'toy'" in err


def test_what_comes_with_tlearn_can_be_left_out_too(tlearn, monkeypatch):
    monkeypatch.setenv("TLEARN_DISABLE_PLUGINS", "tlearn")
    registry = load_registry()
    assert set(registry.backbones) == {"toy"} and not registry.offered("presets")
    code, _, err = tlearn("finetune", "photos", *TOY)
    assert code == 2 and "no preset is called 'auto'; installed: none" in err


def test_a_folder_is_loaded_when_it_is_named_and_not_after(tlearn, folder, monkeypatch):
    place = folder("mine", BACKBONE.format(name="mine"), head="")
    folder("_private", "raise SystemExit", head="")
    folder("broken", "import nothing_of_this_name", head="")
    monkeypatch.delenv("TLEARN_PLUGINS_DIR")
    found = listed(tlearn, "--plugins-dir", place)
    assert found["mine"]["backbones"] == ["mine"] and found["mine"]["distribution"].endswith(".py")
    assert "nothing_of_this_name" in found["broken"]["problem"] and "_private" not in found
    _, out, _ = tlearn("plugins", "--plugins-dir", place)
    assert re.search(r"^broken .*\n +UNUSABLE: ModuleNotFoundError: ", out, re.M)
    assert "mine" not in listed(tlearn)
    code, _, err = tlearn("finetune", "photos", "--backbone", "mine")
    assert code == 2 and "no backbone is called 'mine'" in err


def test_a_folder_without_plugins_is_refused(tlearn, tmp_path):
    (tmp_path / "empty").mkdir()
    for name, reason in {"none": "is no folder", "empty": "holds no NAME"}.items():
        code, out, err = tlearn("plugins", "--plugins-dir", tmp_path / name)
        assert code == 2 and not out and reason in err and err.count("\n") == 1


def test_names_that_are_taken_are_refused_naming_both(tlearn, folder):
    folder("ours", BACKBONE.format(name="vgg19"), head="")
    folder(
        "preset",
        "@hookimpl\ndef tlearn_presets():\n    return Preset('quick', 's', lambda b: (1, []))",
    )
    folder(
        "export",
        "@hookimpl\ndef tlearn_exporters():\n    return Exporter('openvino', 's', print)",
    )
    place = folder(
        "section", "@hookimpl\ndef tlearn_reports():\n    return ReportSection('seconds', 't', str)"
    )
    found = listed(tlearn, "--plugins-dir", place)
    for name, words in {
        "ours": "the backbone name 'vgg19' is taken by tlearn",
        "preset": "the preset name 'quick' is taken by tlearn",
        "export": "the export format name 'openvino' is taken by tlearn",
        "section": "the report section name 'seconds' is taken by tlearn",
    }.items():
        assert words in found[name]["problem"] and found[name]["distribution"].endswith(".py")


def test_check_proves_a_backbone_or_all_of_a_plugin(tlearn, folder):
    code, out, err = tlearn("plugins", "check", "toy")
    assert code == 0 and not err and out.startswith("toy:\n  passed  check_facts\n")
    assert re.findall(r"check_\w+", out) == [check.__name__ for check in CHECKS]
    place = folder("pair", TWO, head="")
    code, out, err = tlearn("plugins", "check", "pair", "--plugins-dir", place)
    assert code == 1 and re.findall(r"^\w+:", out, re.M) == ["one:", "other:"]
    assert "one, other failed; fix the failures above" in err
    place = folder(
        "wrong", BACKBONE.format(name="wrong").replace("name=", "channels=7, name="), head=""
    )
    code, out, err = tlearn("plugins", "check", "wrong", "--plugins-dir", place)
    assert code == 1 and "wrong failed" in err
    assert "FAILED  check_smallest_size: the output has 24 channels, and channels=7" in out
    assert "FAILED  check_default_size: as check_smallest_size\n" in out
    code, out, _ = tlearn("plugins", "check", "pair", "--plugins-dir", place, "--json")
    states = {r["check"]: r["state"] for r in map(json.loads, out.splitlines())}
    assert code == 1 and states["check_facts"] == "passed" and states["check_blocks"] == "failed"
    code, _, err = tlearn("plugins", "check", "toi")
    assert code == 2 and "did you mean 'toy'" in err


def test_a_strangers_backbone_preset_and_callbacks_train(tlearn, folder, photos, tmp_path):
    folder("backbone", BACKBONE.format(name="mine"), head="")
    folder("heard", CALLBACKS)
    place = folder(
        "preset",
        "@hookimpl\ndef tlearn_presets():\n"
        "    return Preset('mine', 's', lambda b: (3, [Stage(unfreeze='none', epochs=1), Stage("
        "unfreeze=b.blocks.boundaries[-1].layer, epochs=1)]))",
    )
    run = tmp_path / "run"
    options = ["--backbone", "mine", "--preset", "mine", "--plugins-dir", place, "--out", run]
    assert tlearn("finetune", photos, *TOY[2:], *options)[0] == 0
    assert f"distribution: {place}/backbone.py" in (run / "run.yaml").read_text()
    stages = json.loads((run / "metrics.json").read_text())["stages"]
    assert [stage["boundary"] for stage in stages] == ["head", "head", "block3_conv"]
    assert (run / "seen.txt").read_text() == "none block3_conv "


@pytest.mark.parametrize(
    ("stages_for", "words"),
    [
        ("1 / 0", "division by zero"),
        ("[]", "not enough values"),
        ("(0, [])", "the number of views must be 1 or more, not 0"),
        ("(2, [{'unfreeze': 1, 'epochs': -1}])", "epochs"),
    ],
)
def test_a_recipe_that_fails_is_told_in_a_line(tlearn, folder, photos, stages_for, words):
    place = folder(
        "bad",
        f"@hookimpl\ndef tlearn_presets():\n    return Preset('bad', 's', lambda b: {stages_for})",
    )
    code, _, err = tlearn("finetune", photos, *TOY, "--preset", "bad", "--plugins-dir", place)
    assert code == 2 and err.count("\n") == 1
    assert "the preset 'bad' has no stages for toy: " in err and words in err


def test_callbacks_that_fail_name_their_plugin_and_the_way_out(tlearn, folder, photos, tmp_path):
    place = folder("loud", "@hookimpl\ndef tlearn_callbacks(stage, run):\n    raise OSError('no')")
    options = ["--stages", "1:1", "--plugins-dir", place, "--out", tmp_path / "run"]
    code, _, err = tlearn("finetune", photos, *TOY, *options)
    assert code == 2 and err.count("\n") == 1 and "failed in tlearn_callbacks (OSError: no)" in err
    assert "TLEARN_DISABLE_PLUGINS=loud" in err
    assert f"tlearn finetune --resume {tmp_path / 'run'}" in err  # the probe is not lost


def test_commands_are_added_and_cost_nothing_when_they_fail(tlearn, folder, monkeypatch):
    folder(
        "greet",
        "@click.command()\n@click.argument('name')\ndef greet(name):\n"
        "    '''Greet NAME.'''\n    print('hello', name)\n\n"
        "@hookimpl\ndef tlearn_commands(cli):\n    cli.add_command(greet)",
    )
    folder(
        "takes",
        "@hookimpl\ndef tlearn_commands(cli):\n    cli.add_command(click.Command('predict'))",
    )
    folder(
        "twice",
        "@hookimpl\ndef tlearn_commands(cli):\n"
        "    cli.add_command(click.Command('greet', callback=exit))",
    )
    folder("quits", "@hookimpl\ndef tlearn_commands(cli):\n    raise SystemExit('bye')")
    place = folder("loud", "@hookimpl\ndef tlearn_commands(cli):\n    raise OSError('no')")
    monkeypatch.delenv("TLEARN_PLUGINS_DIR")
    code, out, err = tlearn("--plugins-dir", place, "greet", "you")
    assert (code, out) == (0, "hello you\n")
    assert "failed in tlearn_commands (OSError: no)" in err
    assert "failed in tlearn_commands (SystemExit: bye)" in err
    owners = {"predict": ("takes", "tlearn"), "greet": ("twice", f"{place}/greet.py (greet)")}
    for name, (plugin, owner) in owners.items():
        words = f"the command {name!r} of the plugin {place}/{plugin}.py ({plugin}) is left out"
        assert err.count(f"{words}, because its name is taken by {owner}\n") == 1
    code, out, _ = tlearn("--plugins-dir", place, "--help")
    assert code == 0 and re.search(r"^  greet +Greet NAME\.", out, re.M)
    code, _, err = tlearn("greet", "you")
    assert code == 2 and "no command is called 'greet'" in err


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("return 7", "it must return Keras callbacks, not 7"),
        ("return [Callback]", "it must return Keras callbacks, not <class"),
        ("yield Callback()\n    1 / 0", "ZeroDivisionError: division by zero"),
        ("raise SystemExit('bye')", "SystemExit: bye"),
    ],
)
def test_callbacks_that_are_none_are_told(folder, tmp_path, body, words):
    head = HEAD + "from keras.callbacks import Callback\n"
    folder("slip", f"@hookimpl\ndef tlearn_callbacks(stage, run):\n    {body}", head=head)
    with pytest.raises(PluginError, match=re.escape(f"failed in tlearn_callbacks ({words}")):
        load_registry().callbacks(Stage(unfreeze=1), tmp_path)


def test_callbacks_may_be_one_or_several_or_yielded(folder, tmp_path):
    head = HEAD + "from keras.callbacks import Callback\n"
    for name, body in enumerate(["return Callback()", "yield Callback()", "return [Callback()]"]):
        hook = f"@hookimpl\ndef tlearn_callbacks(stage, run):\n    {body}"
        folder(f"gives{name}", hook, head=head)
    callbacks = load_registry().callbacks(Stage(unfreeze=1), tmp_path)
    assert [type(callback).__name__ for callback in callbacks] == ["Callback"] * 3
