"""The benchmark of quality: its statistics where the truth is known, its rows, its baselines."""

import json
import sys

import keras
import numpy as np
import pytest

from benchmarks import __main__, keras_baselines, quality
from benchmarks.paired import difference
from tlearn.data.scan import scan
from tlearn.data.splits import draw_splits
from tlearn.runs.predictions import read_predictions

# Of sets like those of shared/: photos, tested photos, and whether these are always the same.
SETS = ((400, 80, False), (120, 120, True), (125, 25, False), (500, 100, False), (90, 90, True))
SEEDS = 3


def simulate(rng, advantage):
    """Return which photos two methods are right about, as photos, trainings and both vary."""
    methods = ({}, {})
    for number, (photos, tested, given) in enumerate(SETS):
        easy = rng.normal(1.3, 1, photos)
        of_photo = rng.normal(0, 0.3, (2, photos))
        for seed in range(SEEDS):
            chosen = np.arange(photos) if given else rng.permutation(photos)[:tested]
            for k, method in enumerate(methods):
                margin = easy[chosen] + of_photo[k, chosen] + rng.normal(0, 0.1) + k * advantage
                right = margin + rng.normal(0, 0.3, tested) > 0
                of_seeds = method.setdefault(str(number), {})
                of_seeds[seed] = dict(zip(chosen.tolist(), right.tolist(), strict=True))
    return methods


def test_a_difference_that_is_not_there_is_seen_as_seldom_as_promised():
    rng = np.random.default_rng(0)
    results = [difference(*simulate(rng, 0.0)) for _ in range(400)]
    for p in ([r.p for r in results], [r.p_at_large for r in results]):
        assert 0.02 < np.mean(np.array(p) < 0.05) < 0.08  # 0.05 with a standard error of 0.011
    covered = [abs(r.mean) < r.half for r in results]
    assert 0.92 < np.mean(covered) < 0.98


def test_a_difference_that_is_there_is_seen():
    rng = np.random.default_rng(0)
    results = [difference(*simulate(rng, 0.4)) for _ in range(40)]
    assert all(r.mean < 0 for r in results)  # the second is better
    assert np.mean([r.p < 0.05 for r in results]) > 0.9


def test_differences_without_variance_or_in_common():
    one = {"a": {0: {"x": True, "y": False}}}
    single = difference(one, {"a": {0: {"x": True, "y": True}}})
    assert single.sets == {"a": -0.5} and np.isnan([single.half, single.p, single.p_at_large]).all()
    seeds = {"a": {0: {"x": True}, 1: {"x": True}}}
    assert difference(seeds, seeds).p == 1.0
    for other, message in (
        ({"b": one["a"]}, "in common"),
        ({"a": {0: {"z": True}}}, "photos of 'a'"),
    ):
        with pytest.raises(ValueError, match=message):
            difference(one, other)


@pytest.mark.parametrize("excess", [0.0, 0.1])
def test_the_calibration_error_has_no_bias(excess):
    rng = np.random.default_rng(0)
    p = rng.uniform(0.5, 1, (300, 50))
    right = rng.random(p.shape) < p - excess
    errors = list(map(quality.squared_calibration, p, right.astype(float)))
    assert np.mean(errors) == pytest.approx(excess**2, abs=3 * np.std(errors) / np.sqrt(300))


def test_trainings_are_repeated_only_when_something_changed(photos, tmp_path, monkeypatch, capsys):
    calls = []

    def train(row, manifest, splits):
        calls.append((row["set"], row["seed"], row["method"]))
        right = {f"{i}": int(i >= len(row["method"])) for i in range(20)}
        losses = {photo: 1.0 - one / 2 for photo, one in right.items()}
        figures = {"calibration": 0.0004, "cpu_seconds": 3.0, "right": right, "losses": losses}
        means = (float(np.mean(list(scores.values()))) for scores in (right, losses))
        return figures | dict(zip(("accuracy", "log_loss"), means, strict=True))

    def run(*options):
        calls.clear()
        arguments = ["quality", "--data", photos, "--out", tmp_path / "figures.json", *options]
        monkeypatch.setattr(sys, "argv", ["benchmarks", *map(str, arguments)])
        __main__.main()
        return capsys.readouterr().out

    monkeypatch.setattr(quality, "train", train)
    methods = ("--methods", "balanced", "quick", "linear")
    out = run(*methods)
    assert len(calls) == 9 and calls[0] == ("photos", 0, "balanced")
    assert "| `quick` | 0.750 | 0.750 | 0.625 | 0.020 | 3 |" in out
    assert "| `quick` | +15.0 [-1.1, +31.1] | 1, 0 | 0.067 | ? |" in out
    assert "| `quick` | -0.075 [-0.155, +0.005] | 1, 0 | 0.067 | ? |" in out
    assert run(*methods).split("Seeds")[1] == out.split("Seeds")[1] and not calls
    run(*methods, "--final")
    assert {seed for _, seed, _ in calls} == {100, 101, 102} and len(calls) == 9
    run(*methods, "--backbone", "toy")
    assert {method for *_, method in calls} == {"balanced", "quick"}
    run("--methods", "quick", "--seeds", "0", "--rerun")
    assert len(calls) == 1
    monkeypatch.setattr(quality, "digest_of_code", lambda of_baseline: "another")
    out = run("--methods", "quick", "--before", str(tmp_path / "figures.jsonl"))
    assert len(calls) == 3 and "| `quick before` |" in out
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert [row["method"] for row in figures["quality"]["rows"]] == 3 * ["quick"] + 3 * [
        "quick before"
    ]


@pytest.mark.parametrize(
    "options",
    [
        ["x"],
        ["--out", "missing/x"],
        ["--sets", "missing"],
        ["--data", "."],
        ["--before", "missing"],
    ],
)
def test_wrong_arguments_are_refused(options, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["benchmarks", "quality", *options])
    with pytest.raises(SystemExit):
        __main__.main()
    assert "error: " in capsys.readouterr().err


def test_the_baselines_learn_and_predict_every_held_out_photo(photos, tmp_path, monkeypatch):
    def build_base(arguments):
        inputs = keras.Input((arguments.size, arguments.size, 3))
        x = keras.layers.Conv2D(16, 1)(inputs)
        return keras.Model(inputs, keras.layers.BatchNormalization()(x))

    monkeypatch.setattr(keras_baselines, "build_base", build_base)
    splits = draw_splits(scan(photos), 0.2, 0.2, 0)[0]
    (tmp_path / "splits.csv").write_text("".join(splits.csv_parts()))
    for name, epochs in {"plain": 1, "linear": 1, "onecycle": 60}.items():
        table = tmp_path / f"{name}.csv"
        options = ["--size", "16", "--epochs", str(epochs), "--from", "1"]
        arguments = [name, str(photos), str(tmp_path / "splits.csv"), str(table), *options]
        monkeypatch.setattr(sys, "argv", ["keras_baselines", *arguments])
        keras_baselines.main()
        predictions = read_predictions(table.read_text())
        held_out = {file.name: file.label for file in (*splits.validation, *splits.test)}
        assert {p.file: p.label for p in predictions} == held_out
        for p in predictions:
            assert (p.probability == p.probability_of_label) == p.correct
        if name != "plain":  # which learns in its ten epochs, with trained weights
            assert np.mean([p.correct for p in predictions]) > 0.8
