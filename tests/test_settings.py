"""The configuration: where values come from and what they may be."""

from dataclasses import replace

import yaml

from tlearn.backbones import load_registry
from tlearn.config import RunConfig, make_config, parse_stages
from tlearn.training.stages import with_preset


def test_what_comes_later_wins(tmp_path):
    file = tmp_path / "c.yaml"
    file.write_text("seed: 1\nval: 0.1\nhead: {dropout: 0.5}\n")
    config = make_config(file, {"val": "0.3", "head.hidden": "[16]"}, {"seed": 9, "test": None})
    assert (config.seed, config.val, config.test) == (9, 0.3, 0.0)
    assert config.head.dropout == 0.5 and config.head.hidden == (16,)


def test_numbers_as_people_write_them(tmp_path):
    file = tmp_path / "c.yaml"
    file.write_text("stages:\n  - {unfreeze: mixed8, learning_rate: 1e-4}\n")
    (stage,) = make_config(file).stages
    assert stage.learning_rate == 1e-4 and stage.unfreeze == "mixed8"


def test_nothing_is_none():
    config = make_config(options={"weights": None, "stages": [{"unfreeze": None}]})
    assert config.weights is None and config.stages[0].unfreeze == "none"
    assert make_config(settings={"weights": "none"}).weights == "none"


def test_a_backbones_first_weights_are_the_default():
    registry = load_registry()
    assert with_preset(RunConfig(), registry.get("vgg19")).weights == "imagenet"
    toy = registry.get("toy")
    assert with_preset(RunConfig(), toy).weights == "faraway"
    assert with_preset(RunConfig(), replace(toy, weights=())).weights == "none"


def test_a_runs_record_is_a_configuration(tmp_path):
    config = with_preset(make_config(options={"seed": 5}), load_registry().get("mobilenet_v2"))
    record = {"config": config.model_dump(mode="json"), "versions": {"tlearn": "0"}}
    file = tmp_path / "run.yaml"
    file.write_text(yaml.safe_dump(record))
    assert make_config(file) == config


def test_short_stages():
    assert parse_stages("none") == []
    assert parse_stages("3:8@1e-4, all@1e-5,mixed8") == [
        {"unfreeze": 3, "epochs": 8, "learning_rate": 1e-4},
        {"unfreeze": "all", "learning_rate": 1e-5},
        {"unfreeze": "mixed8"},
    ]
    assert parse_stages("[{unfreeze: 2, optimizer: sgd}]") == [{"unfreeze": 2, "optimizer": "sgd"}]


def test_presets_go_from_short_to_long():
    for backbone in load_registry().backbones.values():
        filled = [
            with_preset(RunConfig(preset=name), backbone) for name in ("quick", "balanced", "best")
        ]
        assert [len(config.stages) for config in filled] == [0, 1, 2]
        views = [config.views for config in filled]
        assert views == sorted(views)
        assert all(config.size == backbone.default_size for config in filled)


def test_a_hidden_head_is_trained_first():
    config = make_config(options={"head": {"hidden": [32]}})
    filled = with_preset(config, load_registry().get("toy"))
    assert [stage.unfreeze for stage in filled.stages] == ["none", "block3_conv"]
