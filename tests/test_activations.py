"""Kept activations: right values, and never a stale one."""

import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest
from conftest import draw_photos

from tlearn.backbones import load_registry
from tlearn.config import Augmentation
from tlearn.data import images
from tlearn.data.scan import scan
from tlearn.data.views import Rendering
from tlearn.errors import CacheError, DataError
from tlearn.frozen.activations import FEATURES, Activations
from tlearn.frozen.cache import Space
from tlearn.frozen.trunk import load_trunk, preprocessed

PLAIN = Rendering(32, "crop", Augmentation())


@pytest.fixture(scope="module")
def trunk():
    return load_trunk(load_registry().get("toy"), None, "none", 0)


def keep(trunk, folder, cache, rendering=PLAIN, views=2, cuts=(0, 2)):
    """Keep activations of all images below a folder; return how many views were computed."""
    files = scan(folder).files
    with Activations(trunk, rendering, [trunk.cuts[i] for i in cuts], cache) as kept:
        return kept.keep([(f, v) for f in files for v in range(views)])


def test_kept_values_are_what_the_network_gives(trunk, photos, cache):
    files = scan(photos).files[:5]
    items = [(f, 0) for f in files]
    cut = trunk.cuts[2]
    with Activations(trunk, PLAIN, [cut], cache) as kept:
        kept.keep(items)
        at_cut, features = kept.at(cut, items), kept.features(items)
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
    with Activations(trunk, PLAIN, [trunk.cuts[0]], cache) as kept:
        kept.keep(items)
        rows = kept.at(trunk.cuts[0], items)
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
        Activations(trunk, PLAIN, [], cache) as kept,
        pytest.raises(DataError, match=r"red00\.png' changed while it was used"),
    ):
        kept.keep([(f, 0) for f in files])


def test_rows_do_not_depend_on_their_company(trunk, photos, cache):
    pixels = np.random.default_rng(0).integers(0, 256, (40, 32, 32, 3)).astype(np.uint8)
    with Activations(trunk, PLAIN, [], cache) as kept:
        together = kept.compute(pixels, [FEATURES])[FEATURES]
        alone = np.concatenate([kept.compute(p[None], [FEATURES])[FEATURES] for p in pixels])
    np.testing.assert_array_equal(together, alone)


def test_a_space_grows(tmp_path, monkeypatch):
    monkeypatch.setattr("tlearn.frozen.cache.FIRST_MAP", 2**16)
    rows = {bytes([i]): np.full(1000, i, np.float32) for i in range(100)}
    with Space(tmp_path, {"of": "test"}, (1000,), "float32") as space:
        space.put(rows)
    with Space(tmp_path, {"of": "test"}, (1000,), "float32") as space:
        assert space.missing([*rows, b"none"]) == {b"none"}
        np.testing.assert_array_equal(space.get([b"\x07", b"\x63"])[:, 0], [7, 99])
        with pytest.raises(KeyError):
            space.get([b"none"])


def test_spaces_say_what_they_hold(trunk, photos, cache):
    keep(trunk, photos, cache)
    described = [path.read_text() for path in Path(cache).glob("*/space.json")]
    assert len(described) == 3
    assert all(str(photos) not in text for text in described)
    assert any('"output": "block3_conv"' in text for text in described)


def test_two_processes_let_a_space_grow(tmp_path, monkeypatch):
    monkeypatch.setattr("tlearn.frozen.cache.FIRST_MAP", 2**16)
    code = (
        "import sys; from pathlib import Path; import numpy as np; from tlearn.frozen import cache;"
        "cache.FIRST_MAP = 2**16; space = cache.Space(Path(sys.argv[1]), {}, (1000,), 'float32');"
        "[space.put({bytes([i]): np.full(1000, i)}) for i in range(100)]"
    )
    with Space(tmp_path, {}, (1000,), "float32") as space:
        space.put({b"own": np.zeros(1000)})
        subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)
        assert space.get([b"\x63", b"own"])[:, 0].tolist() == [99, 0]
        space.put({b"more": np.ones(1000)})
        assert space.missing([b"more", b"\x00"]) == set()


def test_no_room_is_said_before_anything_is_computed(trunk, photos, cache, monkeypatch):
    usage = shutil.disk_usage(photos)._replace(free=1000)
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage)
    with pytest.raises(CacheError, match=r"GB free; use fewer --views.*TLEARN_CACHE"):
        keep(trunk, photos, cache)


@pytest.mark.parametrize("damage", ["file", "garbage"])
def test_a_cache_that_cannot_be_used_says_what_to_do(trunk, photos, cache, damage):
    if damage == "file":
        cache.write_text("not a folder")
    else:
        keep(trunk, photos, cache)
        for data in cache.glob("*/data.mdb"):
            data.write_bytes(b"x" * 9999)
    with pytest.raises(CacheError, match=r"cannot be kept in .*TLEARN_CACHE"):
        keep(trunk, photos, cache)


def test_the_side_of_a_boundary_counts(trunk, photos, cache):
    keep(trunk, photos, cache, cuts=(2,))
    other = replace(trunk.cuts[2], side="after")
    turned = replace(trunk, cuts=(*trunk.cuts[:2], other))
    assert keep(turned, photos, cache, cuts=(2,)) == 72
