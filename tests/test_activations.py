"""Kept activations: right values, and never a stale one."""

import contextlib
import errno
import shutil
from dataclasses import replace
from io import FileIO

import keras
import numpy as np
import pytest
from conftest import Heard, draw_photos

from tlearn.backbones import load_registry
from tlearn.config import Augmentation
from tlearn.data import images
from tlearn.data.scan import scan
from tlearn.data.views import Rendering
from tlearn.errors import CacheError, DataError
from tlearn.features.activation_cache import Cache
from tlearn.features.activations import Activations
from tlearn.features.built_backbone import FEATURES, load_backbone, preprocess_pixels
from tlearn.features.engines import Choice
from tlearn.features.image_views import ImageViews

PLAIN = Rendering(32, "crop", Augmentation())
EXACT = Choice("openvino", "float32")
# How far a row may depend on the rows beside it: see tlearn.features.engines.Engine.
TOLERANCE = {"openvino": {"rtol": 0}, "tensorflow": {"rtol": 1e-5, "atol": 1e-6}}


@pytest.fixture(scope="module")
def built():
    return load_backbone(load_registry().get("toy"), None, "none", 0)


@contextlib.contextmanager
def opened(built, cache, rendering=PLAIN, boundaries=(0, 2), choice=EXACT, **options):
    """Yield the activations at some cuts, with a cache at ``cache``."""
    with Cache(cache, **options) as store:
        yield Activations(
            built, rendering, [built.boundaries[i] for i in boundaries], store, choice
        )


def keep(built, folder, cache, rendering=PLAIN, views=2, boundaries=(0, 2), choice=EXACT):
    """Keep activations of all images below a folder; return how many views were computed."""
    files = scan(folder).files
    with opened(built, cache, rendering, boundaries, choice) as activations:
        return activations.cache_missing(ImageViews.of(files, views))


def test_kept_values_are_what_the_network_gives(built, photos, cache):
    files = scan(photos).files[:5]
    items = ImageViews(files)
    boundary = built.boundaries[2]
    with opened(built, cache, boundaries=[2]) as activations:
        activations.cache_missing(items)
        at_cut, features = activations.rows(items, boundary.name), activations.rows(items, FEATURES)
    pixels = np.stack([images.load_image(f.path, 32, "crop") for f in files]).astype("float32")
    x = preprocess_pixels(keras.ops.convert_to_tensor(pixels), built.backbone.preprocess)
    expected = np.asarray(keras.Model(built.base.input, boundary.tensor)(x))
    np.testing.assert_allclose(at_cut.astype("float32"), expected, rtol=2e-3, atol=1e-4)
    top = np.asarray(built.base(x))
    pooled = np.concatenate([top.mean(axis=(1, 2)), top.max(axis=(1, 2))], axis=1)
    np.testing.assert_allclose(features[:, -48:], pooled, rtol=1e-4, atol=1e-5)


def test_pixels_are_kept_as_they_are(built, photos, cache):
    files = scan(photos).files[:3]
    items = ImageViews.of(files, 2)
    with opened(built, cache, boundaries=[0]) as activations:
        activations.cache_missing(items)
        rows = activations.rows(items, "pixels")
    assert rows.dtype == np.uint8
    for row, (file, view) in zip(rows, items, strict=True):
        image = images.decode(file.path.read_bytes(), 32)
        np.testing.assert_array_equal(row, PLAIN.render(image, file.content, view))


def test_images_are_known_again_by_their_content(built, photos, cache):
    assert keep(built, photos, cache) == 72
    assert keep(built, photos, cache) == 0
    moved = photos.parent / "elsewhere"
    shutil.copytree(photos / "red", moved / "rouge")
    for i, path in enumerate(sorted((moved / "rouge").iterdir())):
        path.rename(path.with_name(f"x{i}.jpg"))
    assert keep(built, moved, cache) == 0
    shutil.copy(photos / "blue" / "blue01.png", photos / "red" / "red00.png")
    assert keep(built, photos, cache) == 0  # now a copy of a known one
    draw_photos(photos.parent / "other", per_class=1, seed=9)
    shutil.copy(photos.parent / "other/red/red00.png", photos / "red" / "red00.png")
    assert keep(built, photos, cache) == 2


