"""What presets mean for each backbone."""

from dataclasses import replace

from tlearn.backbones import load_registry
from tlearn.config import RunConfig
from tlearn.settings import make_config
from tlearn.training.stages import with_preset


def test_a_backbones_first_weights_are_the_default():
    registry = load_registry()
    assert with_preset(RunConfig(), registry.get("vgg19")).weights == "imagenet"
    toy = registry.get("toy")
    assert with_preset(RunConfig(), toy).weights == "faraway"
    assert with_preset(RunConfig(), replace(toy, weights=())).weights == "none"


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
