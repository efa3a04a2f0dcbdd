"""Weights: of any file that holds the backbone's, and of any size."""

from dataclasses import replace

import keras
import numpy as np
import pytest

import tlearn
from tlearn.backbones import Weights, load_registry
from tlearn.errors import BackboneError, ConfigError
from tlearn.features.built_backbone import load_backbone


@pytest.fixture(scope="module")
def toy():
    return load_registry().get("toy")


@pytest.fixture(scope="module")
def base(toy):
    """A trained toy, as it were: with statistics of its own, too."""
    base = load_backbone(toy, None, "none", 7).base
    rng = np.random.default_rng(0)
    base.set_weights([rng.random(w.shape) for w in base.get_weights()])
    return base


def same(found, base):
    return all(map(np.array_equal, found.base.get_weights(), base.get_weights()))


def nested(base):
    """As a run's model is: the backbone is a model inside, and gives several depths."""
    pixels = keras.Input((32, 32, 3))
    part = keras.Model(base.input, [base.get_layer("block2_conv").output, base.output])
    pools = [keras.layers.GlobalMaxPooling2D()(x) for x in part(pixels)]
    x = keras.layers.Dense(3)(keras.layers.Concatenate()(pools))
    return keras.Model(pixels, keras.layers.Softmax()(x))


def flat(base):
    """As a foreign model may be: the backbone's layers and a head in one, by names of its own."""
    x = keras.layers.GlobalAveragePooling2D()(base.output)
    model = keras.Model(base.input, keras.layers.Dense(5)(x))
    return keras.models.clone_model(model, clone_function=renamed(model)), model


def renamed(model):
    names = iter(range(99))

    def clone(layer):
        return layer.from_config(layer.get_config() | {"name": f"mine_{next(names)}"})

    return clone


def test_whole_models_give_the_weights_of_the_backbone(toy, base, tmp_path):
    other, model = flat(base)
    other.set_weights(model.get_weights())
    for number, whole in enumerate((nested(base), other)):
        path = tmp_path / f"{number}.keras"
        whole.save(path)
        assert same(load_backbone(toy, 48, str(path), 0), base), path
    path = tmp_path / "old.h5"
    model.save(path)
    assert same(load_backbone(toy, None, str(path), 0), base)


def test_a_run_gives_the_weights_of_the_network_that_its_last_stage_ended_with(photos, tmp_path):
    options = {"backbone": "toy", "weights": "none", "quiet": True, "seed": 3}
    run = tlearn.finetune(photos, tmp_path / "run", stages="1:3@1e-2", **options)
    first = load_backbone(load_registry().get("toy"), None, "none", 3)
    again = load_backbone(load_registry().get("toy"), None, str(run.path), 0)
    layers = {"block1_conv": True, "block2_conv": True, "block3_conv": False}
    for name, frozen in layers.items():
        one, other = (b.base.get_layer(name).get_weights()[0] for b in (first, again))
        assert np.array_equal(one, other) == frozen, name
    more = tlearn.finetune(photos, tmp_path / "more", **options | {"weights": str(run.path)})
    assert more.metrics["validation"]["accuracy"] > 0.5
    with pytest.raises(BackboneError, match="a weights file or a run"):
        tlearn.finetune(photos, tmp_path / "no", **options | {"weights": str(photos)})


def test_a_model_without_the_backbone_is_refused_in_one_line(toy, tmp_path, capfd):
    pixels = keras.Input((32, 32, 3))
    x = keras.layers.Conv2D(8, 5)(pixels)
    for k in range(9):
        x = keras.layers.Conv2D(8, 3, padding="same", name=f"c{k}")(x)
    keras.Model(pixels, x).save(tmp_path / "other.keras")
    (tmp_path / "no.keras").write_bytes(b"PK no archive")
    other = "do not fit toy without its top .*, the model has .*, a Conv2D with weights .5, 5, 3, 8"
    for name, words in (("other.keras", other), ("no.keras", "do not fit toy without its top")):
        with pytest.raises(BackboneError, match=words) as caught:
            load_backbone(toy, None, str(tmp_path / name), 0)
        assert "\n" not in str(caught.value)
    assert capfd.readouterr().err == ""


def test_weights_by_name_of_the_usual_size_serve_any_size(toy, base, tmp_path):
    base.save_weights(tmp_path / "mine.weights.h5")

    def build(input_shape, weights):
        if weights == "mine" and input_shape[0] != 32:
            raise OSError("URL fetch failure")
        return toy.build(input_shape, weights and str(tmp_path / "mine.weights.h5"))

    mine = replace(toy, build=build, weights=(Weights("mine", "here", "none", "nothing"),))
    assert same(load_backbone(mine, 64, "mine", 0), base)


@pytest.fixture
def half(toy, base, tmp_path):
    """Files of a network that has blocks 1 and 3 of the toy, and another block 2."""
    inputs = keras.Input((32, 32, 3))
    x = inputs
    for k, width in ((1, 8), (2, 17), (3, 24)):
        x = keras.layers.Conv2D(width, 3, padding="same", name=f"block{k}_conv")(x)
        x = keras.layers.BatchNormalization(name=f"block{k}_bn")(x)
        x = keras.layers.Conv2D(16, 1, name=f"between_{k}")(x) if k == 2 else x
    model = keras.Model(inputs, x)
    for name in ("block1_conv", "block1_bn", "block3_conv", "block3_bn"):
        model.get_layer(name).set_weights(base.get_layer(name).get_weights())
    paths = [tmp_path / name for name in ("half.keras", "half.h5", "half.weights.h5")]
    model.save(paths[0])
    model.save(paths[1])
    model.save_weights(paths[2])
    return paths


def test_what_fits_of_a_file_is_used_and_the_rest_is_named(toy, base, half):
    for path in half[:2]:
        with pytest.raises(BackboneError, match="--skip-mismatch to use what fits"):
            load_backbone(toy, None, str(path), 0)
        built = load_backbone(toy, None, str(path), 0, skip_mismatch=True)
        assert built.left_out == ("block2_conv", "block2_bn"), path
        for layer in filter(lambda layer: layer.weights, built.base.layers):
            expected = base.get_layer(layer.name).get_weights()
            equal = all(map(np.array_equal, layer.get_weights(), expected))
            assert equal == (layer.name not in built.left_out), (path, layer.name)
    # A file of weights alone has no names of layers: the order decides.
    built = load_backbone(toy, None, str(half[2]), 0, skip_mismatch=True)
    first, loaded = (b.get_layer("block1_conv").get_weights() for b in (base, built.base))
    assert all(map(np.array_equal, first, loaded)) and "block2_conv" in built.left_out
    with pytest.raises(BackboneError, match="none of its layers fits"):
        keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)]).save(half[0])
        load_backbone(toy, None, str(half[0]), 0, skip_mismatch=True)


def test_a_training_says_what_was_left_out(photos, half, tmp_path, capsys):
    options = {"backbone": "toy", "weights": str(half[0]), "preset": "quick", "skip_mismatch": True}
    tlearn.finetune(photos, tmp_path / "run", **options)
    line = f"not in {str(half[0])!r}, so these layers keep random weights: block2_conv, block2_bn"
    assert line in capsys.readouterr().err
    with pytest.raises(ConfigError, match="skip_mismatch is for the weights of a file, not 'none'"):
        tlearn.finetune(photos, tmp_path / "other", **options | {"weights": "none"})
    assert not (tmp_path / "other").exists()
