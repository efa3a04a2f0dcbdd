"""Photos of other kinds: how often known ones are called unknown, and that others are found."""

import csv
import io
import json
import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import tlearn
from tlearn.cli import main
from tlearn.errors import ConfigError, RunError
from tlearn.runs.classifier import ModelOutputs
from tlearn.runs.outputs import Outputs
from tlearn.runs.predictions import Prediction, prediction_columns
from tlearn.runs.unknown import MOST_COMPARED, UnknownDetector, unknown_lines

CLASSES, WIDTH = 3, 20


def drawn(rng, n, shift=0.0):
    """Return probabilities and features of ``n`` photos of three classes, or shifted away."""
    centres = 4 * np.eye(CLASSES, WIDTH)
    y = rng.integers(0, CLASSES, n)
    features = centres[y] + rng.normal(size=(n, WIDTH)) + shift * rng.choice([-1, 1], (n, WIDTH))
    logits = features[:, :CLASSES]
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return ModelOutputs(p.astype(np.float32), features.astype(np.float32)[:, None])


def outputs_of(rng, **counts):
    """Return outputs of a run with so many photos by split."""
    parts = {split: drawn(rng, n) for split, n in counts.items()}
    splits = np.concatenate([[split] * n for split, n in counts.items()])
    names = np.array([f"{i}.png" for i in range(len(splits))])
    joined = (np.concatenate(column) for column in zip(*parts.values(), strict=True))
    return Outputs(names, splits, np.full(len(names), "a"), *joined)


def test_known_photos_are_called_unknown_as_rarely_as_stated():
    rng = np.random.default_rng(0)
    for n, reject in ((19, 0.05), (60, 0.05), (60, 0.2), (200, 0.02)):
        rates, inside = [], []
        for _ in range(150):
            detector = UnknownDetector(outputs_of(rng, train=100, validation=n))
            record = detector.record(outputs_of(rng, test=1), reject)
            scores = detector.strangeness(drawn(rng, 400)).scores
            rates.append((scores > detector.threshold(reject)).mean())
            low, high = record["expected_ci95"]
            inside.append(low - 0.01 <= rates[-1] <= high + 0.01)
        assert record["expected"] <= reject + 1e-9
        assert np.mean(rates) == pytest.approx(record["expected"], abs=0.012), (n, reject)
        assert np.mean(inside) > 0.9


def test_a_few_photos_give_a_threshold_that_is_about_right():
    rng = np.random.default_rng(1)
    rates = []
    for _ in range(200):
        detector = UnknownDetector(outputs_of(rng, train=60, validation=8))
        scores = detector.strangeness(drawn(rng, 100)).scores
        rates.append((scores > detector.threshold(0.05)).mean())
    assert 0.02 < np.mean(rates) < 0.1
    record = detector.record(outputs_of(rng, test=40))
    assert record["expected"] is None and record["test"]["images"] == 40
    (line,) = unknown_lines({"unknown": record | {"images": 2, "test": None}})
    assert line == "unknown: no photo will be called so: it takes 3 validation photos or more"
    (line,) = unknown_lines({"unknown": record})
    assert "8 validation photos are too few to be sure" in line and "of the 40 test photos" in line


def test_photos_of_other_kinds_are_found():
    rng = np.random.default_rng(2)
    detector = UnknownDetector(outputs_of(rng, train=300, validation=100))
    strange = detector.strangeness(drawn(rng, 200, shift=3.0))
    known = detector.strangeness(drawn(rng, 200))
    assert (strange.scores > detector.threshold(0.05)).mean() > 0.95
    assert np.median(strange.distances) > 1.5 > 1.2 > np.median(known.distances) > 0.9


def test_there_may_be_few_photos_copies_of_them_or_very_many():
    rng = np.random.default_rng(3)
    for train, validation in ((2, 1), (1, 3), (4, 2)):
        detector = UnknownDetector(outputs_of(rng, train=train, validation=validation))
        strange = detector.strangeness(drawn(rng, 3))
        assert np.isfinite(strange.scores).all()
        assert (strange.distances > 0).all()
        assert math.isinf(detector.threshold(0.05)) == (validation < 3)
    same = outputs_of(rng, train=30, validation=30)
    same.features[:] = 1
    assert np.isfinite(UnknownDetector(same).strangeness(drawn(rng, 3)).scores).all()
    assert (
        UnknownDetector(
            outputs_of(rng, train=MOST_COMPARED + 9, validation=MOST_COMPARED + 9)
        ).images
        == MOST_COMPARED
    )
    with pytest.raises(ConfigError, match=r"reject must be from 0 to 0\.5\. Received: 0\.7"):
        detector.threshold(0.7)
    assert detector.threshold(0) == math.inf


def test_a_prediction_says_that_it_is_unknown():
    ranked = (("daisy", 0.43), ("rose", 0.3))
    odd = Prediction(Path("a.png"), ranked, "", True, 1.234567)
    assert odd.text == "unknown, most like daisy  43.0%  rose  30.0%"
    assert Prediction.from_json(odd.to_json()) == odd
    cells = dict(zip(prediction_columns(1), odd.cells(1), strict=True))
    assert cells == {
        "path": "a.png",
        "label_1": "daisy",
        "probability_1": 0.43,
        "unknown": 1,
        "distance": 1.235,
        "problem": "",
    }
    assert Prediction(Path("a.png"), (), "damaged").cells(1)[-3:] == ["", "", "damaged"]


def test_the_command_calls_photos_unknown(toy_run, tmp_path, capsys):
    run = tlearn.Run(toy_run.run)
    assert run.metrics["unknown"]["images"] == run.metrics["validation"]["n"]
    stripes = np.zeros((36, 40, 3), np.uint8)
    stripes[:, ::4] = 255
    Image.fromarray(stripes).save(tmp_path / "stripes.png")
    (tmp_path / "text.png").write_text("text")
    command = ["predict", str(toy_run.run), str(tmp_path), str(toy_run.photos / "red"), "--quiet"]
    assert main([*command, "--format", "csv", "--reject", "0.3"]) == 0
    first, second, *others = csv.DictReader(io.StringIO(capsys.readouterr().out))
    assert first["unknown"] == "1" and float(first["distance"]) > 2
    assert second["problem"] and second["unknown"] == ""
    assert sum(row["unknown"] == "1" for row in others) < 6
    assert main([*command, "--reject", "0"]) == 0
    assert "unknown" not in capsys.readouterr().out
    assert main([*command, "--format", "json"]) == 0
    record = json.loads(capsys.readouterr().out.splitlines()[0])
    assert record["unknown"] and record["distance"] == pytest.approx(float(first["distance"]), 0.01)
    assert main([*command, "--reject", "0.6"]) == 2


def test_without_outputs_it_is_said_what_to_do(toy_run_copy):
    (toy_run_copy.run / "outputs.npz").unlink()
    run = tlearn.Run(toy_run_copy.run)
    with pytest.raises(RunError, match=r"outputs\.npz .* is missing or damaged.*--reject 0"):
        run.predict(toy_run_copy.photos)
    assert not any(p.unknown for p in run.predict(toy_run_copy.photos, reject=0))
