"""Figures: what they are, how they are written, how much room they take."""

import json

import numpy as np
import pytest
import sklearn.metrics
from scipy.stats import binomtest
from sklearn.metrics import log_loss, precision_recall_fscore_support

from tlearn.metrics import METRICS, Metric
from tlearn.runs import measurement
from tlearn.runs.measurement import (
    accuracy_text,
    confused_pairs,
    interval,
    measure,
    metric_text,
    photos_missing,
    with_interval,
)
from tlearn.runs.summary import class_lines, metrics_line

LABELS = ["ant", "bee", "cat", "none"]


def found(guess, y=(0, 0, 0, 1, 1, 2), labels=LABELS):
    p = np.full((len(y), len(labels)), 0.01)
    p[np.arange(len(y)), list(guess)] = 1.0
    return measure(np.array(y), p, labels)


def test_figures_are_what_scikit_learn_says():
    y, guess = [0, 0, 0, 1, 1, 2], [0, 0, 1, 1, 1, 0]
    figures = found(guess)
    assert figures["n"] == 6 and figures["accuracy"] == pytest.approx(4 / 6)
    columns = precision_recall_fscore_support(y, guess, labels=[0, 1, 2], zero_division=0.0)
    for key, column in zip(("precision", "recall", "f1", "n"), columns, strict=True):
        assert [figures["per_class"][label][key] for label in LABELS[:3]] == pytest.approx(column)
    assert figures["macro_f1"] == pytest.approx(columns[2].mean())  # of the classes with images
    p = np.where(np.eye(4)[guess] == 1, 1.0, 0.01) / 1.03
    assert figures["log_loss"] == pytest.approx(log_loss(y, p, labels=range(4)))
    assert figures["per_class"]["none"] == {"precision": 0.0, "recall": None, "f1": None, "n": 0}
    assert figures["confusion"] == {
        "ant": {"ant": 2, "bee": 1},
        "bee": {"bee": 2},
        "cat": {"ant": 1},
        "none": {},
    }
    assert confused_pairs(figures) == [("ant", "bee", 1), ("cat", "ant", 1)]
    assert class_lines(figures) == [
        "least recognised:",
        "  cat: 0 of 1 recognised, most often taken for ant (1)",
        "  ant: 2 of 3 recognised, most often taken for bee (1)",
    ]


def test_every_metric_is_what_scikit_learn_says():
    rng, classes = np.random.default_rng(0), 8
    y = rng.integers(0, 7, 60)  # the last class has no image
    p = rng.dirichlet(np.ones(classes), 60) / 2 + np.eye(classes)[y] / 2
    p[:20] = rng.dirichlet(np.ones(classes), 20)
    figures, guess = measure(y, p, [*"abcdefgh"]), p.argmax(axis=1)
    each = [(y == k, p[:, k]) for k in range(7)]
    expected = {
        "balanced_accuracy": np.mean([(guess[y == k] == k).mean() for k in range(7)]),
        "top_5_accuracy": sklearn.metrics.top_k_accuracy_score(y, p, k=5, labels=range(classes)),
        "macro_precision": precision_recall_fscore_support(
            y, guess, labels=range(7), average="macro", zero_division=0
        )[0],
        "roc_auc": np.mean([sklearn.metrics.roc_auc_score(*one) for one in each]),
        "average_precision": np.mean([sklearn.metrics.average_precision_score(*o) for o in each]),
        "brier": np.mean([sum((p[i] - np.eye(classes)[y[i]]) ** 2) for i in range(60)]),
    }
    assert {key: figures[key] for key in expected} == pytest.approx(expected)
    low, high = figures["top_5_accuracy_ci95"]
    assert low < figures["top_5_accuracy"] < high
    one = measure(np.zeros(4, int), np.tile([0.7, 0.3], (4, 1)), ["a", "b"])
    assert one["roc_auc"] == one["average_precision"] == 1.0


def test_a_metric_is_one_entry(monkeypatch):
    extra = Metric("lucky", "luck", lambda y, p: 0.25, brief=True, form=".0%")
    monkeypatch.setattr(measurement, "METRICS", {**METRICS, "lucky": extra})
    figures = found([0, 0, 0, 1, 1, 2])
    assert figures["lucky"] == 0.25
    assert metrics_line(figures).endswith("luck 25%, 6 images")


def test_a_metric_that_an_older_run_lacks_is_left_out():
    figures = found([0, 0, 0, 1, 1, 2])
    del figures["macro_f1"]
    assert metrics_line(figures).startswith("accuracy ") and "F1" not in metrics_line(figures)


def test_a_figure_that_is_not_finite_is_said_to_be_so():
    assert metric_text(METRICS["log_loss"], {"log_loss": None}) == "not finite"


def test_of_few_photos_the_interval_comes_first():
    text = accuracy_text(13 / 14, 14)
    assert text.startswith("13 of 14 right; too few photos to be sure: 68.5% to 98.7% (")
    more = photos_missing(13 / 14, 14)
    assert f"({more} more would tell within 10%)" in text
    low, high = interval(13 / 14, 14 + more)
    assert high - low < 0.21
    assert accuracy_text(1.0, 17) == "17 of 17 right; too few photos to be sure: 81.6% to 100.0%"
    assert with_interval(1.0, 17) == "17 of 17 right (95% interval 81.6% to 100.0%)"
    assert accuracy_text(0.9, 30) == with_interval(0.9, 30) == "90.0% (95% interval 74.4% to 96.5%)"


def test_the_interval_is_what_scipy_says():
    for right, n in ((0, 1), (1, 1), (0, 40), (3, 7), (199, 200), (40, 40)):
        ci = binomtest(right, n).proportion_ci(method="wilson")
        assert interval(right / n, n) == pytest.approx([ci.low, ci.high], abs=1e-9)


def test_figures_of_a_thousand_classes_take_less_than_a_megabyte():
    rng = np.random.default_rng(0)
    y = np.repeat(np.arange(1000), 5)
    guess = np.where(rng.random(5000) < 0.5, y, rng.integers(0, 1000, 5000))
    p = np.full((5000, 1000), 1e-6, np.float32)
    p[np.arange(5000), guess] = 1.0
    figures = measure(y, p, [f"class {k}" for k in range(1000)])
    assert len(json.dumps(figures, indent=2)) < 1e6
