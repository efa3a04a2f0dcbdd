"""The probe of a set with more images than its strength is chosen on."""

import numpy as np
import pytest

from tlearn.errors import BackboneError
from tlearn.progress import Silent
from tlearn.training import regression
from tlearn.training.large_sets import refit
from tlearn.training.probe import PER_CLASS, fit_probe, sample, sample_of_classes

CLASSES, WIDTH = 12, 60


def photos(n, seed):
    """Draw features of images: classes apart in directions of different importance."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % CLASSES
    centres = np.random.default_rng(0).normal(0, 0.6, (CLASSES, WIDTH))
    spread = np.geomspace(1.0, 4.0, WIDTH)
    return (100 + centres[y] + spread * rng.normal(size=(n, WIDTH))).astype(np.float32), y


def test_it_is_as_good_as_the_regression_on_all_images_in_memory():
    (x, y), (others, truth) = photos(3000, 1), photos(3000, 2)
    few = sample(y, 240, 0)
    groups, weights = [str(i) for i in few.tolist()], [1.0] * CLASSES
    small = fit_probe(x[few, None], y[few], groups, weights, 0)
    large = refit(small, y[few], (x[i : i + 64] for i in range(0, 3000, 64)), y, weights, Silent())
    whole = fit_probe(x[:, None], y, [str(i) for i in range(3000)], weights, 0)

    def quality(probe):
        logits = probe.logits(others)
        loss = regression.log_loss(truth, regression.probabilities(logits))
        return (logits.argmax(axis=1) == truth).mean(), loss

    (poor, _), (accuracy, loss), (best, least) = map(quality, (small, large, whole))
    assert poor < best - 0.03
    assert accuracy > best - 0.005 and loss < least + 0.05
    figures = large.cross_validation  # of the sample, which says little about the large probe
    assert figures.accuracy == small.cross_validation.accuracy and not len(figures.positions)


def test_features_that_are_no_numbers_are_refused_wherever_they_are():
    x, y = photos(96, 1)
    probe = fit_probe(x[:48, None], y[:48], list(map(str, range(48))), [1.0] * CLASSES, 0)
    x[90, 5] = np.inf
    with pytest.raises(BackboneError, match="gives numbers that are not finite"):
        refit(probe, y[:48], [x[:64], x[64:]], y, [1.0] * CLASSES, Silent())


def test_of_many_classes_a_sample_has_some_with_enough_images_of_each():
    y = np.arange(2000) % 200
    counts = np.bincount(y[sample_of_classes(y, 330, 0)])
    assert counts.sum() == 200 and (counts > 0).sum() == 20 and counts.max() == 10
    y = np.arange(9000) % 200
    counts = np.bincount(y[sample_of_classes(y, 330, 0)])
    assert counts.sum() == 330 and set(counts[counts > 0].tolist()) <= {PER_CLASS, PER_CLASS + 1}
    assert len(sample_of_classes(y, 9000, 0)) == 9000
