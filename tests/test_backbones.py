"""The four shipped backbones: what their plugins state is true."""

import importlib
import itertools

import keras
import numpy as np
import pytest
from conftest import draw_photos

import tlearn
from tlearn.backbones import load_registry
from tlearn.config import Head, Stage
from tlearn.errors import BackboneError
from tlearn.frozen.trunk import load_trunk, preprocessed
from tlearn.training.network import Network
from tlearn.training.stages import plan

FAMILIES = ["vgg19", "inception_v3", "mobilenet_v2", "xception"]
NAMES = [*FAMILIES, "mobilenet_v2_035", "mobilenet_v2_140"]


@pytest.fixture(scope="module", params=NAMES)
def trunk(request):
    backbone = load_registry().get(request.param)
    return load_trunk(backbone, backbone.min_size + 32, "none", 0)


def pixels(size, n=2):
    return np.random.default_rng(0).integers(0, 256, (n, size, size, 3)).astype("float32")


def test_the_output_has_the_promised_channels(trunk):
    assert trunk.base.output.shape[-1] == trunk.backbone.channels
    assert len(trunk.base.output.shape) == 4


@pytest.mark.parametrize("name", FAMILIES)
def test_it_builds_at_its_smallest_and_its_default_size(name):
    backbone = load_registry().get(name)
    for size in (backbone.min_size, backbone.default_size):
        assert backbone.build((size, size, 3), None).output.shape[-1] == backbone.channels
    with pytest.raises(BackboneError, match=f"{backbone.min_size} pixels or more"):
        load_trunk(backbone, backbone.min_size - 1, "none", 0)


@pytest.mark.parametrize("name", FAMILIES)
def test_preprocessing_is_that_of_keras_applications(name):
    module = importlib.import_module(f"keras.applications.{name}")
    x = pixels(8)
    found = preprocessed(keras.ops.convert_to_tensor(x), load_registry().get(name).preprocess)
    np.testing.assert_allclose(np.asarray(found), module.preprocess_input(x.copy()), atol=1e-4)


def test_exactly_one_tensor_crosses_each_boundary(trunk):
    x = np.asarray(preprocessed(keras.ops.convert_to_tensor(pixels(trunk.size)),
                                trunk.backbone.preprocess))  # fmt: skip
    whole = np.asarray(trunk.base(x, training=False))
    for cut in trunk.cuts[1:]:
        prefix = keras.Model(trunk.base.input, cut.tensor)
        suffix = keras.Model(cut.tensor, trunk.base.output)  # fails if a second one crosses
        found = np.asarray(suffix(prefix(x, training=False), training=False))
        np.testing.assert_allclose(found, whole, rtol=1e-4, atol=1e-5)


def test_blocks_part_the_layers_in_order(trunk):
    above = [trunk.layers_above(cut) for cut in trunk.cuts]
    for lower, higher in itertools.pairwise(above):
        assert higher < lower
        gained = {layer.name for layer in trunk.base.layers if layer.name in lower - higher}
        assert any(trunk.base.get_layer(name).weights for name in gained)


def test_a_second_build_has_the_same_boundaries_and_weights_by_seed(trunk):
    again = load_trunk(trunk.backbone, trunk.size, "none", 0)
    assert [cut.name for cut in again.cuts] == [cut.name for cut in trunk.cuts]
    assert again.digest == trunk.digest


def test_freezing_is_monotone_and_never_touches_normalisation(trunk):
    network = Network(trunk, trunk.taps, 3, Head(), 0)
    counts = []
    for blocks in range(1, len(trunk.cuts) + 1):
        (found,) = plan((Stage(unfreeze=blocks),), trunk)
        network.freeze(found.trainable)
        counts.append(len(trunk.base.trainable_weights))
    assert counts == sorted(set(counts))
    for layer in trunk.base.layers:
        assert not (isinstance(layer, keras.layers.BatchNormalization) and layer.trainable)


def test_feature_layers_and_fine_tuning_start_exist(trunk):
    for name in trunk.backbone.feature_layers:
        assert len(trunk.base.get_layer(name).output.shape) == 4
    assert trunk.backbone.finetune_from in [cut.name for cut in trunk.cuts]
    assert [tap.name for tap in trunk.taps][-1] == "top"


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
        photos, tmp_path / "run", backbone=name, weights="none", size=size, views=2,
        stages=f"{unfreeze}:2@1e-4", quiet=True,
    )  # fmt: skip
    assert [stage["epochs"] for stage in run.metrics["stages"]] == [0, 2]
    assert run.metrics["validation"]["accuracy"] > 0.5
    assert len(run.predict(photos)) == 20
