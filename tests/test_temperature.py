"""Temperature: on labels drawn from probabilities that are known."""

import numpy as np
import pytest

from tlearn.runs.temperature_effect import calibration_lines, calibration_of, reliability_in
from tlearn.training.regression import log_loss, probabilities
from tlearn.training.temperature import cross_fitted, temperature_of


def drawn(rng, images, classes=5):
    """Labels, and the logits that they are drawn from."""
    logits = 2.5 * rng.standard_normal((images, classes))
    cumulated = probabilities(logits).cumsum(axis=1)
    return (rng.random((images, 1)) > cumulated).sum(axis=1), logits


@pytest.mark.parametrize("images", [20, 60, 200, 1000])
def test_it_helps_where_logits_are_off_and_hardly_hurts_where_they_are_right(images):
    rng = np.random.default_rng(images)
    for factor in (0.6, 1.0, 1.6):
        gains = []
        for _ in range(100):
            (y, logits), (new, of_new) = drawn(rng, images), drawn(rng, 2000)
            t = temperature_of(y, [factor * logits])
            before, after = (log_loss(new, probabilities(factor * of_new / s)) for s in (1.0, t))
            gains.append(before - after)
        if factor == 1.0:
            assert np.mean(gains) > -0.006
        else:
            assert np.mean(gains) > 0


def test_many_images_give_it_back_and_few_right_ones_change_little():
    y, logits = drawn(np.random.default_rng(0), 20_000)
    assert temperature_of(y, [3 * logits]) == pytest.approx(3, rel=0.05)
    right = np.array([0, 1, 2])
    assert 0.8 < temperature_of(right, [4 * np.eye(3)]) < 1
    assert temperature_of(right, [np.zeros((3, 3))]) == pytest.approx(1, abs=0.01)


def test_calibration_is_measured_without_the_images_it_was_fitted_on():
    rng = np.random.default_rng(2)
    y, logits = drawn(rng, 3000)
    wrong, folds = [3 * logits], rng.integers(0, 5, len(y))
    after = cross_fitted(y, wrong, [1.0], folds)
    t = temperature_of(y[folds != 2], [wrong[0][folds != 2]])
    np.testing.assert_allclose(after[folds == 2], probabilities(wrong[0][folds == 2] / t))
    record = calibration_of(y, probabilities(wrong[0]), after, temperature_of(y, wrong))
    assert record["before"]["error"] > 2 * record["after"]["error"]
    assert record["after"]["log_loss"] < record["before"]["log_loss"]
    (line,) = calibration_lines({"calibration": record})
    assert "temperature 2.8" in line and "on 3,000 validation images" in line
    bins = reliability_in({"calibration": record}, "after")
    assert sum(one.images for one in bins) == 3000 and reliability_in({}, "after") == []
    assert calibration_lines({"calibration": {}}) == []
