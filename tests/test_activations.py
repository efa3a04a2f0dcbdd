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
from tlearn.frozen.activations import Activations
from tlearn.frozen.cache import Cache
from tlearn.frozen.engines import Choice
from tlearn.frozen.trunk import FEATURES, load_trunk, preprocessed

PLAIN = Rendering(32, "crop", Augmentation())
EXACT = Choice("openvino", "float32")


@pytest.fixture(scope="module")
def trunk():
    return load_trunk(load_registry().get("toy"), None, "none", 0)


@contextlib.contextmanager
def opened(trunk, cache, rendering=PLAIN, cuts=(0, 2), choice=EXACT, **options):
    """Yield the activations at some cuts, with a cache at ``cache``."""
    with Cache(cache, **options) as store:
        yield Activations(trunk, rendering, [trunk.cuts[i] for i in cuts], store, choice)


def keep(trunk, folder, cache, rendering=PLAIN, views=2, cuts=(0, 2), choice=EXACT):
    """Keep activations of all images below a folder; return how many views were computed."""
    files = scan(folder).files
    with opened(trunk, cache, rendering, cuts, choice) as kept:
        return kept.keep([(f, v) for f in files for v in range(views)])


def test_kept_values_are_what_the_network_gives(trunk, photos, cache):
    files = scan(photos).files[:5]
    items = [(f, 0) for f in files]
    cut = trunk.cuts[2]
    with opened(trunk, cache, cuts=[2]) as kept:
        kept.keep(items)
        at_cut, features = kept.rows(items, cut.name), kept.features(items)
    pixels = np.stack([images.read_pixels(f.path, 32, "crop") for f in files]).astype("float32")
    x = preprocessed(keras.ops.convert_to_tensor(pixels), trunk.backbone.preprocess)
    expected = np.asarray(keras.Model(trunk.base.input, cut.tensor)(x))
    np.testing.assert_allclose(at_cut.astype("float32"), expected, rtol=2e-3, atol=1e-4)
    top = np.asarray(trunk.base(x))
    pooled = np.concatenate([top.mean(axis=(1, 2)), top.max(axis=(1, 2))], axis=1)
    np.testing.assert_allclose(features[:, -48:], pooled, rtol=1e-4, atol=1e-5)


def test_pixels_are_kept_as_they_are(trunk, photos, cache):
    files = scan(photos).files[:3]
    items = [(f, v) for f in files for v in range(2)]
    with opened(trunk, cache, cuts=[0]) as kept:
        kept.keep(items)
        rows = kept.rows(items, "pixels")
    assert rows.dtype == np.uint8
    for row, (file, view) in zip(rows, items, strict=True):
        image = images.decode(file.path.read_bytes(), 32)
        np.testing.assert_array_equal(row, PLAIN.render(image, file.content, view))


def test_a_second_time_nothing_is_computed(trunk, photos, cache):
    assert keep(trunk, photos, cache) == 72
    assert keep(trunk, photos, cache) == 0


def test_renamed_and_moved_files_are_found_again(trunk, photos, cache):
    keep(trunk, photos, cache)
    moved = photos.parent / "elsewhere"
    shutil.copytree(photos / "red", moved / "rouge")
    for i, path in enumerate(sorted((moved / "rouge").iterdir())):
        path.rename(path.with_name(f"x{i}.jpg"))
    assert keep(trunk, moved, cache) == 0


def test_a_changed_file_is_computed_again(trunk, photos, cache):
    keep(trunk, photos, cache)
    shutil.copy(photos / "blue" / "blue01.png", photos / "red" / "red00.png")
    assert keep(trunk, photos, cache) == 0  # now a copy of a known one
    draw_photos(photos.parent / "other", per_class=1, seed=9)
    shutil.copy(photos.parent / "other/red/red00.png", photos / "red" / "red00.png")
    assert keep(trunk, photos, cache) == 2


@pytest.mark.parametrize(
    ("rendering", "computed"),
    [
        (Rendering(32, "pad", Augmentation()), 72),
        (Rendering(32, "crop", Augmentation(colour=0.3)), 36),  # the plain views stay good
    ],
    ids=["resize", "augmentation"],
)
def test_another_rendering_gets_its_own_rows(trunk, photos, cache, rendering, computed):
    keep(trunk, photos, cache)
    assert keep(trunk, photos, cache, rendering) == computed


