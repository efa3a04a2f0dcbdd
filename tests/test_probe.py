"""The probe: a regression on features, its strength chosen by cross-validation."""

import numpy as np
import pytest
from sklearn.model_selection import StratifiedGroupKFold

from tlearn.errors import BackboneError
from tlearn.training import regression
from tlearn.training.folds import assign_folds
from tlearn.training.probe import FITS, fit_probe
from tlearn.training.regression import log_loss, probabilities


def test_two_classes_give_a_probe_with_two_columns_that_heeds_their_weights():
    rng = np.random.default_rng(0)
    y = np.arange(30) % 2
    features = rng.normal(y[:, None, None], 0.5, (30, 1, 4)).astype(np.float32)
    groups = [str(i) for i in range(30)]
    probe, other = (fit_probe(features, y, groups, [1.0, w], 0) for w in (1.0, 9.0))
    assert probe.kernel.shape == (4, 2)
    second = [(found.logits(features[:, 0]) @ [-1, 1]).mean() for found in (probe, other)]
    assert second[1] > second[0] + 1
    assert (probe.logits(features[:, 0]).argmax(axis=1) == y).mean() > 0.9
    assert probe.cross_validation.accuracy > 0.8


def test_a_probe_of_fewer_images_than_features_is_the_regression_on_the_features():
    rng = np.random.default_rng(0)
    y = np.arange(60) % 3
    features = rng.normal(y[:, None] / 4, 1.0, (60, 500)).astype(np.float32)
    features[40:] = features[20:40]  # what identical photos give
    probe = fit_probe(features[:, None], y, [str(i) for i in range(60)], [1.0] * 3, 0)
    z = (features - features.mean(axis=0)) / features.std(axis=0)
    kernel, bias = regression.fit(z, y, probe.cross_validation.strength, [1.0] * 3)
    wanted = z @ kernel + bias
    np.testing.assert_allclose(probe.logits(features), wanted, atol=0.01 * wanted.std())


def test_numbers_that_are_none_are_refused():
    features = np.ones((6, 1, 4), np.float32)
    features[2, 0, 1] = np.nan
    y = np.array([0, 1] * 3)
    with pytest.raises(BackboneError, match="gives numbers that are not finite"):
        fit_probe(features, y, list("abcdef"), [1.0, 1.0], 0)


def test_a_probe_of_very_few_images():
    rng = np.random.default_rng(0)
    for labels, groups in (
        ([0, 1], "ab"),
        ([0, 0, 1, 1], "aabb"),
        ([0, 0, 1, 1], "aaaa"),
        ([0, 1, 1, 1, 1, 1], "abcdef"),
    ):
        y = np.array(labels)
        features = rng.normal(y[:, None, None], 0.1, (len(y), 1, 5)).astype(np.float32)
        probe = fit_probe(features, y, list(groups), [1.0, 1.0], 0)
        assert (probe.logits(features[:, 0]).argmax(axis=1) == y).all()


def test_many_classes_are_told_apart_with_calibrated_logits():
    rng = np.random.default_rng(0)
    y = np.repeat(np.arange(110), 10)
    centres = rng.normal(size=(110, 40))
    features, others = (
        (centres[y] + rng.normal(0, 1.6, (len(y), 40))).astype(np.float32) for _ in range(2)
    )
    done = []
    groups = [str(i) for i in range(len(y))]
    probe = fit_probe(features[:, None], y, groups, [1.0] * 110, 0, done.append)
    logits = probe.logits(others)
    accuracy = (logits.argmax(axis=1) == y).mean()
    assert accuracy > 0.5 and abs(accuracy - probe.cross_validation.accuracy) < 0.1
    losses = [log_loss(y, probabilities(scale * logits)) for scale in (0.5, 1.0, 2.0)]
    assert losses[1] < min(losses[0], losses[2]) and losses[1] < 0.5 * np.log(110)
    assert FITS <= sum(done) <= 31  # of five folds for each strength looked at, and the last


def test_cross_validation_never_sees_what_it_judges():
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1], 100)
    noise = rng.normal(size=(200, 400)).astype("float32")  # enough to learn every image by heart
    groups = [str(i) for i in range(200)]
    found = fit_probe(noise[:, None], y, groups, [1.0, 1.0], 0).cross_validation
    assert 0.35 < found.accuracy < 0.65
    assert found.accuracy == (found.guesses == y[found.positions]).mean()
    twins = np.concatenate([noise, noise])  # copies on both sides of a fold would give them away
    probe = fit_probe(twins[:, None], np.concatenate([y, y]), groups * 2, [1.0, 1.0], 0)
    assert 0.35 < probe.cross_validation.accuracy < 0.65


def test_folds_are_those_of_scikit_learn():
    rng = np.random.default_rng(0)
    for images, classes, groups, number in ((60, 3, 60, 5), (200, 7, 40, 5), (90, 2, 11, 3)):
        y = rng.integers(0, classes, images)
        members = [str(group) for group in rng.integers(0, groups, images)]
        splitter = StratifiedGroupKFold(number, shuffle=True, random_state=images)
        expected = np.zeros(images, int)
        for fold, (_, outside) in enumerate(splitter.split(y, y, members)):
            expected[outside] = fold
        assert (assign_folds(y, members, number, images) == expected).all()
