"""A head that a function of the user's own makes."""

import runpy

import keras
import numpy as np
import pytest
from test_recipes import HEAD
from test_resume import Interrupt

import tlearn
from tlearn.cli import main
from tlearn.config import Head
from tlearn.errors import ConfigError, RunError
from tlearn.python_files import TRUSTED
from tlearn.runs.summary import run_summary
from tlearn.training.carried_head import CarriedHead
from tlearn.training.head import divide, head_layers, own_head

TOY = {"backbone": "toy", "weights": "none", "seed": 3, "quiet": True}
STAGES = "none:2@1e-2,1:2@1e-3"
OWN_LAYER = """
import keras

@keras.saving.register_keras_serializable("mine")
class Cosine(keras.layers.Layer):
    def __init__(self, units, **options):
        super().__init__(**options)
        self.units = units

    def build(self, shape):
        self.kernel = self.add_weight(shape=(shape[-1], self.units), name="kernel")
        self.scale = self.add_weight(initializer="ones", name="scale")

    def call(self, x):
        return 9 * self.scale * (
            keras.ops.normalize(x) @ keras.ops.normalize(self.kernel, axis=0)
        )

    def get_config(self):
        return super().get_config() | {"units": self.units}

def build(features, classes):
    return [keras.layers.Dropout(0.1), Cosine(classes)]
"""


@pytest.fixture
def here(photos, warm_cache, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_head.py").write_text(HEAD)
    (tmp_path / "cosine.py").write_text(OWN_LAYER)
    return photos


def head_of(tmp_path, body, width=6, classes=3):
    (tmp_path / "one.py").write_text(f"import keras\nL = keras.layers\n{body}\n")
    return own_head(f"{tmp_path / 'one.py'}:build", width, classes, 0)


def test_the_function_is_given_features_and_returns_logits_or_layers(here, tmp_path):
    x = np.random.default_rng(0).normal(size=(5, 6)).astype("float32")
    start = "def build(features, classes):\n    "
    ways = (
        start + "x = L.Dense(4)(features)\n    return L.Dense(classes)(x)",
        start + "return [L.Dense(4), L.Dense(classes)]",
        start + "return keras.Sequential([L.Dense(4), L.Dense(classes)])",
    )
    logits = [np.asarray(head_of(tmp_path, way)(x)) for way in ways]
    for other in logits[1:]:
        np.testing.assert_array_equal(logits[0], other)  # seeded alike
    plain = keras.Sequential([keras.layers.Dense(4), keras.layers.Dense(3)])
    plain.build((None, 6))
    model = head_of(tmp_path, ways[0])
    plain.set_weights(model.get_weights())
    np.testing.assert_allclose(np.asarray(plain(x)), logits[0], rtol=1e-6)
    own, last = head_layers(Head(module=f"{tmp_path / 'one.py'}:build"), 6, 3, 0)
    once = np.asarray(last(own(x)))
    divide(last, 2.0)
    divide(last, 1.25)
    np.testing.assert_allclose(np.asarray(last(own(x))), once / 2.5, rtol=1e-6)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("def build(features, classes):\n    return L.Dense(7)(features)", r"\(None, 7\), not"),
        ("def build(features, classes):\n    return 7", "must return logits.*Received: 7"),
        ("def build(features, classes):\n    return []", r"must return logits.*Received: \[\]"),
        ("def build(features):\n    return 7", r"cannot be used \(TypeError: build\(\) takes 1"),
        ("def build(features, classes):\n    return 1 / 0", "ZeroDivisionError"),
        ("x = 1", "cannot be used .AttributeError: .*'build'"),
        ("build = 7", "cannot be used .TypeError: 'int' object is not callable"),
        (
            "def build(features, classes):\n    return L.Dense(classes, activation='softmax')",
            "ends in a softmax; leave it out",
        ),
        (
            "def build(features, classes):\n    return [L.Dense(classes), L.Softmax()]",
            "ends in a softmax; leave it out",
        ),
        (
            "def build(features, classes):\n"
            "    return [L.Lambda(lambda x: x + 1, output_shape=(6,)), L.Dense(classes)]",
            "could not be loaded from a saved model.*register_keras_serializable.*no Lambda",
        ),
        (
            "class Mine(L.Dense):\n    pass\n"
            "def build(features, classes):\n    return Mine(classes)",
            "could not be loaded from a saved model.*register_keras_serializable",
        ),
        (
            "def build(features, classes):\n    return L.Dense(classes)(keras.Input((6,)))",
            "cannot be used .ValueError",
        ),
    ],
)
def test_what_is_no_head_is_told_in_one_line(here, tmp_path, body, words):
    with pytest.raises(ConfigError, match=words) as caught:
        head_of(tmp_path, body)
    assert "\n" not in str(caught.value) and caught.value.key == "head.module"