def test_another_size_gets_its_own_rows(trunk, photos, cache):
    keep(trunk, photos, cache)
    larger = load_trunk(load_registry().get("toy"), 48, "none", 0)
    assert keep(larger, photos, cache, Rendering(48, "crop", Augmentation())) == 72


def test_other_weights_get_their_own_rows(trunk, photos, cache):
    keep(trunk, photos, cache)
    other = load_trunk(load_registry().get("toy"), None, "none", 1)
    assert other.digest != trunk.digest
    assert keep(other, photos, cache) == 72


def test_another_weights_file_at_the_same_path_is_noticed(photos, cache, tmp_path):
    backbone, file = load_registry().get("toy"), tmp_path / "toy.weights.h5"
    digests = []
    for seed in (3, 4):
        load_trunk(backbone, None, "none", seed).base.save_weights(file, overwrite=True)
        from_file = load_trunk(backbone, None, str(file), 0)
        digests.append(from_file.digest)
        assert keep(from_file, photos, cache) == 72
    assert digests[0] != digests[1]


def test_another_backbone_with_the_same_weights_gets_its_own_rows(trunk, photos, cache):
    keep(trunk, photos, cache, cuts=(2,))
    twin = replace(trunk, backbone=replace(trunk.backbone, name="twin"))
    assert keep(twin, photos, cache, cuts=(2,)) == 72


def test_another_preprocessing_gets_its_own_rows(trunk, photos, cache):
    keep(trunk, photos, cache, cuts=(2,))
    backbone = trunk.backbone
    changed = replace(trunk, backbone=replace(backbone, preprocess=type(backbone.preprocess)()))
    assert keep(changed, photos, cache, cuts=(2,)) == 72


def test_only_what_is_missing_is_computed(trunk, photos, cache):
    keep(trunk, photos, cache, views=1, cuts=())
    assert keep(trunk, photos, cache, views=2, cuts=()) == 36
    assert keep(trunk, photos, cache, views=2, cuts=(1,)) == 72


def test_a_file_that_changes_while_it_is_used_is_refused(trunk, photos, cache):
    files = scan(photos).files
    shutil.copy(photos / "blue" / "blue01.png", photos / "red" / "red00.png")
    with (
        opened(trunk, cache, cuts=[]) as kept,
        pytest.raises(DataError, match=r"red00\.png' changed while it was used"),
    ):
        kept.keep([(f, 0) for f in files])


@pytest.mark.parametrize("engine", ["openvino", "tensorflow"])
def test_rows_do_not_depend_on_their_company(trunk, cache, engine):
    pixels = np.random.default_rng(0).integers(0, 256, (40, 32, 32, 3)).astype(np.uint8)
    with opened(trunk, cache, choice=Choice(engine, "float32")) as kept:
        together = kept.compute(pixels, [FEATURES])[FEATURES]
        alone = np.concatenate([kept.compute([p], [FEATURES])[FEATURES] for p in pixels])
    np.testing.assert_array_equal(together, alone)


def test_rows_do_not_depend_on_what_was_kept_before(trunk, photos, cache, tmp_path):
    items = [(f, v) for f in scan(photos).files[:9] for v in range(2)]
    found = []
    for place, first in ((cache, [FEATURES]), (tmp_path / "other", ["block3_conv"])):
        with opened(trunk, place, cuts=[2]) as kept:
            kept.keep(items, first)
            kept.keep(items)
            found.append((kept.rows(items, "block3_conv"), kept.features(items)))
    for one, other in zip(*found, strict=True):
        np.testing.assert_array_equal(one, other)


def test_what_is_not_kept_is_computed_when_asked_for(trunk, photos, cache):
    items = [(f, 1) for f in scan(photos).files]
    with opened(trunk, cache) as kept:
        kept.keep(items[::2])
        found = kept.rows(items, "block3_conv"), kept.rows(items, "pixels")
        asked = ["block3_conv", "pixels"]
        assert not any(kept.missing(items, asked).values())  # and kept from then on
        kept.cache.clear()
        kept.keeping = False
        again = kept.rows(items, "block3_conv"), kept.rows(items, "pixels")
        assert all(kept.missing(items, kept.outputs).values())
    for one, other in zip(found, again, strict=True):
        np.testing.assert_array_equal(one, other)


