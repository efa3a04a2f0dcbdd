"""Explanations: heat maps of a saved model, nearest training photos, and their files."""

import json
import re

import keras
import numpy as np
import pytest
from conftest import once
from PIL import Image

import tlearn
from tlearn.cli import main
from tlearn.data.views import to_square
from tlearn.errors import ConfigError, DataError, RunError
from tlearn.features.grad_cam import GradCam
from tlearn.runs import explanation
from tlearn.runs.explanation import explain, heat_maps, nearest, occlusion, overlays
from tlearn.runs.overlay import on_photo, overlay

SIDE = 8  # of a marker, in pixels
MARKERS = {"cyan": (20, 220, 230), "magenta": (230, 20, 220)}


def marked(label, seed, size=(48, 40)):
    """Return a grey noisy picture with a square whose colour is its class, and where that is."""
    rng = np.random.default_rng((len(label), seed))
    pixels = np.repeat(rng.integers(40, 200, (size[1], size[0], 1)), 3, axis=2).astype(np.uint8)
    x, y = (int(rng.integers(0, side - SIDE)) for side in size)
    pixels[y : y + SIDE, x : x + SIDE] = MARKERS[label]
    return Image.fromarray(pixels), (x, y, x + SIDE, y + SIDE)


def train_on_markers(folder):
    for label in MARKERS:
        (folder / "photos" / label).mkdir(parents=True)
        for seed in range(40):
            marked(label, seed)[0].save(folder / "photos" / label / f"{seed}.png")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TLEARN_CACHE", str(folder / "cache"))
        options = {"backbone": "toy", "weights": "none", "seed": 3, "quiet": True}
        tlearn.finetune(folder / "photos", folder / "run", stages="2:3@1e-3", **options)
        (folder / "head.py").write_text(
            "import keras\ndef build(features, classes):\n"
            "    return [keras.layers.Dense(8, activation='tanh'), keras.layers.Dense(classes)]\n"
        )
        for name, more in {
            "one": {"stages": []},
            "gem": {"stages": [], "head": {"pooling": "gem"}},
            "own": {"stages": "none:2@1e-2", "head": {"module": f"{folder / 'head.py'}:build"}},
            "large": {"stages": [], "size": 48, "val": 0.3},
        }.items():
            tlearn.finetune(folder / "photos", folder / name, **options, **more)
        tlearn.ensemble([folder / "run", folder / "one"], folder / "both", quiet=True)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A folder of runs whose classes are decided by a marker; nothing may be written into it."""
    return once(tmp_path_factory, "marker_runs", train_on_markers)


def share_near(heat, box, margin=4):
    """Return which part of the heat lies in a box and a few pixels around."""
    left, top, right, bottom = box
    rows, columns = slice(max(0, top - margin), bottom + margin), slice(max(0, left - margin), None)
    return heat[rows, columns][:, : right - max(0, left - margin) + margin].sum() / heat.sum()


def test_a_marker_that_decides_the_class_is_found_by_both_methods(runs):
    run = tlearn.Run(runs / "run")
    assert run.metrics["validation"]["accuracy"] == 1
    shares, drops = {"grad-cam": [], "occlusion": []}, []
    for seed in range(100, 110):
        for number, label in enumerate(MARKERS):
            photo, box = marked(label, seed, (32, 32))
            pixels = np.asarray(photo)
            assert run.labels[number] == label
            shares["grad-cam"].append(share_near(heat_maps(run, pixels[None], [number])[0], box))
            heat, drop = occlusion(run, pixels, number)
            assert heat.shape == (32, 32) and 0 <= heat.min() <= heat.max() <= 1
            shares["occlusion"].append(share_near(heat, box))
            drops.append(drop)
    assert np.mean(drops) > 0.1
    area = (SIDE + 8) ** 2 / 32**2
    assert all(np.mean(values) > 0.6 > 2 * area for values in shares.values())


def test_the_maps_change_with_the_head_and_with_the_class(runs):
    """The sanity check of Adebayo et al. (2018): a map that stays explains something else."""
    run = tlearn.Run(runs / "one")
    pixels = np.stack([np.asarray(marked("cyan", seed, (32, 32))[0]) for seed in range(4)])
    before, other = heat_maps(run, pixels, [0] * 4), heat_maps(run, pixels, [1] * 4)
    head = run.model.get_layer("logits")
    kernel, bias = head.get_weights()
    rng = np.random.default_rng(0)
    head.set_weights([rng.permutation(kernel.ravel()).reshape(kernel.shape), bias])
    after = heat_maps(run, pixels, [0] * 4)
    for k in range(4):
        for changed in (after, other):
            assert np.corrcoef(before[k].ravel(), changed[k].ravel())[0, 1] < 0.5


def test_every_kind_of_model_has_maps(runs):
    for name in ("one", "run", "gem", "own", "large", "both"):
        run = tlearn.Run(runs / name)
        size = run.classifier.size
        pixels = np.stack(
            [to_square(marked(label, 7)[0], size, "squash") for label in ("cyan", "magenta")] * 9
        )
        maps = heat_maps(run, pixels, [0, 1] * 9)
        assert maps.shape == (18, size, size), name
        assert (maps.max(axis=(1, 2)) == 1).all() and maps.min() >= 0, name
        cam = GradCam(run.model)  # what it takes apart gives what the model gives
        p = cam._above(cam._below(pixels.astype("float32")))
        expected = run.model.predict_on_batch(pixels.astype("float32"))
        np.testing.assert_allclose(p, expected, atol=1e-5, err_msg=name)


def test_tokens_are_laid_out_as_the_patches_they_are_of():
    layers = keras.layers
    pixels = keras.Input((32, 32, 3))
    patches = layers.Reshape((16, 3))(layers.AveragePooling2D(8)(pixels))
    tokens = layers.ZeroPadding1D((1, 0))(patches)  # a class token before them
    features = [layers.GlobalAveragePooling1D()(layers.Cropping1D((1, 0))(tokens)), tokens[:, 0]]
    logits = layers.Dense(2, kernel_initializer="ones")(layers.Concatenate()(features))
    model = keras.Model(pixels, layers.Softmax()(logits * np.array([1.0, -1.0])))
    image = np.zeros((1, 32, 32, 3))
    image[:, 8:16, 24:] = 255
    for number, places in ((0, np.s_[10:14, 27:31]), (1, np.s_[20:, :20])):
        heat = GradCam(model).heat_maps(image, np.array([number]))[0]
        assert heat[places].min() > 0.7


def test_heat_lies_in_the_coordinates_of_the_photo():
    for resize in ("squash", "crop", "pad"):
        for width, height in ((90, 40), (40, 90), (64, 64)):
            box = (width // 2 - 12, height // 2 - 2, width // 2 - 2, height // 2 + 14)
            pixels = np.zeros((height, width, 3), np.uint8)
            pixels[box[1] : box[3], box[0] : box[2]] = 255
            photo = Image.fromarray(pixels)
            heat = (to_square(photo, 64, resize)[..., 0] > 200).astype(float)
            placed = on_photo(heat, width, height, resize)
            assert placed.shape == (height, width)
            hidden = np.isnan(placed)
            assert hidden.any() == (resize == "crop" and width != height)
            middle = np.argwhere(np.nan_to_num(placed) > 0.5).mean(axis=0)
            true = np.argwhere(pixels[..., 0] > 0).mean(axis=0)
            assert np.abs(middle - true).max() < 1, (resize, width, height)
            assert overlay(photo, heat, resize).size == photo.size


def test_a_photo_that_is_turned_by_exif_is_explained_upright(runs, tmp_path):
    photo, box = marked("magenta", 3)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees for viewing
    photo.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "a.png", exif=exif)
    run = tlearn.Run(runs / "run")
    found = explain(run, tmp_path / "a.png")[0]
    assert overlays(run, found)["grad-cam"].size == photo.size
    heat = on_photo(found.heat["grad-cam"], *photo.size, "squash")
    assert found.label == "magenta" and share_near(heat, box, 8) > 0.5


def test_the_nearest_training_photos_are_named(runs):
    run = tlearn.Run(runs / "run")
    training = run.outputs().of_split("train")
    found = nearest(run, training.features[:5], 3)
    assert [len(near) for near in found] == [3] * 5
    for name, label, near in zip(training.files, training.labels, found, strict=False):
        assert (near[0].file, near[0].label) == (name, label)
        assert near[0].distance == pytest.approx(0, abs=1e-5)
        distances = [n.distance for n in near]
        assert distances == sorted(distances)


def test_the_command_writes_pictures_a_page_and_json(toy_run, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    photo = sorted((toy_run.photos / "red").iterdir())[0]
    (tmp_path / "no <photo>.png").write_text("text")
    command = ["explain", str(toy_run.run), str(photo), "no <photo>.png", "--quiet"]
    assert main([*command, "--method", "both", "--class", "blue", "--neighbours", "2"]) == 0
    said = capsys.readouterr().out
    assert "explained: blue" in said and "not an image" in said and "covering" in said
    folder = tmp_path / "explanations" / "run"
    first, second = json.loads((folder / "explanations.json").read_text())
    assert (
        first["class"] == "blue"
        and not first["unknown"]
        and len(first["neighbours"]) == 2
        and second["problem"]
    )
    for method in ("grad-cam", "occlusion"):
        with Image.open(folder / first["overlays"][method]) as picture:
            assert picture.size == (40, 36)
    text = (folder / "explanations.html").read_text()
    assert (
        "<bdi>blue</bdi>" in text
        and text.count("data:image/jpeg") == 5
        and "no &lt;photo&gt;.png" in text
    )
    assert not re.search(r"(src|href)=\"(?!data:)", text)
    assert main([*command, "--json"]) == 0  # the folder is numbered
    assert [record["top"] for record in json.loads(capsys.readouterr().out)][1] == []
    assert (tmp_path / "explanations" / "run-2").is_dir()
    assert main([*command, "--out", "explanations"]) == 2
    assert main(["explain", str(toy_run.run), "no <photo>.png", "--quiet"]) == 2


def test_what_cannot_be_explained_is_said(toy_run, tmp_path, monkeypatch):
    run = tlearn.Run(toy_run.run)
    with pytest.raises(
        ConfigError, match=r"no class 'gren' .did you mean 'green'.*it has blue, green"
    ):
        explain(run, toy_run.photos, label="gren")
    with pytest.raises(ConfigError, match=r"grad-cam, occlusion, both.*'lime'"):
        explain(run, toy_run.photos, method="lime")
    with pytest.raises(ConfigError, match=r"neighbours must be 0 or more. Received: -1"):
        explain(run, toy_run.photos, neighbours=-1)
    with pytest.raises(ConfigError, match=r"split must be one of auto, train, .*Received: .val."):
        run.evaluate(toy_run.photos, split="val")
    monkeypatch.setattr(explanation, "MOST", 3)
    with pytest.raises(
        DataError, match="36 photos are too many to explain at a time; give up to 3"
    ):
        explain(run, toy_run.photos)
    with pytest.raises(RunError, match="no run directory"):
        tlearn.explain(tmp_path, toy_run.photos)
