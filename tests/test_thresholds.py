"""What is answered from a probability upwards, and how right that is."""

import numpy as np
import pytest

import tlearn
from tlearn.runs.charts import render
from tlearn.runs.outputs import Outputs
from tlearn.runs.threshold_chart import threshold_chart
from tlearn.runs.thresholds import Answers

pytestmark = pytest.mark.charts

LABELS = ("ant", "bee")
TRUE = ("ant", "ant", "ant", "bee")
ANT = np.array([0.9, 0.6, 0.3, 0.2])


@pytest.fixture
def outputs():
    probabilities = np.stack([ANT, 1 - ANT], axis=1)
    files = np.arange(4).astype(str)
    return Outputs(files, np.full(4, "test"), np.array(TRUE), probabilities, np.zeros((4, 2)))


def test_over_all_classes_the_likeliest_is_the_answer(outputs):
    answers = Answers.of(outputs, LABELS)
    every, sure, none = (answers.at(threshold) for threshold in (0.0, 0.75, 0.95))
    assert (every.answered, every.right, every.images) == (4, 3, 4)
    assert every.precision.value == every.recall.value == 0.75
    assert (sure.answered, sure.right) == (2, 2) and sure.recall.value == 0.5
    assert none.precision is None and none.recall.value == 0.0


def test_one_class_is_answered_wherever_it_is_likely_enough(outputs):
    answers = Answers.of(outputs, LABELS, "ant")
    low = answers.at(0.25)
    assert (low.answered, low.right, low.images) == (3, 3, 3)
    assert answers.at(0.0).precision.value == 0.75
    assert answers.at(0.9).recall.value == pytest.approx(1 / 3)


def test_the_curve_has_no_precision_where_nothing_is_answered(toy_run):
    run = tlearn.Run(toy_run.run)
    curve = Answers.of(run.outputs().of_split("validation"), run.labels).curve()
    recalls = [row["value"] for row in curve if row["quantity"] == "recall"]
    assert len(recalls) == 101 and recalls == sorted(recalls, reverse=True)
    assert len(curve) <= 202 and all(0 <= row["value"] <= 1 for row in curve)
    svg = render(threshold_chart(curve, 0.5))["svg"].decode()
    assert ">precision<" in svg and ">least probability<" in svg