def test_damaged_rows_are_noticed_computed_again_and_reported(trunk, photos, cache):
    items = [(f, 0) for f in scan(photos).files]
    with opened(trunk, cache) as kept:
        kept.keep(items)
        expected = kept.features(items)
    damaged = 0
    for file in (cache / "segments").glob("*.rows"):
        data = bytearray(file.read_bytes())
        data[5] ^= 1  # one bit of the first row
        file.write_bytes(data)
        damaged += 1
    heard = Heard()
    with Cache(cache) as store:
        kept = Activations(trunk, PLAIN, [trunk.cuts[0], trunk.cuts[2]], store, EXACT, heard)
        np.testing.assert_array_equal(kept.features(items), expected)
        kept.rows(items, "pixels")
        kept.rows(items, "block3_conv")
    said = "1 kept activations were damaged on disk and were computed again"
    assert heard.lines == [said] * damaged
    with opened(trunk, cache) as kept:
        assert not any(kept.missing(items, kept.outputs).values())


def test_a_full_disk_ends_the_keeping_and_not_the_work(trunk, photos, cache, monkeypatch):
    items = [(f, 0) for f in scan(photos).files]
    with opened(trunk, cache) as kept:
        kept.keeping = False
        expected = kept.features(items)

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    heard = Heard()
    with Cache(cache) as store:
        kept = Activations(trunk, PLAIN, [], store, EXACT, heard)
        monkeypatch.setattr("tlearn.frozen.space.FileIO", type("Full", (FileIO,), {"write": full}))
        kept.keep(items)
        assert not kept.keeping
        np.testing.assert_array_equal(kept.features(items), expected)
    assert len(heard.lines) == 1
    assert "No space left on device" in heard.lines[0]
    assert "goes on and computes what it needs each time" in heard.lines[0]


@pytest.mark.parametrize("broken", ["missing", "get"])
def test_an_index_that_fails_meanwhile_ends_the_keeping_and_not_the_work(
    trunk, photos, cache, monkeypatch, broken
):
    items = [(f, 0) for f in scan(photos).files]
    keep(trunk, photos, cache)
    with opened(trunk, cache) as kept:
        expected = kept.features(items)

    def fails(*_):
        raise CacheError("the index is locked")

    heard = Heard()
    with Cache(cache) as store:
        kept = Activations(trunk, PLAIN, [], store, EXACT, heard)
        monkeypatch.setattr(f"tlearn.frozen.space.Space.{broken}", fails)
        kept.keep(items)
        np.testing.assert_allclose(kept.features(items), expected, rtol=1e-4, atol=1e-5)
    assert len(heard.lines) == 1 and "the index is locked. It goes on" in heard.lines[0]


def test_what_a_trained_network_gives_is_not_kept(photos, cache):
    """Rows and the converted network may be lost while a stage trains what lies above its cut."""
    trunk = load_trunk(load_registry().get("toy"), None, "none", 0)
    items = [(f, 0) for f in scan(photos).files]
    with opened(trunk, cache) as kept:
        kept.keep(items)
        expected = kept.rows(items, "block3_conv")
        kept.cache.clear()
        kept.pristine = False
        layer = trunk.base.get_layer("block3_conv")
        layer.kernel.assign(layer.kernel + 1.0)
    with opened(trunk, cache) as kept:
        kept.pristine = False
        np.testing.assert_allclose(kept.rows(items, "block3_conv"), expected, rtol=2e-3)
        kept.features(items)
        assert len(kept.missing(items, [FEATURES])[FEATURES]) == len(items)
    assert not list((cache / "compiled").glob("*"))


@pytest.mark.parametrize("damage", ["garbage", "cut short"])
def test_a_damaged_index_is_reported_and_begun_anew(trunk, photos, cache, damage):
    keep(trunk, photos, cache)
    index = cache / "index.sqlite"
    whole = index.read_bytes()
    index.write_bytes(b"x" * 9999 if damage == "garbage" else whole[: len(whole) // 2])
    said = []
    with Cache(cache, say=said.append) as store:
        assert store.holdings() == []
    assert "computed again" in said[0]
    assert keep(trunk, photos, cache) == 72


def test_a_cache_that_cannot_be_used_says_what_to_do(trunk, photos, cache):
    cache.write_text("not a folder")
    with pytest.raises(CacheError, match=r"cannot be kept in .*tlearn cache clear.*TLEARN_CACHE"):
        keep(trunk, photos, cache)


def test_the_side_of_a_boundary_counts(trunk, photos, cache):
    keep(trunk, photos, cache, cuts=(2,))
    other = replace(trunk.cuts[2], side="after")
    turned = replace(trunk, cuts=(*trunk.cuts[:2], other))
    assert keep(turned, photos, cache, cuts=(2,)) == 72
