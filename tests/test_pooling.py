"""How maps and tokens become features."""

import keras
import numpy as np
import pytest

import tlearn
from tlearn.backbones import load_registry
from tlearn.config import Augmentation, Head
from tlearn.data.scan import scan
from tlearn.data.views import Rendering
from tlearn.features.activation_cache import Cache
from tlearn.features.activations import Activations
from tlearn.features.built_backbone import FEATURES, load_backbone
from tlearn.features.engines import Choice
from tlearn.features.image_views import ImageViews
from tlearn.features.pooling import cached_pooling, columns_of, pool_taps
from tlearn.training.network import Network

POOLINGS = ("both", "average", "max", "gem")


class GeM(keras.layers.Layer):
    """The generalised mean, as a layer of plain Keras."""

    def call(self, x):
        return keras.ops.mean(keras.ops.relu(x) ** 3, axis=(1, 2)) ** (1 / 3)


PLAIN = {
    "both": (keras.layers.GlobalAveragePooling2D, keras.layers.GlobalMaxPooling2D),
    "average": (keras.layers.GlobalAveragePooling2D,),
    "max": (keras.layers.GlobalMaxPooling2D,),
    "gem": (GeM,),
}


def built_with(pooling):
    return load_backbone(load_registry().get("toy"), None, "none", 0, pooling=pooling)


def test_features_are_those_of_keras_and_three_ways_share_what_is_cached(photo_template, tmp_path):
    files = scan(photo_template).files[:9]
    items = ImageViews(files)
    rendering, choice = Rendering(32, "crop", Augmentation()), Choice("tensorflow", "float32")
    with Cache(tmp_path / "cache") as cache:
        for pooling in POOLINGS:
            built = built_with(pooling)
            activations = Activations(built, rendering, built.boundaries[-1:], cache, choice)
            assert activations.cache_missing(items) == (9 if pooling in ("both", "gem") else 0)
            rows = activations.rows(items, FEATURES)
            pixels = np.stack([activations.render(file, [0])[0] for file in files])
            maps = keras.Model(built.base.input, [tap.tensor for tap in built.taps])(
                pixels.astype("float32") / 127.5 - 1
            )
            expected = [np.asarray(layer()(x)) for x in maps for layer in PLAIN[pooling]]
            np.testing.assert_allclose(rows, np.concatenate(expected, axis=1), rtol=2e-3, atol=2e-3)
            assert rows.shape[1] == sum(tap.width for tap in built.taps)
        assert {"pooling" in table.key for table in cache.tables()} == {False, True}


def test_tokens_are_pooled_without_those_that_stand_before_the_patches():
    rng = np.random.default_rng(0)
    taps = [rng.uniform(0, 1, (2, 5, width)).astype("float32") for width in (3, 4)]
    for tokens in (0, 2):
        cached = {}
        for pooling in POOLINGS:
            vectors = [np.asarray(v) for v in pool_taps(taps, tokens, pooling)]
            cached[pooling] = np.concatenate(vectors, axis=1)
            source = cached[cached_pooling(pooling, tokens)]
            columns = columns_of(pooling, [3, 4], tokens)
            np.testing.assert_array_equal(source[:, columns], cached[pooling])
        patches = [tap[:, tokens:] for tap in taps]
        expected = {
            "average": [x.mean(axis=1) for x in patches],
            "max": [x.max(axis=1) for x in patches],
            "gem": [(x**3).mean(axis=1) ** (1 / 3) for x in patches],
        }
        for pooling, parts in expected.items():
            np.testing.assert_allclose(
                cached[pooling], np.concatenate(parts, axis=1), rtol=1e-5, atol=1e-6
            )


def test_prefix_suffix_and_the_saved_whole_agree(tmp_path):
    pixels = np.random.default_rng(0).uniform(0, 255, (4, 32, 32, 3)).astype("float32")
    for pooling in POOLINGS:
        built = built_with(pooling)
        network = Network(built, built.taps, 3, Head(hidden=(5,), pooling=pooling), 0)
        boundary = built.boundaries[1]
        activation, features = built.prefix([boundary.name, FEATURES])(pixels)
        columns = built.feature_columns[network.columns_below(boundary)]
        inputs = [np.asarray(activation), np.asarray(features)[:, columns]]
        logits = network.suffix(boundary)(inputs if len(columns) else inputs[:1])
        expected = np.asarray(network.whole(pixels))
        np.testing.assert_allclose(np.asarray(keras.ops.softmax(logits)), expected, atol=2e-3)
        network.whole.save(tmp_path / "model.keras")
        again = keras.models.load_model(tmp_path / "model.keras", compile=False, safe_mode=True)
        np.testing.assert_allclose(np.asarray(again(pixels)), expected, rtol=1e-5)


@pytest.mark.parametrize("pooling", POOLINGS[1:])
def test_a_training_pools_alike_in_all_of_its_parts(photos, tmp_path, pooling):
    toy = {"backbone": "toy", "weights": "none", "preset": "best", "quiet": True}
    run = tlearn.finetune(photos, tmp_path / "run", head={"pooling": pooling}, **toy)
    first = run.metrics["stages"][0]
    assert first["share"] <= 1 and run.record["config"]["head"]["pooling"] == pooling
    saved, measured = run.metrics["validation"], run.evaluate(photos).metrics
    assert measured["accuracy"] == saved["accuracy"] > 0.5
