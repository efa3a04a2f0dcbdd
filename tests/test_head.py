"""The layers on top of the backbone."""

import keras
import numpy as np
import pytest
from test_training import built, random_pixels  # noqa: F401

from tlearn.config import Head
from tlearn.training.network import Network, copies


def test_the_head_is_what_its_options_say(built, tmp_path):  # noqa: F811
    options = {"hidden": (7, 5), "activation": "gelu", "batch_norm": True, "l1": 0.01, "l2": 0.02}
    network = Network(built, built.taps, 3, Head(**options), 0)
    model = network.suffix(None)
    kinds = [type(layer).__name__ for layer in model.layers[1:]]
    dense = ["Dropout", "Dense", "BatchNormalization", "Activation"]
    assert kinds == ["BatchNormalization", *dense * 2, "Dropout", "Dense"]
    kernels = [layer.kernel for layer in model.layers if hasattr(layer, "kernel")]
    assert [kernel.shape[1] for kernel in kernels] == [7, 5, 3]
    values = copies(kernels)
    expected = sum(0.01 * np.abs(k).sum() + 0.02 * np.square(k).sum() for k in values)
    assert float(sum(model.losses)) == pytest.approx(float(expected), rel=1e-5)
    network.whole.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras", compile=False)
    x = random_pixels()
    np.testing.assert_array_equal(np.asarray(again(x)), np.asarray(network.whole(x)))
