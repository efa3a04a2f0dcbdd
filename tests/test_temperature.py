"""Temperature: on labels drawn from probabilities that are known."""

import numpy as np
import pytest

from tlearn.training.regression import log_loss, probabilities
from tlearn.training.temperature import temperature_of


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
