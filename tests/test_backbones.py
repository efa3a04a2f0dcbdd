"""The shipped backbones: what their plugins state is true."""

import keras
import pytest
from conftest import draw_photos

import tlearn
from tlearn.backbones import load_registry
from tlearn.config import Head
from tlearn.features.built_backbone import load_backbone
from tlearn.testing import backbone_checks
from tlearn.training.network import Network

BACKBONES = load_registry().backbones
NAMES = ["vgg19", "inception_v3", "mobilenet_v2", "xception", "mobilenet_v2_035", "toy"]


@backbone_checks(*(BACKBONES[name] for name in NAMES))
def test_backbone(backbone, check):
    check(backbone)


@pytest.mark.parametrize("name", [name for name in BACKBONES if name.startswith("mobilenet_v2_")])
def test_every_width_has_the_promised_channels(name):
    backbone = BACKBONES[name]
    assert backbone.build((32, 32, 3), None).output.shape[-1] == backbone.channels


@pytest.mark.parametrize("name", NAMES)
def test_normalisation_is_never_trained_and_the_top_is_the_last_tap(name):
    built = load_backbone(BACKBONES[name], BACKBONES[name].min_size, "none", 0)
    Network(built, built.taps, 3, Head(), 0).freeze(built.layers_above(built.boundaries[0]))
    for layer in built.base.layers:
        assert not (isinstance(layer, keras.layers.BatchNormalization) and layer.trainable)
    assert [tap.name for tap in built.taps][-1] == "top"


@pytest.mark.parametrize(
    ("name", "size", "unfreeze"),
    [
        ("vgg19", 48, "block5_conv1"),
        ("inception_v3", 75, "mixed8"),
        ("xception", 71, "1"),
        ("mobilenet_v2_035", 64, "all"),
    ],
)
def test_it_trains_and_predicts_through_the_usual_way(tmp_path, name, size, unfreeze):
    photos = draw_photos(tmp_path / "photos", per_class=10, classes=("blue", "red"))
    run = tlearn.finetune(
        photos,
        tmp_path / "run",
        backbone=name,
        weights="none",
        size=size,
        views=2,
        stages=f"{unfreeze}:2@1e-4",
        quiet=True,
    )
    assert [stage["epochs"] for stage in run.metrics["stages"]] == [0, 2]
    assert run.metrics["validation"]["accuracy"] > 0.5
    assert len(run.predict(photos)) == 20
