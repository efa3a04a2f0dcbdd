"""Weights that are not on the machine: known before anything is read, and fetched by a command."""

import json
import socket
import urllib.error
from pathlib import Path

import pytest

from tlearn.backbones import availability, load_registry
from tlearn.backbones.availability import backbones_with_weights, check_weights, missing_weights
from tlearn.cli import main
from tlearn.config import RunConfig
from tlearn.errors import BackboneError
from tlearn.experiments.backbone_comparison import compare
from tlearn.training import pipeline

# Three backbones: one whose host refuses, one whose host answers, one in a package.
PLUGIN = """
import os
from dataclasses import replace
from pathlib import Path
from tlearn.backbones import Weights, hookimpl
from tlearn_toy import BACKBONE

def build(input_shape, weights):
    network = BACKBONE.build(input_shape, None)
    if weights:
        file = Path(os.environ["KERAS_HOME"], "models", "near.weights.h5")
        if not file.exists():
            network.save_weights(file)
        network.load_weights(file)
    return network

@hookimpl
def tlearn_backbones():
    facts = ("imagenet", "a place", "MIT", "noise")
    for name, more in {
        "far": {"file": "far.h5", "host": "127.0.0.1:1"},
        "near": {"file": "near.weights.h5", "host": "near.invalid"},
        "packed": {"file": "p/w.pth", "package": "no-such-weights", "sha256": "00"},
    }.items():
        yield replace(BACKBONE, name=name, build=build, weights=(Weights(*facts, **more),))
"""
WAYS = ("(efficientnet_lite0", "--weights FILE", "KERAS_HOME", "--weights none")


