"""Which networks are averaged, on logits of networks whose worth is known."""

import numpy as np

from tlearn.training.ensemble import choose_members, mean_probabilities
from tlearn.training.regression import log_loss

CLASSES = 4


def networks(rng, images, noises):
    """Labels, and logits of networks that see what decides them with independent errors."""
    y = rng.integers(CLASSES, size=images)
    signal = 3.0 * np.eye(CLASSES)[y] + rng.standard_normal((images, CLASSES))
    return y, [signal + noise * rng.standard_normal(signal.shape) for noise in noises]


def test_networks_that_err_in_different_places_are_averaged_whatever_few_images_say():
    rng = np.random.default_rng(0)
    chosen = [choose_members(*networks(rng, 60, (1.0, 1.0, 1.0))) for _ in range(200)]
    assert np.mean([len(positions) for positions in chosen]) > 2.5


def test_a_network_that_does_harm_is_left_out():
    rng = np.random.default_rng(1)
    for _ in range(50):
        y, (good, bad) = networks(rng, 100, (0.1, 8.0))
        assert choose_members(y, [good, bad]) == (0,)
        assert choose_members(y, [bad, bad[::-1], good]) == (2,)


def test_on_new_images_it_is_better_than_the_best_network_on_validation():
    rng, gains = np.random.default_rng(2), []
    noises = (0.8, 1.0, 1.2)
    for _ in range(200):
        (y, members), (new, of_new) = networks(rng, 100, noises), networks(rng, 2000, noises)
        best = int(np.argmin([log_loss(y, mean_probabilities([m])) for m in members]))
        losses = [
            log_loss(new, mean_probabilities([of_new[i] for i in some]))
            for some in (choose_members(y, members), [best])
        ]
        gains.append(losses[1] - losses[0])
    assert np.mean(gains) > 3 * np.std(gains) / len(gains) ** 0.5


def test_a_single_image_leaves_nothing_out():
    y = np.zeros(1, int)
    assert choose_members(y, [np.eye(2)[y], np.eye(2)[1 - y]]) == (0, 1)
    assert choose_members(y, [np.eye(2)[y]]) == (0,)
