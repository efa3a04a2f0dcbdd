"""What presets mean for each backbone."""

from dataclasses import replace

from tlearn.backbones import load_registry
from tlearn.config import RunConfig
from tlearn.settings import make_config
from tlearn.training.stages import with_preset


def filled(config, backbone):
    return with_preset(config, backbone, load_registry().preset(config.preset))


def test_a_backbones_first_weights_are_the_default():
    registry = load_registry()
    assert filled(RunConfig(), registry.get("vgg19")).weights == "imagenet"
    toy = registry.get("toy")
    assert filled(RunConfig(), toy).weights == "faraway"
    assert filled(RunConfig(), replace(toy, weights=())).weights == "none"


def test_presets_go_from_short_to_long():
    for backbone in load_registry().backbones.values():
        configs = [filled(RunConfig(preset=p), backbone) for p in ("quick", "balanced", "best")]
        epochs = [sum(stage.epochs for stage in config.stages) for config in configs]
        assert epochs == sorted(set(epochs)) and epochs[0] == 0
        views = [config.views for config in configs]
        assert views == sorted(views)
        assert all(config.size == backbone.default_size for config in configs)


def test_stages_of_one_name_are_told_apart():
    stages = filled(RunConfig(preset="best"), load_registry().get("toy")).stages
    names = [f"from block3_conv{end}" for end in ("", " (2)", " (3)")]
    assert [stage.title for stage in stages] == names


def test_the_default_is_a_stage_that_needs_headroom():
    toy = load_registry().get("toy")
    configs = RunConfig(), RunConfig(preset="balanced")
    auto, balanced = (filled(config, toy).stages for config in configs)
    assert [stage.needs_headroom for stage in (*auto, *balanced)] == [True, False]
    assert auto[0].unfreeze == balanced[0].unfreeze


def test_a_hidden_head_is_trained_first():
    config = make_config(options={"head": {"hidden": [32]}})
    stages = filled(config, load_registry().get("toy")).stages
    assert [stage.unfreeze for stage in stages] == ["none", "block3_conv"]
