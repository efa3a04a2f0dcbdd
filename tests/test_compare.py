"""Comparing backbones: the ranking, what is noise, what is kept, what is left behind."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.stats import binom

import tlearn
from tlearn.cli import main
from tlearn.errors import BackboneError, DataError, RunError
from tlearn.experiments import candidates
from tlearn.experiments.backbone_comparison import compare
from tlearn.experiments.candidates import CandidateResult
from tlearn.experiments.ranking import Comparison
from tlearn.runs.measurement import LEVEL, holm
from tlearn.training import costs
from tlearn.training.costs import Throughput

pytestmark = pytest.mark.charts

BLIND = """
from dataclasses import replace
from tlearn.backbones import hookimpl
from tlearn_toy import BACKBONE

def build(input_shape, weights):
    import keras
    model = BACKBONE.build(input_shape, weights)
    for layer in model.layers:
        if "conv" in layer.name:
            layer.kernel.assign(layer.kernel * 0)
    return model

@hookimpl
def tlearn_backbones():
    return replace(BACKBONE, name="blind", build=build)
"""
QUICK = {"weights": "none", "quiet": True}


@pytest.fixture
def blind(plugin_file):
    """Install a backbone that sees nothing."""
    return plugin_file("blind", BLIND)


@pytest.fixture
def quick(monkeypatch):
    """Measure rates briefly."""
    for module in ("training.costs", "experiments.candidates"):
        monkeypatch.setattr(f"tlearn.{module}.BENCHMARK_SECONDS", 0.01)


def result(name, right, positions=None, rate=100.0, seconds=10.0, sure=True):
    right = np.asarray(right, bool)
    positions = np.arange(len(right)) if positions is None else np.asarray(positions)
    return CandidateResult(name, positions, right, 0.5, "top", rate, sure, 1000, seconds, 1.0, 3, 3)


def compared(*results):
    return Comparison(Path("photos"), results, {}, False, Path("out"))


def test_the_better_is_first_and_what_is_computed_is_kept(photos, tmp_path, blind, quick):
    found = compare(photos, tmp_path / "out", backbones=["blind", "toy"], **QUICK)
    assert [j.backbone for j in found.ranking] == ["toy", "blind"]
    assert found.ranking[0].accuracy > 0.9 and found.ranking[1].accuracy < 0.6
    assert found.best == found.recommended == "toy" and found.tied == ["toy"]
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"comparison.json", "comparison.png", "comparison.svg"}
    record = json.loads((tmp_path / "out/comparison.json").read_text())
    assert record["backbones"] == found.rows() and record["recommended"] == "toy"
    assert record["backbones"][0]["images"] == 28  # of 36: those of the training split
    assert record["backbones"][0]["parameters"] > 1000
    assert record["backbones"][0]["finetune_seconds"] > 0
    assert "toy is significantly more accurate than the others (p < 0.05, adj" in found.table()
    svg = (tmp_path / "out/comparison.svg").read_text()
    assert ">toy<" in svg and ">blind<" in svg

    again = compare(photos, tmp_path / "again", backbones=["toy"], **QUICK).ranking[0]
    assert again.log_loss == found.ranking[0].log_loss
    np.testing.assert_array_equal(again.right, found.ranking[0].right)
    options = {"backbone": "toy", "views": 2, "stages": "none:2"}
    run = tlearn.finetune(photos, tmp_path / "run", **options, **QUICK)
    events = [json.loads(line) for line in (run.path / "events.jsonl").read_text().splitlines()]
    (computed,) = [e["computed"] for e in events if e["event"] == "activations"]
    assert computed == 28 + 8  # the second views, and those of validation


def test_one_that_fails_is_named_and_costs_the_others_nothing(photos, tmp_path, blind, quick):
    (tmp_path / "plugins/far.py").write_text(
        BLIND.replace("blind", "far").replace("    import keras", "    raise OSError('no network')")
    )
    found = compare(photos, tmp_path / "out", backbones=["far", "blind"], **QUICK)
    assert [j.backbone for j in found.ranking] == ["blind"]
    assert "no network" in found.skipped["far"]
    assert "far                not compared: " in found.table()
    assert "only one backbone was compared" in found.table()


def test_if_none_can_be_had_nothing_is_left_behind(photos, tmp_path):
    with pytest.raises(BackboneError, match="no backbone could be compared: toy: the weights"):
        compare(photos, tmp_path / "deep/out", backbones=["toy"], quiet=True)
    assert list((tmp_path / "deep").iterdir()) == []


def test_too_few_images_are_an_error(photos, tmp_path):
    for photo in list((photos / "red").iterdir())[1:]:
        photo.unlink()
    with pytest.raises(DataError):
        compare(photos, tmp_path / "out", backbones=["toy"], **QUICK)
    assert not (tmp_path / "out").exists()


def test_what_exists_is_not_touched(photos, tmp_path):
    with pytest.raises(RunError, match="exists already"):
        compare(photos, tmp_path, backbones=["toy"], **QUICK)


def test_stopping_keeps_what_is_known(photos, tmp_path, blind, quick, monkeypatch):
    real = candidates._evaluate

    def evaluate(setup, backbone, *rest):
        if backbone == "toy":
            raise KeyboardInterrupt
        return real(setup, backbone, *rest)

    monkeypatch.setattr(candidates, "_evaluate", evaluate)
    found = compare(photos, tmp_path / "out", backbones=["blind", "toy"], **QUICK)
    assert found.stopped and found.best == "blind"
    assert found.skipped == {"toy": "stopped before"}
    with pytest.raises(KeyboardInterrupt):
        compare(photos, tmp_path / "none", backbones=["toy"], **QUICK)
    assert not (tmp_path / "none").exists()


def test_through_the_command_line(photos, tmp_path, quick, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = ["--backbones", "toy", "--weights", "none", "--quiet"]
    assert main(["compare", str(photos), *options]) == 0
    out = capsys.readouterr().out
    assert "  toy" in out and "95% interval" in out
    assert "* no other" not in out  # there is no other
    assert out.endswith(f"next: tlearn finetune {photos} --weights none --backbone toy\n")
    assert (tmp_path / "comparisons/photos/comparison.svg").exists()
    assert main(["compare", str(photos), *options, "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["best"] == "toy" and (tmp_path / "comparisons/photos-2").exists()


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--backbones", "tyo"], "no backbone is called 'tyo'"),
        (["--preset", "nonsense"], "no preset is called 'nonsense'"),
        (["--time-budget", "soon"], "time_budget: must be a number of seconds"),
        (["--out", "."], "exists already"),
    ],
)
def test_slips_are_refused_in_one_line(photos, capsys, options, reason):
    assert main(["compare", str(photos), *options]) == 2
    out, err = capsys.readouterr()
    assert not out and reason in err and err.count("\n") == 1


def test_noise_is_told_from_difference():
    same, better = [True] * 60 + [False] * 40, [True] * 72 + [False] * 28
    found = compared(result("a", better, seconds=30), result("b", same), result("c", same[::-1]))
    assert found.best == "a"
    # 12 images that one is right about and the other is not: 2 * 0.5 ** 12, for three pairs, or
    # for the two that are left if the other pair is surer
    assert found.p_values["b"] in (pytest.approx(3 * 2 * 0.5**12), pytest.approx(2 * 2 * 0.5**12))
    assert found.tied == ["a"] or found.p_values["c"] >= 0.05
    close = compared(result("a", [True] * 61 + [False] * 39, seconds=30), result("b", same))
    assert close.p_values == {"b": 1.0} and close.tied == ["a", "b"]
    assert close.best == "a" and close.recommended == "b"
    assert "is significant (p >= 0.05, adjusted); of these b is the quickest" in close.table()


@pytest.mark.parametrize("count", [2, 4, 15])
def test_of_equal_backbones_any_is_called_worse_in_at_most_one_of_twenty_comparisons(count):
    """Answers are correlated: some images are hard for all.

    Were the values adjusted over the pairs with the best alone, it would be up to three of twenty.
    """
    rng = np.random.default_rng(count)
    comparisons, wrong = 300, 0
    for _ in range(comparisons):
        difficulty = rng.normal(size=(1, 400))
        right = difficulty + rng.normal(size=(count, 400)) < 1.2
        results = [result(str(k), row) for k, row in enumerate(right)]
        wrong += len(compared(*results).tied) < count
    # What happens in 5% of all happens in more than this of 300 once in a thousand times.
    assert wrong <= binom.ppf(0.999, comparisons, LEVEL)


def test_what_is_better_is_found():
    rng = np.random.default_rng(0)
    bounds = np.array([[1.2], [1.2], [1.2], [2.0]])
    right = rng.normal(size=(1, 1000)) + rng.normal(size=(4, 1000)) < bounds
    found = compared(*(result(name, row) for name, row in zip("abcd", right, strict=True)))
    assert found.tied == ["d"]


def test_values_are_adjusted_as_holm_has_it():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0] and holm([]) == []


def test_an_unsure_speed_is_said_to_be_so():
    table = compared(result("a", [True] * 9, sure=False)).table()
    assert "the machine was busy" in table
    assert "busy" not in compared(result("a", [True] * 9)).table()


@pytest.mark.parametrize(
    ("rates", "load", "expected"),
    [
        ([90.0, 100.0], 0.05, Throughput(100.0, True)),
        ([50.0, 100.0, 95.0, 60.0], 0.05, Throughput(100.0, True)),
        ([6.0, 51.0, 14.0, 20.0], 0.05, Throughput(51.0, False)),
        ([100.0, 100.0], 0.5, Throughput(100.0, False)),
    ],
)
def test_a_speed_is_measured_again_where_trials_disagree(monkeypatch, rates, load, expected):
    trials = iter(rates)
    monkeypatch.setattr(costs, "_trial", lambda activations, items: next(trials))
    monkeypatch.setattr(costs.OtherLoad, "share", lambda self: load)
    kept = SimpleNamespace(compute_views=lambda items, outputs: [])
    assert costs.throughput(kept, []) == expected
    assert not list(trials)


def test_a_comparison_on_some_of_the_classes_says_so():
    every = [result("one", [True, True]), result("other", [True, False])]
    assert "classes" not in compared(*every).table()
    some = [replace(one, all_classes=1000) for one in every]
    line = "training images, of 3 of the 1,000 classes alone; validation and test were not used"
    assert line in compared(*some).table()


def test_only_images_that_both_saw_are_paired():
    one = result("a", [True] * 30, positions=range(30))
    other = result("b", [False] * 10, positions=range(25, 35))
    assert compared(one, other).p_values["b"] == pytest.approx(2 * 0.5**5)


def test_the_frontier_is_what_no_other_beats():
    some = [
        result("quick", [True, False, False, False], rate=900),
        result("middle", [True, True, False, False], rate=500),
        result("dull", [True, False, False, False], rate=300),
        result("good", [True, True, True, False], rate=10),
        result("slow", [True, True, True, False], rate=5),
    ]
    assert compared(*some).frontier == ["quick", "middle", "good"]


def test_in_little_time_the_slowest_are_left_out(monkeypatch):
    rates = {"quick": 1000.0, "middle": 100.0, "slow": 2.0}
    monkeypatch.setattr(candidates, "speed_of", lambda name: Throughput(rates[name], True))
    monkeypatch.setattr(candidates.time, "monotonic", lambda: 0.0)
    setup = SimpleNamespace(
        of=lambda name: name, remaining_seconds=10.0, splits=SimpleNamespace(labels=("a", "b"))
    )
    kept, many, lost = candidates._affordable(setup, list(rates), 5000)
    assert set(kept) == {"quick", "middle"} and set(lost) == {"slow"}
    each = 1 / 1000 + 1 / 100 + 2 * candidates.PROBING / 1000
    assert many == pytest.approx(10 / each, abs=1)
    setup.remaining_seconds = 1e6
    kept, many, lost = candidates._affordable(setup, list(rates), 5000)
    assert set(kept) == set(rates) and many == 5000 and not lost


def test_the_interval_of_a_judgement_is_of_the_images_counted():
    record = compared(result("a", [True] * 9 + [False])).rows()[0]
    low, high = record["accuracy_ci95"]
    assert record["images"] == 10 and low < 0.9 < high
    assert replace(result("a", [True]), log_loss=1.0).accuracy == 1.0
