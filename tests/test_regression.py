"""The logistic regression: its solution, in any block size and number type."""

import numpy as np
import pytest

from tlearn.training import regression


@pytest.fixture
def photos():
    rng = np.random.default_rng(0)
    y = np.arange(300) % 7
    x = rng.normal(size=(7, 20))[y] + rng.normal(0, 2, (300, 20))
    return x.astype(np.float32), y


def test_the_gradient_of_the_penalised_loss_is_zero_whatever_the_blocks(photos, monkeypatch):
    x, y = photos
    weights = np.linspace(1, 3, 7)
    monkeypatch.setattr(regression, "TOLERANCE", 1e-9)
    solutions = [regression.fit(x, y, 0.1, weights.tolist())]
    monkeypatch.setattr(regression, "BLOCK", 20 * 64)
    solutions.append(regression.fit(x, y, 0.1, weights.tolist()))
    solutions.append(regression.fit(x.astype(np.float16), y, 0.1, weights.tolist()))
    for kernel, bias in solutions:
        p = regression.probabilities(x @ kernel + bias)
        excess = weights[y][:, None] * (p - np.eye(7)[y])
        assert np.abs(x.T @ excess + kernel / 0.1).max() < 0.02 * np.abs(kernel / 0.1).max()
        assert np.abs(excess.sum(axis=0)).max() < 0.1  # of 600, the weights of all images


def test_the_steps_that_a_fit_saves_count_as_done(photos):
    done = []
    regression.fit(*photos, 0.1, [1.0] * 7, done.append)
    assert sum(done) == regression.STEPS and set(done[:-1]) == {1} and done[-1] > 1


def test_no_more_than_a_block_of_rows_is_taken_at_a_time(photos, monkeypatch):
    x, y = photos
    monkeypatch.setattr(regression, "BLOCK", 20 * 64)

    class Rows(np.ndarray):
        def astype(self, *args, **kwargs):
            assert len(self) <= 64
            return np.asarray(self).astype(*args, **kwargs)

    regression.fit(x.astype(np.float16).view(Rows), y, 0.1, [1.0] * 7)


def test_a_class_without_images_is_never_predicted(photos):
    x, y = photos
    kernel, bias = regression.fit(x[y != 3], y[y != 3], 1.0, [1.0] * 8)
    assert kernel.shape == (20, 8) and bias.shape == (8,)
    p = regression.probabilities(x @ kernel + bias)
    assert not p[:, [3, 7]].any() and (p.argmax(axis=1) == y)[y != 3].mean() > 0.8
    kernel, bias = regression.fit(x[:0], y[:0], 1.0, [1.0] * 8)
    assert not kernel.any() and np.isneginf(bias).all()
