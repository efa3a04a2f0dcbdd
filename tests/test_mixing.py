"""Mixup and cutmix: images and labels are mixed in the same part."""

import numpy as np
import pytest

from tlearn.config import Stage
from tlearn.training.mixing import mix

N, SIDE = 40, 8


@pytest.fixture
def batch():
    """Images, of which each is of one colour and its class has that number, and their features."""
    number = np.arange(N, dtype=np.float16)
    maps = np.tile(number[:, None, None, None], (1, SIDE, SIDE, 3))
    return [maps, number[:, None] * np.ones(5)], np.eye(N, dtype=np.float32), np.ones(N)


def colours(targets):
    """Return the mean number of the classes that a target is mixed of."""
    return targets @ np.arange(N)


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("way", ["mixup", "cutmix"])
def test_inputs_and_targets_are_mixed_alike(batch, way, seed):
    (maps, features), targets, weights = mix(batch, Stage(unfreeze=1, **{way: 1.0}), (seed, 1))
    assert targets.sum(axis=1) == pytest.approx(1) and weights == pytest.approx(1)
    assert maps.mean(axis=(1, 2, 3)) == pytest.approx(colours(targets), abs=0.02)
    assert features.mean(axis=1) == pytest.approx(colours(targets), abs=0.02)
    one_of_two = np.isin(maps[:, :, :, 0], np.arange(N)).all(axis=(1, 2))
    assert one_of_two.all() == (way == "cutmix") or not np.any(targets.max(axis=1) < 0.99)
    assert maps.dtype == targets.dtype == np.float32


def test_weights_go_with_the_images(batch):
    inputs, targets, _ = batch
    weights = np.arange(N, dtype=np.float32)
    _, mixed, parts = mix((inputs, targets, weights), Stage(unfreeze=1, mixup=1.0), (0,))
    assert parts == pytest.approx(colours(mixed), abs=1e-3)


def test_both_take_turns_and_the_same_seed_gives_the_same(batch):
    stage = Stage(unfreeze=1, mixup=1.0, cutmix=1.0)
    cut = []
    for seed in range(40):
        (maps, _), *_ = mix(batch, stage, (seed,))
        (again, _), *_ = mix(batch, stage, (seed,))
        np.testing.assert_array_equal(maps, again)
        cut.append(bool(np.ptp(maps, axis=(1, 2)).any()))
    assert 8 < sum(cut) < 32
    assert mix(batch, Stage(unfreeze=1), (0,)) is batch


def test_without_maps_cutmix_mixes(batch):
    (_, features), targets, weights = batch
    ([mixed], targets, _) = mix(([features], targets, weights), Stage(unfreeze=0, cutmix=1.0), (1,))
    assert mixed.mean(axis=1) == pytest.approx(colours(targets), abs=0.02)
