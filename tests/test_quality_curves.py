"""Curves of how a classifier ranks, compared with scikit-learn; calibration; their charts."""

import numpy as np
import pytest
from sklearn.metrics import (
    average_precision_score,
    precision_recall_curve as reference_precision,
    roc_auc_score,
    roc_curve as reference_roc,
)
from test_charts import DARK, WHITE, luminance, texts

from tlearn.runs import charts, quality_charts
from tlearn.runs.quality_curves import (
    average,
    calibration_error,
    curves_of_classes,
    precision_recall_curve,
    reliability,
    roc_curve,
)

pytestmark = pytest.mark.charts


def outputs(n=300, classes=4, seed=0):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, classes, n)
    logits = rng.normal(size=(n, classes)) + 1.5 * np.eye(classes)[y]
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return y, p.round(2)  # so that many are equal


def test_curves_are_those_of_scikit_learn():
    y, p = outputs()
    for k in range(p.shape[1]):
        roc = roc_curve(y == k, p[:, k])
        alarms, hits, _ = reference_roc(y == k, p[:, k], drop_intermediate=False)
        np.testing.assert_allclose((roc.x, roc.y), (alarms, hits))
        assert roc.area == pytest.approx(roc_auc_score(y == k, p[:, k]))
        ours = precision_recall_curve(y == k, p[:, k])
        precision, recall, _ = reference_precision(y == k, p[:, k])
        np.testing.assert_allclose(ours.x[1:], recall[:-1][::-1])
        np.testing.assert_allclose(ours.y[1:], precision[:-1][::-1])
        assert ours.area == pytest.approx(average_precision_score(y == k, p[:, k]))


def test_the_mean_curve_has_the_mean_area():
    y, p = outputs(2000)
    for kind, steps in (("roc", False), ("precision_recall", True)):
        curves = list(curves_of_classes(y, p, kind).values())
        mean = average(curves, steps)
        under = np.trapezoid(mean.y, mean.x)
        assert mean.area == pytest.approx(np.mean([c.area for c in curves]))
        assert under == pytest.approx(mean.area, abs=0.01)
    assert curves_of_classes(np.zeros(5, int), p[:5], "roc") == {}
    assert list(curves_of_classes(np.array([0, 2]), p[:2], "roc")) == [0, 2]


def test_probabilities_are_off_by_what_they_are_off():
    rng = np.random.default_rng(0)
    p = rng.uniform(0.3, 1, 50_000)
    for truth, error in ((p, 0.0), (p - 0.2, 0.2)):
        bins = reliability(p, rng.random(len(p)) < truth)
        assert calibration_error(bins) == pytest.approx(error, abs=0.015)
        assert sum(one.images for one in bins) == len(p) and len(bins) == 7
    (one,) = reliability(np.ones(3), np.array([True, True, False]))
    assert (one.images, one.probability, one.right) == (3, 1.0, pytest.approx(2 / 3))


def test_colours_of_classes_stand_out_in_light_and_dark():
    for colour in quality_charts.PALETTE:
        for background in (DARK, WHITE):
            low, high = sorted(map(luminance, (colour, background)))
            assert (high + 0.05) / (low + 0.05) >= 3, (colour, background)
    assert len(set(quality_charts.class_colours(100))) == 100


def test_of_many_classes_the_worst_are_named():
    y, p = outputs(600, 30)
    curves = {f"class <{k}>": c for k, c in curves_of_classes(y, p, "roc").items()}
    chart = quality_charts.ranking(curves, average(list(curves.values()), False), "x", "y", False)
    found = texts(charts.render(chart)["svg"])
    worst = sorted(curves, key=lambda name: curves[name].area)[: quality_charts.NAMED]
    named = [text for text in found if text.startswith("class <")]
    assert [name.split(" (")[0] for name in named] == worst
    assert quality_charts.EVERY in found
