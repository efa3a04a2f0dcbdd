"""Fine-tuning is left out where validation could not show that it improves on the probe."""

import numpy as np
import pytest

import tlearn
from tlearn.training.cross_validation import CrossValidation
from tlearn.training.headroom import expected_error, has_headroom

OPTIONS = {"backbone": "toy", "weights": "none"}


def estimate(accuracy, folds):
    return CrossValidation(0.01, accuracy, 0.1, np.arange(folds), np.zeros(folds, np.int64), 0.01)


def test_the_expected_error_counts_every_photo_measured_on_once():
    assert expected_error(estimate(0.98, 300), 0.96, 100) == pytest.approx((6 + 4) / 400)
    assert expected_error(estimate(0.0, 0), 0.9, 50) == pytest.approx(0.1)  # none were held out


def test_without_headroom_an_improvement_would_not_be_seen():
    # Fine-tuning that mends half of the probe's errors and makes no new one, at its best.
    rng = np.random.default_rng(0)
    for error in (0.002, 0.005, 0.01, 0.0149):
        for images in (20, 60, 150, 250, 500, 1000, 5000):
            mended = rng.binomial(images, error / 2, 4000)
            # A sign test: so many photos that only the new network gets right.
            seen = (0.5**mended < 0.05).mean()
            if has_headroom(error, images):
                assert error * images >= 4 and seen > 0.05
            else:
                assert seen < 0.06
    # A half of more than that is a point or more, and is looked for even where it cannot be seen.
    assert has_headroom(0.015, 1)


def test_the_default_stops_at_a_probe_that_is_right_and_says_so(photos, tmp_path, capsys):
    run = tlearn.finetune(photos, tmp_path / "auto", **OPTIONS)
    assert [stage["name"] for stage in run.metrics["stages"]] == ["probe"]
    shown = capsys.readouterr().err
    assert "if the probe leaves little to improve)" in shown
    assert "an improvement could hardly be seen" in shown
    for name, named in {"preset": {"preset": "balanced"}, "stages": {"stages": "1:1"}}.items():
        run = tlearn.finetune(photos, tmp_path / name, **OPTIONS, **named, quiet=True)
        assert len(run.metrics["stages"]) == 2
