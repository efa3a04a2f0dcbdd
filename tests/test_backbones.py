"""The shipped backbones: what their plugins state is true.

Every check runs once for each architecture, at its smallest size where the check does not ask for
another. The toy backbone and the widths of MobileNetV2 go through the same code.
"""

import keras
import pytest
from conftest import draw_photos

import tlearn
from tlearn.backbones import load_registry
from tlearn.config import Head
from tlearn.features.built_backbone import load_backbone
from tlearn.testing import backbone_checks
from tlearn.training.network import Network

pytestmark = pytest.mark.slow
BACKBONES = load_registry().backbones
ARCHITECTURES = ["vgg19", "inception_v3", "mobilenet_v2", "xception", "efficientnet_lite0"]


@backbone_checks(*(BACKBONES[name] for name in ARCHITECTURES))
def test_backbone(backbone, check):
    check(backbone)


def test_every_size_of_an_architecture_has_the_promised_channels_and_boundaries():
    sizes = [b for name, b in BACKBONES.items() if name.startswith(("mobilenet", "efficientnet"))]
    assert len(sizes) == 9
    for backbone in sizes:
        built = load_backbone(backbone, 32, "none", 0)  # refuses boundaries that are not there
        assert built.base.output.shape[-1] == backbone.channels


def test_normalisation_is_never_trained_and_the_top_is_the_last_tap():
    built = load_backbone(BACKBONES["toy"], None, "none", 0)
    Network(built, built.taps, 3, Head(), 0).freeze(built.layers_above(built.boundaries[0]))
    normalisations = [
        x for x in built.base.layers if isinstance(x, keras.layers.BatchNormalization)
    ]
    assert normalisations and not any(layer.trainable for layer in normalisations)
    assert [tap.name for tap in built.taps][-1] == "top"


def test_branches_that_join_again_train_and_predict(tmp_path):
    photos = draw_photos(tmp_path / "photos", per_class=6, classes=("blue", "red"))
    run = tlearn.finetune(
        photos,
        tmp_path / "run",
        backbone="mobilenet_v2_035",
        weights="none",
        size=32,
        views=1,
        stages="block_16_expand:1@1e-4",
        quiet=True,
    )
    assert [stage["epochs"] for stage in run.metrics["stages"]] == [0, 1]
    assert run.metrics["validation"]["accuracy"] >= 0.5
    assert len(run.predict(photos)) == 12
