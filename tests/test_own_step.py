"""A training step of somebody's own, as Keras has it."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import yaml
from test_recipes import SAM
from test_resume import Interrupt
from test_training import built  # noqa: F401

import tlearn
from tlearn.config import Head, Stage
from tlearn.errors import ConfigError
from tlearn.training.compile import compile_for
from tlearn.training.network import Network, copies
from tlearn.training.own_step import with_step

TOY = {"backbone": "toy", "weights": "none", "seed": 3, "quiet": True}
STAGES = "none:2@1e-2,1:2@1e-2"


class Plain(keras.Model):
    """Trains as Keras does; written as its guide has it."""

    def train_step(self, data):
        x, y, weights = keras.utils.unpack_x_y_sample_weight(data)
        with tf.GradientTape() as tape:
            predicted = self(x, training=True)
            loss = self.compute_loss(y=y, y_pred=predicted, sample_weight=weights)
        gradients = tape.gradient(loss, self.trainable_variables)
        self.optimizer.apply(gradients, self.trainable_variables)
        for metric in self.metrics:
            if metric.name == "loss":
                metric.update_state(loss)
            else:
                metric.update_state(y, predicted)
        return {metric.name: metric.result() for metric in self.metrics}


@pytest.fixture
def here(photos, warm_cache, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sam.py").write_text(SAM)
    return photos


def same(one, other):
    for a, b in zip(one.model.get_weights(), other.model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_step_that_does_what_keras_does_comes_to_the_same(here):
    for folder, weights in {"even": "none", "uneven": "balanced"}.items():
        if weights == "balanced":
            for photo in sorted((here / "red").iterdir())[:5]:
                photo.unlink()
        options = TOY | {"stages": STAGES, "class_weights": weights}
        one = tlearn.finetune(here, folder, **options)
        other = tlearn.finetune(here, f"{folder} own", train_step=Plain, **options)
        same(one, other)
        assert one.history.equals(other.history)


def test_sam_is_that_of_plain_keras(here, built):  # noqa: F811
    """The recipe's step on a suffix, and the same written out on the same batches."""
    namespace = {}
    exec(compile(SAM, "sam.py", "exec"), namespace)
    network = Network(built, built.taps, 3, Head(dropout=0.0), 0)
    boundary = built.boundaries[-1]
    network.freeze(built.layers_above(boundary))
    rng = np.random.default_rng(0)
    shapes = [x.shape[1:] for x in network.suffix(boundary).inputs]
    batches = [[rng.random((4, *shape)).astype("float32") for shape in shapes] for _ in range(3)]
    y, initial = np.eye(3, dtype="float32")[[0, 1, 2, 0]], copies(network.whole.variables)
    stage = Stage(unfreeze=1, schedule="constant", optimizer="sgd", learning_rate=0.1)
    model = network.suffix(boundary, with_step(namespace["SamModel"]))
    compile_for(model, stage, 3)
    losses = [model.train_on_batch(x, y, np.ones(4), return_dict=True)["loss"] for x in batches]
    trained = copies(network.whole.variables)
    for variable, value in zip(network.whole.variables, initial, strict=True):
        variable.assign(value)
    plain, loss_of = network.suffix(boundary), keras.losses.CategoricalCrossentropy(True)
    expected = []
    for x in batches:
        gradients, steps = None, []
        for _ in range(2):
            with tf.GradientTape() as tape:
                loss = loss_of(y, plain(x, training=True))
            gradients = tape.gradient(loss, plain.trainable_variables)
            if not steps:
                expected.append(float(loss))
                norm = np.sqrt(sum(np.square(g.numpy()).sum() for g in gradients))
                steps = [0.05 * g / norm for g in gradients]
                for variable, step in zip(plain.trainable_variables, steps, strict=True):
                    variable.assign_add(step)
        for variable, step, gradient in zip(
            plain.trainable_variables, steps, gradients, strict=True
        ):
            variable.assign(variable - step - 0.1 * gradient)
    assert losses == pytest.approx(expected, rel=1e-5)
    for one, other in zip(trained, copies(network.whole.variables), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)
    assert any(not np.array_equal(*pair) for pair in zip(trained, initial, strict=True))


class Counting(Plain):
    """Remembers in a variable of its own, which decides how it trains."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.steps = self.add_weight(name="steps", initializer="zeros", trainable=False)

    def train_step(self, data):
        self.steps.assign_add(1.0)
        x, y = data
        return super().train_step((x, y * (1 + self.steps)))


def test_a_resumed_training_comes_to_the_same(here):
    options = TOY | {"stages": STAGES, "views": 2}
    file = {"train_step": "sam.py:SamModel"}
    for name, step in {"of a file": file, "of Python": {"train_step": Counting}}.items():
        whole = tlearn.finetune(here, f"{name} whole", **step, **options)
        callbacks = [Interrupt(1, 1, first=(0, 2))]
        part = tlearn.finetune(here, name, callbacks=callbacks, **step, **options)
        assert part.metrics["stopped"]
        if step is not file:
            with pytest.raises(ConfigError, match=r"Counting was given in Python.*train_step=Coun"):
                tlearn.resume(name, quiet=True)
        same(whole, tlearn.resume(name, quiet=True, **({} if step is file else step)))
        config = yaml.safe_load((part.path / "run.yaml").read_text())["config"]
        assert config["train_step"] == ("train_step.py:SamModel" if step is file else ":Counting")
    copied = (here.parent / "of a file" / "train_step.py").read_text()
    assert copied == SAM


@pytest.mark.parametrize(
    ("step", "words"),
    [
        ("sam.py", r"train_step: must be FILE\.py:NAME"),
        ("missing.py:Model", r"train_step: there is no file 'missing\.py'"),
        ("sam.py:Sam", r"the training step of 'sam\.py' cannot be used \(AttributeError: .*'Sam'"),
        ("sam.py:tf", r"takes a subclass of keras\.Model.*Received: <module 'tensorflow"),
        (keras.Model, r"that has a train_step.*Received: <class"),
        (7, r"Received: 7"),
        (lambda model, data: {"loss": 1.0}, r"failed \(KeyError: .*no accuracy"),
        (lambda model, data: 1 / 0, r"failed \(ZeroDivisionError: division by zero\)"),
        (lambda model: {}, r"failed \(TypeError: .*takes 1 positional argument"),
    ],
)
def test_what_is_no_training_step_is_told_in_one_line(here, step, words):
    with pytest.raises(ConfigError, match=words) as caught:
        tlearn.finetune(here, "run", train_step=step, **TOY, stages="none:1")
    assert "\n" not in str(caught.value)


def test_a_run_without_a_step_of_its_own_takes_none(here):
    part = tlearn.finetune(here, "run", callbacks=[Interrupt(0, 0)], **TOY, stages="none:1")
    assert part.metrics["stopped"]
    with pytest.raises(ConfigError, match="began without one; leave it out"):
        tlearn.resume("run", train_step=Plain)