@pytest.fixture(autouse=True)
def installed(plugin_file, tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    (tmp_path / "keras" / "models").mkdir(parents=True)
    availability._silence.cache_clear()
    plugin_file("places", PLUGIN)


@pytest.fixture
def answering(monkeypatch):
    """Have every host answer, with an error as hosts of files do; return whom it asked."""
    hosts = []

    def urlopen(request, timeout):
        hosts.append(request.host)
        raise urllib.error.HTTPError(request.full_url, 400, "Bad Request", {}, None)

    monkeypatch.setattr("urllib.request.urlopen", urlopen)
    return hosts


def refusal(name, weights=None, **options):
    with pytest.raises(BackboneError) as caught:
        check_weights(load_registry().get(name), weights, **options)
    return str(caught.value)


def test_what_cannot_be_had_names_what_is_at_hand_and_the_other_ways():
    message = refusal("far")
    assert "weights of far are not on this machine: 127.0.0.1:1 cannot be reached (" in message
    assert all(way in message for way in WAYS)
    assert "run 'pip install no-such-weights'" in refusal("packed", "imagenet")
    resumed = refusal("far", resumed=True)
    assert "cannot be reached" in resumed and "put them back" in resumed
    assert "--weights" not in resumed and "choose" not in resumed
    for name, weights in (("far", "none"), ("toy", None)):
        check_weights(load_registry().get(name), weights)


def test_a_host_that_is_silent_is_given_up_soon(monkeypatch):
    monkeypatch.setattr(availability, "PATIENCE", 0.2)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        host = f"127.0.0.1:{silent.getsockname()[1]}"
        reason = availability._silence(host, 0)
    assert "timed out" in reason or "no answer in" in reason


def test_a_host_is_asked_once_and_not_about_what_is_there(answering, tmp_path):
    near = load_registry().get("near")
    assert [missing_weights(near, None) for _ in range(3)] == ["", "", ""]
    assert answering == ["near.invalid"]
    (tmp_path / "keras" / "models" / "far.h5").touch()
    assert missing_weights(load_registry().get("far"), None) == ""
    assert answering == ["near.invalid"]


def test_commands_say_so_before_they_read_anything(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos" / "a").mkdir(parents=True)  # which nothing could be trained on
    for command in (
        ("finetune", "photos", "--backbone", "far"),
        ("features", "photos", "--backbone", "far", "--out", "f.npz"),
        ("compare", "photos", "--backbones", "far,packed"),
    ):
        assert main([*command]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert "127.0.0.1:1 cannot be reached" in line and all(way in line for way in WAYS)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["keras", "photos", "plugins"]


def test_a_comparison_skips_them_and_an_estimate_says_it(photos, tmp_path, monkeypatch, capsys):
    for module in ("training.costs", "experiments.candidates"):
        monkeypatch.setattr(f"tlearn.{module}.BENCHMARK_SECONDS", 0.01)
    load_registry().get("near").build((32, 32, 3), "imagenet")
    names = ("near", "far", "packed")
    comparison = compare(photos, tmp_path / "c", backbones=names, size=32, quiet=True)
    assert comparison.recommended == "near"
    assert "cannot be reached" in comparison.skipped["far"]
    assert "pip install no-such-weights" in comparison.skipped["packed"]
    assert main(["plan", str(photos), "--backbones", "near,far", "--quiet"]) == 0
    near, far = capsys.readouterr().out.splitlines()
    assert "not on this machine" not in near
    assert far.endswith("(Connection refused)") and "its weights are not on this machine: " in far


def test_weights_are_listed_and_fetched(answering, tmp_path, capsys):
    assert main(["weights", "near"]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first.endswith("imagenet from a place (MIT): not here")
    assert second.split() == "tlearn weights near --fetch".split()
    assert main(["weights", "near", "--fetch", "--json"]) == 0
    out, err = capsys.readouterr()
    (record,) = json.loads(out)
    file = tmp_path / "keras" / "models" / "near.weights.h5"
    assert (record["path"], record["bytes"]) == (str(file), file.stat().st_size)
    assert "fetching the weights of near from a place" in err
    assert main(["weights", "toy"]) == 0
    assert "not known whether here" in capsys.readouterr().out


def test_another_file_than_the_known_one_is_listed_as_such(tmp_path, monkeypatch, capsys):
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "w.pth").touch()
    (tmp_path / "no_such_weights-1.dist-info").mkdir()
    (tmp_path / "no_such_weights-1.dist-info" / "METADATA").write_text("Name: no-such-weights\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert main(["weights", "packed"]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first.endswith("(MIT): here, but cannot be used")
    words = "is not the file of no-such-weights that is known: its SHA-256 is e3b0c4"
    assert words in second and words in refusal("packed")
    assert main(["weights", "packed", "--fetch"]) == 2
    assert words in capsys.readouterr().err
    assert main(["backbones", "packed"]) == 0
    assert "(MIT), here, but cannot be used" in capsys.readouterr().out
    assert "packed" not in backbones_with_weights()


def test_what_cannot_be_fetched_is_an_error_after_the_list(capsys):
    assert main(["weights", "[fp]a*", "--fetch"]) == 2
    out, err = capsys.readouterr()
    assert out.count("not here") == 2 and err.count("\n") == 1
    for words in ("of far, packed could not be fetched", "cannot be reached", "pip install no-s"):
        assert words in err
    assert main(["weights", "nosuch"]) == 2
    assert "no backbone is called 'nosuch'; installed: " in capsys.readouterr().err


def test_the_demonstration_takes_a_backbone_whose_weights_are_here(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(pipeline, "draw_sample", lambda folder, progress: folder)
    monkeypatch.setattr(pipeline, "finetune", lambda *_, **options: asked.append(options))
    pipeline.demo(tmp_path / "one", quiet=True)
    default = load_registry().get(RunConfig().backbone)
    for weights in default.weights:
        (tmp_path / "keras" / "models" / Path(weights.file).name).touch()
    pipeline.demo(tmp_path / "two", quiet=True)
    assert [options["backbone"] for options in asked] == ["efficientnet_lite0", default.name]
