"""Real photos, real ImageNet weights, through the same functions as everybody's."""

import json
import os
import shutil
import subprocess
import sys

import pytest

import tlearn

WEIGHTS = "weights/keras/models/mobilenet_v2_weights_tf_dim_ordering_tf_kernels_{}_224_no_top.h5"


@pytest.fixture(scope="module")
def photo_cache(tmp_path_factory):
    return tmp_path_factory.mktemp("photo-cache")


@pytest.fixture(autouse=True)
def cache(photo_cache, monkeypatch):
    """Share activations among these tests: they are dear."""
    monkeypatch.setenv("TLEARN_CACHE", str(photo_cache))


def test_flowers_end_to_end(shared, tmp_path):
    run = tlearn.finetune(
        shared / "data/flowers",
        tmp_path / "run",
        backbone="mobilenet_v2",
        weights=str(shared / WEIGHTS.format("1.0")),
        size=128,
        views=2,
        stages="block_15_expand:2",
        test=0.2,
        seed=1,
        quiet=True,
    )
    metrics = run.metrics
    assert metrics["test"]["accuracy"] > 0.8
    probe, _ = metrics["stages"]
    assert probe["accuracy"] > 0.8
    # A stage that is worse is rolled back. Stages are scored on cached activations in half
    # precision, the saved model on photos: one on the edge between two classes may change sides.
    one = 1 / metrics["validation"]["n"]
    assert metrics["validation"]["accuracy"] > probe["accuracy"] - 1.5 * one
    again = tlearn.Run(run.path).evaluate(shared / "data/flowers", "validation").metrics
    assert again["accuracy"] == metrics["validation"]["accuracy"]
    assert again["log_loss"] == pytest.approx(metrics["validation"]["log_loss"], abs=1e-5)


def test_clothing_with_its_own_splits(shared, tmp_path):
    run = tlearn.finetune(
        shared / "data/clothing",
        tmp_path / "run",
        backbone="mobilenet_v2_035",
        weights=str(shared / WEIGHTS.format("0.35")),
        preset="quick",
        size=128,
        views=1,
        quiet=True,
    )
    assert run.metrics["validation"]["n"] == 186 and run.metrics["test"]["n"] == 245
    assert run.metrics["test"]["accuracy"] > 0.65


def test_brain_tumor_with_its_dirt(shared, tmp_path):
    run = tlearn.finetune(
        shared / "data/brain_tumor",
        tmp_path / "run",
        backbone="mobilenet_v2_035",
        weights=str(shared / WEIGHTS.format("0.35")),
        preset="quick",
        quiet=True,
    )
    sides = run.splits()  # by content: identical copies are one entry, so on one side
    assert 200 < len(sides) <= 253
    assert not [p for p in run.problems() if p["kind"] == "unreadable"]
    assert run.metrics["validation"]["accuracy"] > 0.65


def test_imagenet_weights_from_the_keras_folder(shared, tmp_path):
    home = tmp_path / "keras"
    shutil.copytree(shared / "weights/keras", home, copy_function=shutil.copyfile)
    photos = tmp_path / "photos"
    for label in ("roses", "tulips"):
        (photos / label).mkdir(parents=True)
        for path in sorted((shared / "data/flowers" / label).iterdir())[:20]:
            shutil.copyfile(path, photos / label / path.name)
    command = [sys.executable, "-m", "tlearn", "finetune", photos, "--preset", "quick", "--json"]
    done = subprocess.run(
        [*command, "--out", tmp_path / "run"],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "KERAS_HOME": str(home)},
    )
    assert json.loads(done.stdout)["validation"]["accuracy"] > 0.6
    assert (tmp_path / "run/model.keras").is_file()
