"""Test-time augmentation: predictions that average several views of an image."""

import json
import zipfile

import numpy as np
import pytest
from PIL import Image

import tlearn
from tlearn.cli import main
from tlearn.config import Augmentation
from tlearn.data.file_reading import content_hash
from tlearn.data.views import Rendering
from tlearn.errors import ConfigError


@pytest.fixture
def photos_of(toy_run):
    return sorted((toy_run.photos / "blue").iterdir())[:3]


def test_the_probabilities_of_views_are_averaged(toy_run, photos_of, tmp_path):
    run = tlearn.Run(toy_run.run, precision="float32", tta=4)
    size, found = run.classifier.size, dict(run.classifier.predict([*photos_of, tmp_path / "none"]))
    rendering = Rendering(size, run.classifier.resize, Augmentation())
    for path in photos_of:
        image, content = Image.open(path).convert("RGB"), content_hash(path.read_bytes())
        plain = rendering.render(image, content, 0)
        views = [plain, plain[:, ::-1], *(rendering.render(image, content, k) for k in (2, 3))]
        expected = np.asarray(run.model(np.stack(views).astype("float32"))).mean(axis=0)
        np.testing.assert_allclose(found[path], expected, rtol=1e-3, atol=1e-5)
    assert isinstance(found[tmp_path / "none"], tlearn.DataError)


def test_more_views_than_a_batch_holds(toy_run, photos_of):
    one = tlearn.Run(toy_run.run, tta=300)
    for path, p in one.classifier.predict(photos_of):
        assert p.shape == (3,) and p.sum() == pytest.approx(1, abs=1e-2), path


def test_a_training_asks_for_views_that_its_model_remembers(photos, tmp_path, monkeypatch):
    monkeypatch.setenv("TLEARN_CACHE", str(tmp_path / "cache"))
    options = {"backbone": "toy", "weights": "none", "preset": "quick", "quiet": True}
    run = tlearn.finetune(photos, tmp_path / "run", tta=3, **options)
    with zipfile.ZipFile(run.path / "model.keras") as archive:
        assert json.loads(archive.read("tlearn.json"))["tta"] == 3
    classifier = tlearn.Run(run.path).classifier
    assert classifier.tta == 3 and tlearn.Run(run.path, tta=1).classifier.tta == 1
    for held_out in run.held_out_predictions()[:2]:
        ((_, p),) = classifier.predict([photos / held_out.file])
        assert p.max() == pytest.approx(held_out.probability, abs=1e-4)


def test_the_commands_take_the_number_of_views(toy_run, photos_of, capsys):
    answers = []
    for tta in ("1", "2"):
        path = str(photos_of[0])
        options = ["--tta", tta, "--format", "json", "--precision", "float32"]
        assert main(["predict", str(toy_run.run), path, *options]) == 0
        answers.append(json.loads(capsys.readouterr().out)["probability"])
    assert answers[0] != answers[1]
    assert main(["evaluate", str(toy_run.run), str(toy_run.photos), "--tta", "2"]) == 0
    assert main(["predict", str(toy_run.run), path, "--tta", "0"]) == 2
    assert "tta: must be at least 1" in capsys.readouterr().err
    with pytest.raises(ConfigError, match="tta: must be at least 1"):
        tlearn.Run(toy_run.run, tta=0)