def test_what_changes_the_values_gets_rows_of_its_own(built, photos, cache):
    def computed(built, *rendering, boundaries=(2,), choice=EXACT):
        return keep(built, photos, cache, *rendering, boundaries=boundaries, choice=choice)

    assert computed(built, boundaries=(0, 2)) == 72
    assert computed(built, Rendering(32, "pad", Augmentation())) == 72
    # The plain views stay good.
    assert computed(built, Rendering(32, "crop", Augmentation(colour=0.3))) == 36
    toy = load_registry().get("toy")
    larger, other = load_backbone(toy, 48, "none", 0), load_backbone(toy, None, "none", 1)
    assert computed(larger, Rendering(48, "crop", Augmentation())) == 72
    assert computed(other) == 72 and other.digest != built.digest
    backbone = built.backbone
    twin = replace(backbone, name="twin")
    assert computed(replace(built, backbone=twin)) == 72
    unprocessed = replace(backbone, preprocess=type(backbone.preprocess)())
    assert computed(replace(built, backbone=unprocessed)) == 72
    assert computed(built, choice=Choice("tensorflow", "float32")) == 72
    after = replace(built.boundaries[2], position="after")
    assert computed(replace(built, boundaries=(*built.boundaries[:2], after))) == 72
    assert computed(built, boundaries=(0, 2)) == 0


def test_another_weights_file_at_the_same_path_is_noticed(photos, cache, tmp_path):
    backbone, file = load_registry().get("toy"), tmp_path / "toy.weights.h5"
    digests = []
    for seed in (3, 4):
        load_backbone(backbone, None, "none", seed).base.save_weights(file, overwrite=True)
        from_file = load_backbone(backbone, None, str(file), 0)
        digests.append(from_file.digest)
        assert keep(from_file, photos, cache) == 72
    assert digests[0] != digests[1]


def test_only_what_is_missing_is_computed(built, photos, cache):
    keep(built, photos, cache, views=1, boundaries=())
    assert keep(built, photos, cache, views=2, boundaries=()) == 36
    assert keep(built, photos, cache, views=2, boundaries=(1,)) == 72


def test_a_file_that_changes_while_it_is_used_is_refused(built, photos, cache):
    files = scan(photos).files
    shutil.copy(photos / "blue" / "blue01.png", photos / "red" / "red00.png")
    with (
        opened(built, cache, boundaries=[]) as activations,
        pytest.raises(DataError, match=r"red00\.png' changed since it was scanned"),
    ):
        activations.cache_missing(ImageViews(files))


@pytest.mark.parametrize("engine", ["openvino", "tensorflow"])
def test_rows_do_not_depend_on_their_company(built, cache, engine):
    pixels = np.random.default_rng(0).integers(0, 256, (40, 32, 32, 3)).astype(np.uint8)
    with opened(built, cache, choice=Choice(engine, "float32")) as activations:
        together = activations.compute(pixels, [FEATURES])[FEATURES]
        alone = np.concatenate([activations.compute([p], [FEATURES])[FEATURES] for p in pixels])
    np.testing.assert_allclose(together, alone, **TOLERANCE[engine])


def test_rows_do_not_depend_on_what_was_kept_before(built, photos, cache, tmp_path):
    items = ImageViews.of(scan(photos).files[:9], 2)
    found = []
    for place, first in ((cache, [FEATURES]), (tmp_path / "other", ["block3_conv"])):
        with opened(built, place, boundaries=[2]) as activations:
            activations.cache_missing(items, first)
            activations.cache_missing(items)
            found.append([activations.rows(items, name) for name in ("block3_conv", FEATURES)])
    for one, other in zip(*found, strict=True):
        np.testing.assert_array_equal(one, other)


def test_what_is_not_kept_is_computed_when_asked_for(built, photos, cache):
    items = ImageViews.of(scan(photos).files, 2)[1::2]
    with opened(built, cache) as activations:
        activations.cache_missing(items[::2])
        asked = ("block3_conv", "pixels")
        found = [activations.rows(items, name) for name in asked]
        activations.cache.clear()
        again = [activations.rows(items, name) for name in asked]
        assert all(activations.missing(items, activations.outputs).values())
    for one, other in zip(found, again, strict=True):
        np.testing.assert_allclose(one, other, rtol=2e-3)