def test_a_head_of_ones_own_trains_resumes_and_serves(here, tmp_path):
    options = TOY | {"stages": STAGES, "head": {"module": "my_head.py:build"}}
    run = tlearn.finetune(here, "run", **options)
    assert [stage["epochs"] for stage in run.metrics["stages"]] == [0, 2, 2]
    assert run.metrics["stages"][0]["share"] == 0  # the probe could not be made such a head
    assert (run.path / "head.py").read_text() == HEAD
    part = tlearn.finetune(here, "part", callbacks=[Interrupt(1, 1, first=(0, 2))], **options)
    assert part.metrics["stopped"]
    (tmp_path / "my_head.py").unlink()  # the copy is enough
    again = tlearn.resume("part", quiet=True)
    for a, b in zip(run.model.get_weights(), again.model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    plain = keras.models.load_model(run.path / "model.keras", compile=False, safe_mode=True)
    pixels = np.random.default_rng(0).uniform(0, 255, (2, 32, 32, 3)).astype("float32")
    np.testing.assert_allclose(np.asarray(plain(pixels)).sum(axis=1), 1, rtol=1e-5)
    evaluation = run.evaluate(here).metrics
    assert evaluation["accuracy"] == run.metrics["validation"]["accuracy"]
    for accuracy in (0.0, 1.0):
        run.metrics["stages"][0]["accuracy"] = accuracy
        run.metrics["validation"]["accuracy"] = 0.5
        assert ("the probe does better" in run_summary(run)) == (accuracy > 0.5)
    anew = tlearn.finetune(here, "anew", config="run/run.yaml", quiet=True)  # the run is enough
    for a, b in zip(run.model.get_weights(), anew.model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_run_that_goes_on_from_another_carries_its_head_over(here, tmp_path):
    options = TOY | {"stages": "none:4@1e-2", "head": {"module": "cosine.py:build"}}
    before = tlearn.finetune(here, "run", **options)
    (here / "blue").rename(here / "azure")
    after = tlearn.finetune(here, "more", from_run="run", stages="none:1@1e-9", quiet=True)
    (kernel, scale), (old_kernel, old_scale) = (CarriedHead.of(r).own[-1] for r in (after, before))
    assert after.labels == ("azure", "green", "red") and scale == pytest.approx(old_scale)
    np.testing.assert_allclose(kernel[:, 1:], old_kernel[:, 1:], atol=1e-6)
    assert np.abs(kernel[:, 0] - old_kernel[:, 0]).max() > 1e-3
    assert (after.path / "head.py").read_text() == OWN_LAYER


def test_members_of_an_ensemble_have_heads_of_their_own(here):
    head = {"module": "cosine.py:build"}
    run = tlearn.finetune(here, "run", preset="best", head=head, **TOY)
    shares = [stage["share"] for stage in run.metrics["stages"]]
    assert sum(shares) == pytest.approx(1, abs=0.01)
    y = [p.label for p in run.held_out_predictions()]
    assert len(y) == run.metrics["validation"]["n"]


def test_layers_of_ones_own_load_where_they_were_trained_and_nowhere_else(
    here, cache, tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv("TLEARN_CACHE", str(cache))  # which knows no file of other tests
    options = TOY | {"stages": "none:1", "head": {"module": "cosine.py:build"}}
    tlearn.finetune(here, "run", **options)
    known = keras.saving.get_custom_objects()

    def load():
        known.clear()  # as in another process
        return tlearn.Run("run", engine="tensorflow").model

    assert [type(layer).__name__ for layer in load().get_layer("own_head").layers][-1] == "Cosine"
    other = tlearn.finetune(here, "other", head={"hidden": [4]}, stages="none:1", **TOY)
    joint = tlearn.ensemble(["run", other.path], "joint", quiet=True)
    known.clear()
    assert tlearn.Run(joint.path, engine="tensorflow").model.output_shape == (None, 3)
    pixels = np.random.default_rng(0).uniform(0, 255, (2, 32, 32, 3)).astype("float32")
    expected = joint.model.predict_on_batch(pixels)
    for form in ("keras", "weights"):
        folder = tlearn.export(joint, form)
        known.clear()
        predict = runpy.run_path(str(folder / "predict.py"))["load_keras"](folder)
        np.testing.assert_allclose(predict(pixels), expected, atol=1e-6)
    for mark in (cache / TRUSTED).iterdir():
        mark.unlink()  # as on another machine
    with pytest.raises(RunError, match=r"may have layers of 'run/head\.py'.*--plugins-dir"):
        load()
    (tmp_path / "plugins").mkdir()
    (tmp_path / "cosine.py").rename(tmp_path / "plugins" / "cosine.py")
    known.clear()
    photo = str(next(here.rglob("*.png")))
    command = ["predict", "run", photo, "--engine", "tensorflow"]
    assert main(["--plugins-dir", "plugins", *command]) == 0
    assert "red" in capsys.readouterr().out


def test_a_head_has_either_options_or_a_module(here):
    with pytest.raises(ConfigError, match=r"a head of your own takes no hidden; leave out"):
        tlearn.finetune(here, "run", head={"module": "my_head.py:build", "hidden": [4]}, **TOY)
    with pytest.raises(ConfigError, match=r"head\.module: there is no file 'none\.py'"):
        tlearn.finetune(here, "run", head={"module": "none.py:build"}, **TOY)
    with pytest.raises(ConfigError, match="needs a stage that trains it"):
        tlearn.finetune(here, "run", head={"module": "my_head.py:build"}, stages=[], **TOY)
