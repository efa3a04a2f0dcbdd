"""Each hook does what it is for, in a training on pictures that tlearn draws itself."""

import csv
import json
import random

import pytest
from PIL import Image
from tlearn_extras import calibration, gradual

import tlearn
from tlearn.backbones import load_registry, use_folder

# A single-file plugin: a network so small that training it takes a moment.
TINY = """
from tlearn.backbones import Backbone, Blocks, Preprocess, hookimpl

def build(input_shape, weights):
    import keras

    x = inputs = keras.Input(input_shape)
    for k in range(4):
        x = keras.layers.Conv2D(8, 3, 2, "same", activation="relu", name=f"conv{k}")(x)
    return keras.Model(inputs, x)

@hookimpl
def tlearn_backbones():
    blocks = Blocks.before("conv1", "conv2", "conv3")
    return Backbone(
        "tiny", "four convolutions", "none", build, 32, 32, 8, Preprocess.TF, blocks,
        finetune_from="conv1",
    )
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    place, rng = tmp_path_factory.mktemp("extras"), random.Random(0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TLEARN_CACHE", str(place / "cache"))
        patch.setenv("TLEARN_PLUGINS_DIR", "")
        (place / "plugins").mkdir()
        (place / "plugins/tiny.py").write_text(TINY)
        use_folder(place / "plugins")
        for colour in ("blue", "red"):
            (place / "photos" / colour).mkdir(parents=True)
            for i in range(12):
                picture = Image.new("RGB", (48, 48), colour)
                picture.putpixel((rng.randrange(48), rng.randrange(48)), (0, 255, 0))
                picture.save(place / "photos" / colour / f"{i}.png")
        yield tlearn.finetune(
            place / "photos", place / "run", backbone="tiny", preset="gradual", quiet=True
        )


def test_stages_go_down_and_slow_down(run):
    backbone = load_registry().get("tiny")
    _, stages = gradual.stages_for(backbone)
    assert stages[-1].unfreeze == backbone.finetune_from
    assert [s["boundary"] for s in run.metrics["stages"][1:]] == [s.unfreeze for s in stages]
    rates = [stage.learning_rate for stage in stages]
    assert rates == sorted(rates, reverse=True) and len(set(rates)) == gradual.STEPS


def test_every_epoch_is_logged(run):
    with (run.path / "epochs.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == sum(stage["epochs"] for stage in run.metrics["stages"])
    assert {row["unfreeze"] for row in rows} == {
        s["boundary"] for s in run.metrics["stages"] if s["epochs"]
    }
    assert all(float(row["loss"]) > 0 for row in rows)


def test_half_is_compared_with_the_run(run):
    folder = tlearn.export(run, "half")
    names = {"model.tflite", "metadata.json", "predict.py"}
    assert {path.name for path in folder.iterdir()} == names
    parity = json.loads((folder / "metadata.json").read_text())["parity"]
    assert parity["agreement"] == 1 and parity["largest_difference"] < 1e-2


def test_calibration_is_in_the_report(run):
    page = tlearn.report(run).read_text()
    assert "Calibration of the probabilities" in page and "<circle" in page
    sure = calibration.binned([(0.95, True)] * 19 + [(0.95, False)])
    assert calibration.error(sure) == pytest.approx(0.0)
    assert calibration.error([(0.9, 0.6, 10), (0.5, 0.5, 30)]) == pytest.approx(0.075)


def test_photos_are_sorted(run, tmp_path, capsys):
    from tlearn.cli import main

    photos = run.path.parent / "photos"
    assert main(["sort", str(run.path), str(photos), "--out", str(tmp_path / "out")]) == 0
    copied = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert len(copied) == 24 and capsys.readouterr().out.count("\n") == 24
    assert main(["sort", str(run.path), str(photos), "--out", str(tmp_path / "out")]) == 2