def test_damaged_rows_are_noticed_computed_again_and_reported(built, photos, cache):
    items = ImageViews(scan(photos).files)
    with opened(built, cache) as activations:
        activations.cache_missing(items)
        expected = activations.rows(items, FEATURES)
    damaged = 0
    for file in (cache / "segments").glob("*.rows"):
        data = bytearray(file.read_bytes())
        data[5] ^= 1  # one bit of the first row
        file.write_bytes(data)
        damaged += 1
    heard = Heard()
    with Cache(cache) as store:
        activations = Activations(
            built, PLAIN, [built.boundaries[0], built.boundaries[2]], store, EXACT, heard
        )
        again = [activations.rows(items, name) for name in (FEATURES, "pixels", "block3_conv")]
        np.testing.assert_allclose(again[0], expected, rtol=1e-5, atol=1e-6)
        assert activations.cache_missing(items) == 1
        np.testing.assert_array_equal(activations.rows(items, FEATURES), expected)
    said = "1 cached activations were damaged on disk and recomputed"
    assert heard.lines == [said] * damaged


def test_a_full_disk_ends_the_keeping_and_not_the_work(built, photos, cache, monkeypatch):
    items = ImageViews(scan(photos).files)
    with opened(built, cache) as activations:
        expected = activations.rows(items, FEATURES)

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    heard = Heard()
    with Cache(cache) as store:
        activations = Activations(built, PLAIN, [], store, EXACT, heard)
        monkeypatch.setattr(
            "tlearn.features.cache_table.FileIO", type("Full", (FileIO,), {"write": full})
        )
        activations.cache_missing(items)
        assert activations.cache_missing(items) == 0
        np.testing.assert_array_equal(activations.rows(items, FEATURES), expected)
    assert len(heard.lines) == 1
    assert "No space left on device" in heard.lines[0]
    assert "Continuing without the cache" in heard.lines[0]


@pytest.mark.parametrize("broken", ["missing", "get"])
def test_an_index_that_fails_meanwhile_ends_the_keeping_and_not_the_work(
    built, photos, cache, monkeypatch, broken
):
    items = ImageViews(scan(photos).files)
    keep(built, photos, cache)
    with opened(built, cache) as activations:
        expected = activations.rows(items, FEATURES)

    def fails(*_):
        raise CacheError("the index is locked")

    heard = Heard()
    with Cache(cache) as store:
        activations = Activations(built, PLAIN, [], store, EXACT, heard)
        monkeypatch.setattr(f"tlearn.features.cache_table.CacheTable.{broken}", fails)
        activations.cache_missing(items)
        found = activations.rows(items, FEATURES)
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    assert len(heard.lines) == 1 and "the index is locked. Continuing" in heard.lines[0]


def test_what_a_trained_network_gives_is_not_kept(photos, cache):
    """Rows and the converted network may be lost while a stage trains what lies above its cut."""
    built = load_backbone(load_registry().get("toy"), None, "none", 0)
    items = ImageViews(scan(photos).files)
    with opened(built, cache) as activations:
        activations.cache_missing(items)
        expected = activations.rows(items, "block3_conv")
        activations.cache.clear()
        layer = built.base.get_layer("block3_conv")
        layer.kernel.assign(layer.kernel + 1.0)
    with opened(built, cache) as activations:
        np.testing.assert_allclose(activations.rows(items, "block3_conv"), expected, rtol=2e-3)
        activations.rows(items, FEATURES)
        assert len(activations.missing(items, [FEATURES])[FEATURES]) == len(items)
    assert not list((cache / "compiled").glob("*"))


def test_a_damaged_index_is_reported_and_begun_anew(built, photos, cache):
    index = cache / "index.sqlite"
    for damage in (lambda whole: b"x" * 9999, lambda whole: whole[: len(whole) // 2]):
        assert keep(built, photos, cache) == 72
        index.write_bytes(damage(index.read_bytes()))
        said = []
        with Cache(cache, say=said.append) as store:
            assert store.tables() == []
        assert "computed again" in said[0]


def test_a_cache_that_cannot_be_used_says_what_to_do(built, photos, cache):
    cache.write_text("not a folder")
    with pytest.raises(CacheError, match=r"cannot be cached in .*tlearn cache clear.*TLEARN_CACHE"):
        keep(built, photos, cache)
