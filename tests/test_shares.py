"""How much networks count in an average, on logits of networks whose worth is known."""

import numpy as np
import pytest

from tlearn.runs.measurement import paired_gain
from tlearn.training.regression import log_loss
from tlearn.training.shares import (
    best_of,
    cross_fitted,
    equal_shares,
    mean_probabilities,
    shares_of,
)

CLASSES = 4


def networks(rng, images, noises):
    """Labels, and logits of networks that see what decides them with independent errors."""
    y = rng.integers(CLASSES, size=images)
    signal = 3.0 * np.eye(CLASSES)[y] + rng.standard_normal((images, CLASSES))
    return y, [signal + noise * rng.standard_normal(signal.shape) for noise in noises]


def sure(rng, y, accuracy, logit):
    """Logits of a network that is right that often, by chance, and always as sure of itself."""
    wrong = (y + rng.integers(1, CLASSES, len(y))) % CLASSES
    return logit * np.eye(CLASSES)[np.where(rng.random(len(y)) < accuracy, y, wrong)]


def test_networks_that_are_about_as_good_count_about_as_much():
    rng = np.random.default_rng(0)
    shares = [shares_of(*networks(rng, 60, (1.0, 1.0, 1.0))) for _ in range(200)]
    assert np.mean(shares, axis=0) == pytest.approx(np.full(3, 1 / 3), abs=0.03)
    assert np.mean(np.min(shares, axis=1) > 0.05) > 0.9


def test_a_network_that_does_harm_is_left_out():
    rng = np.random.default_rng(1)
    for _ in range(50):
        y, (good, bad) = networks(rng, 100, (0.1, 8.0))
        assert shares_of(y, [good, bad]).tolist() == [1, 0]
        assert shares_of(y, [bad, bad[::-1], good]).tolist() == [0, 0, 1]


@pytest.mark.parametrize(("images", "lost"), [(8, 0.10), (20, 0.07), (80, 0.02), (320, 0.01)])
def test_a_network_that_is_sure_of_what_is_wrong_costs_little(images, lost):
    rng, accuracies = np.random.default_rng(images), []
    for _ in range(100):
        y, new = rng.integers(CLASSES, size=images), rng.integers(CLASSES, size=1000)
        of_y, of_new = ([sure(rng, k, 0.97, 4), sure(rng, k, 0.8, 12)] for k in (y, new))
        p = mean_probabilities(of_new, shares_of(y, of_y))
        accuracies.append((p.argmax(axis=1) == new).mean())
    assert 0.97 - np.mean(accuracies) < lost  # equal weights lose 0.17


def test_on_new_images_it_is_better_than_the_best_network_on_validation():
    rng, gains = np.random.default_rng(2), []
    noises = (0.8, 1.0, 1.2)
    for _ in range(200):
        (y, members), (new, of_new) = networks(rng, 100, noises), networks(rng, 2000, noises)
        best = np.eye(3)[np.argmin([log_loss(y, mean_probabilities([m], [1])) for m in members])]
        losses = [
            log_loss(new, mean_probabilities(of_new, shares))
            for shares in (shares_of(y, members), best)
        ]
        gains.append(losses[1] - losses[0])
    assert np.mean(gains) > 3 * np.std(gains) / len(gains) ** 0.5


def test_the_shares_are_the_likeliest_under_their_prior():
    rng = np.random.default_rng(3)
    y, members = networks(rng, 50, (0.5, 1.0))
    grid = np.linspace(0.001, 0.999, 999)
    p = [mean_probabilities(members, (a, 1 - a))[np.arange(50), y] for a in grid]
    likelihoods = np.log(p).sum(axis=1) + 3 * np.log(grid * (1 - grid))
    assert shares_of(y, members)[0] == pytest.approx(grid[np.argmax(likelihoods)], abs=0.002)


def test_one_network_is_all():
    assert shares_of(np.zeros(1, int), [np.eye(2)[:1]]).tolist() == [1]


def guessing(rng, y, accuracy):
    """Logits of a network that is right that often, by chance, and sure of itself by chance too."""
    wrong = (y + rng.integers(1, CLASSES, len(y))) % CLASSES
    guess = np.where(rng.random(len(y)) < accuracy, y, wrong)
    return np.eye(CLASSES)[guess] * rng.uniform(1, 6, len(y))[:, None]


def compared(y, members, fit=shares_of):
    """Return what an average gains over its best member, cross-fitted in five folds."""
    right = np.array([logits.argmax(axis=1) == y for logits in members])
    average, best = cross_fitted(y, members, right, np.arange(len(y)) % 5, fit)
    return paired_gain(average, best)


def test_copies_of_a_network_gain_nothing():
    y, (one,) = networks(np.random.default_rng(4), 100, (1.5,))
    for fit in (shares_of, equal_shares):
        gain = compared(y, [one] * 4, fit)
        assert gain.share == 0 and gain.p_value == 1


def test_where_nothing_is_gained_a_gain_is_reported_as_rarely_as_the_level_says():
    """Of two networks with errors of their own, one is as good as the surer of both."""
    rng, gains = np.random.default_rng(5), []
    for _ in range(600):
        y = rng.integers(CLASSES, size=150)
        gains.append(compared(y, [guessing(rng, y, 0.85) for _ in range(2)], equal_shares))
    differences = np.array([gain.share for gain in gains])
    assert abs(differences.mean()) < 3 * differences.std() / 600**0.5
    assert 0.02 < np.mean([gain.p_value < 0.05 for gain in gains]) < 0.06


def test_the_best_of_many_equal_networks_is_not_flattered_by_its_choice():
    rng, cross, same = np.random.default_rng(6), [], []
    for _ in range(200):
        y = rng.integers(CLASSES, size=100)
        members = [guessing(rng, y, 0.8) for _ in range(8)]
        right = np.array([logits.argmax(axis=1) == y for logits in members])
        cross.append(cross_fitted(y, members, right, np.arange(100) % 5, equal_shares)[1].mean())
        same.append(right[best_of(y, members, right)].mean())
    assert np.mean(cross) == pytest.approx(0.8, abs=0.01) and np.mean(same) > 0.84


def test_the_gain_is_that_on_new_images():
    rng, gains, true = np.random.default_rng(7), [], []
    for _ in range(100):
        y, members = networks(rng, 100, (1.5, 1.5, 1.5, 1.5))
        gains.append(compared(y, members).share)
        new, of_new = networks(rng, 1000, (1.5, 1.5, 1.5, 1.5))
        p = mean_probabilities(of_new, shares_of(y, members))
        true.append((p.argmax(axis=1) == new).mean() - (of_new[0].argmax(axis=1) == new).mean())
    assert np.mean(true) > 0.02
    assert np.mean(gains) == pytest.approx(np.mean(true), abs=3 * np.std(gains) / 10)
