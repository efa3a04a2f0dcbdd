"""The conformance kit: a correct backbone passes, and each check finds what it is there for.

Nothing heavy is imported at the top: the backbones here must pass the check for light imports.
"""

import functools
import importlib.util
import os
import re
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from tlearn.backbones import Backbone, Blocks, Preprocess, Weights
from tlearn.errors import BackboneError
from tlearn.testing import CHECKS, backbone_checks, run_checks

NAMES = [check.__name__ for check in CHECKS]
TF = "keras.applications.mobilenet_v2:preprocess_input"


def plain(input_shape, weights, first=None):
    """Build three convolutions, with normalisation and a sum that stays inside its block."""
    import keras

    layers = keras.layers
    x = inputs = keras.Input(input_shape)
    if first:
        x = first(name="first")(x)
    for k in (1, 2, 3):
        x = layers.Conv2D(8, 3, strides=2, padding="same", name=f"conv{k}")(x)
        x = layers.BatchNormalization(name=f"bn{k}")(x)
        y = layers.Conv2D(8, 1, name=f"side{k}")(x)
        x = layers.ReLU(name=f"relu{k}")(layers.Add(name=f"add{k}")([x, y]))
    return keras.Model(inputs, x)


GOOD = Backbone(
    name="good",
    summary="three convolutions",
    reference="none",
    build=plain,
    default_size=32,
    min_size=16,
    channels=8,
    preprocess=Preprocess.TF,
    preprocess_reference=TF,
    blocks=Blocks.after("relu1", "relu2"),
    weights=(Weights("first", "here", "MIT", "noise"),),
    feature_layers=("relu3",),
)


def tokens(input_shape, weights):
    """Build patches, a class token in front, and two blocks over them."""
    import keras

    layers, size = keras.layers, input_shape[0]
    inputs = keras.Input(input_shape)
    x = layers.Conv2D(12, 8, strides=8, name="patches")(inputs)
    x = layers.Reshape(((size // 8) ** 2, 12), name="tokens")(x)
    x = layers.ZeroPadding1D((1, 0), name="class_token")(x)
    for k in (1, 2):
        y = layers.LayerNormalization(name=f"norm{k}")(x)
        y = layers.MultiHeadAttention(2, 6, name=f"attention{k}")(y, y)
        x = layers.Add(name=f"block{k}")([x, layers.Dense(12, name=f"mlp{k}")(y)])
    return keras.Model(inputs, x)


TOKENS = replace(
    GOOD,
    name="tokens",
    build=tokens,
    channels=12,
    size_multiple=8,
    leading_tokens=1,
    blocks=Blocks.after("class_token", "block1"),
    feature_layers=("block1",),
)


def sequential(input_shape, weights):
    import keras

    layers = [keras.layers.Conv2D(8, 3, strides=2, name=f"relu{k}") for k in (1, 2, 3)]
    return keras.Sequential([keras.Input(input_shape), *layers])


SEQUENTIAL = replace(GOOD, name="sequential", build=sequential)


@backbone_checks(GOOD, TOKENS, SEQUENTIAL)
def test_correct_ones_pass(backbone, check):
    check(backbone)


def test_checks_leave_the_networks_that_they_share_as_they_were():
    from tlearn.features.keras_build import digest_of
    from tlearn.testing import checks

    assert {outcome.state for outcome in run_checks(GOOD)} == {"passed"}
    built, network = checks._built(GOOD, GOOD.min_size), checks._network(GOOD)
    assert digest_of(built.base) == built.digest
    for weight, other in zip(built.base.weights, network.built.base.weights, strict=True):
        np.testing.assert_array_equal(weight, other)


def rebuilt(change):
    """Return a build that changes the plain one: ``change(x, keras)`` is put on its top."""

    def build(input_shape, weights):
        import keras

        base = plain(input_shape, weights)
        return keras.Model(base.input, change(base.output, keras))

    return build


def module(folder, head):
    """Return a backbone from a module of its own that begins like this."""
    file = folder / "own_plugin.py"
    file.write_text(
        f"{head}\ndef build(*arguments):\n    from test_kit import plain\n\n"
        f"    return plain(*arguments)\n"
    )
    spec = importlib.util.spec_from_file_location(file.stem, file)
    found = importlib.util.module_from_spec(spec)
    sys.modules[file.stem] = found
    spec.loader.exec_module(found)
    return replace(GOOD, build=functools.partial(found.build))


def crossing(input_shape, weights):
    """Build a network in which a shortcut passes a boundary beside the boundary's own tensor."""
    import keras

    base = plain(input_shape, weights)
    past = keras.layers.Conv2D(8, 3, strides=4, padding="same", name="past")(
        base.get_layer("relu1").output
    )
    return keras.Model(base.input, keras.layers.Add(name="top")([base.output, past]))


def two_outputs(input_shape, weights):
    import keras

    base = plain(input_shape, weights)
    return keras.Model(base.input, [base.output, base.get_layer("relu2").output])


def idle(input_shape, weights):
    """Build a network whose boundaries have nothing to train between them."""
    import keras

    base = plain(input_shape, weights)
    x = keras.layers.ReLU(name="idle")(base.output)
    return keras.Model(base.input, keras.layers.Conv2D(8, 1, name="top")(x))


def renamed(input_shape, weights):
    """Build a network in which one boundary has an automatic name."""
    import keras

    base = plain(input_shape, weights)
    x = keras.layers.ReLU()(base.output)
    return keras.Model(base.input, keras.layers.Conv2D(8, 1, name="top")(x))


def unseeded(input_shape, weights):
    base = plain(input_shape, weights)
    layer = base.get_layer("conv1")
    layer.kernel.assign(np.random.default_rng().normal(size=layer.kernel.shape))
    return base


def subclassed(input_shape, weights):
    import keras

    return type("Own", (keras.Model,), {"call": lambda self, x: x})()


def reshaped(input_shape, weights, calls=[]):  # noqa: B006 (it must remember)
    import keras

    calls.append(1)
    base = plain(input_shape, weights)
    x = keras.layers.Conv2D(8 + len(calls), 1, name="wide")(base.output)
    return keras.Model(base.input, keras.layers.Conv2D(8, 1, name="top")(x))


def learning_statistics(input_shape, weights):
    """Build a network with a layer that counts its batches, frozen or not."""
    import keras

    class Counting(keras.layers.Layer):
        def build(self, shape):
            self.count = self.add_weight(shape=(), initializer="zeros", trainable=False)

        def call(self, x):
            self.count.assign(self.count + 1)
            return x

    return plain(input_shape, weights, Counting)


def nested_normalisation(input_shape, weights):
    """Build a network in which normalisation hides inside a layer of layers."""
    import keras

    class Block(keras.layers.Layer):
        def __init__(self, **options):
            super().__init__(**options)
            self.convolution = keras.layers.Conv2D(3, 3, padding="same")
            self.normalisation = keras.layers.BatchNormalization()

        def build(self, shape):
            self.convolution.build(shape)
            self.normalisation.build(shape)

        def call(self, x, training=None):
            return self.normalisation(self.convolution(x), training=training)

    return plain(input_shape, weights, Block)


def strange_layer(input_shape, weights):
    import keras

    class Strange(keras.layers.Layer):
        def call(self, x):
            return x * 1.0

    return plain(input_shape, weights, Strange)


def random_output(input_shape, weights):
    import keras

    class Noisy(keras.layers.Layer):
        def call(self, x):
            return x + keras.random.normal(keras.ops.shape(x), stddev=200.0)

    return plain(input_shape, weights, Noisy)


def forgetful(input_shape, weights):
    """Build a network with a layer that is registered and does not save what it is set to."""
    import keras

    @keras.saving.register_keras_serializable("test_kit")
    class Forgetful(keras.layers.Layer):
        def __init__(self, power=1, **options):
            super().__init__(**options)
            self.power = power

        def get_config(self):
            return super().get_config() | {"power": 1}

        def call(self, x):
            return x**self.power

    return plain(input_shape, weights, functools.partial(Forgetful, 2))


def reluctant(input_shape, weights):
    """Build a network with a layer that must be told twice to learn."""
    import keras

    class Reluctant(keras.layers.Conv2D):
        told = 0

        @property
        def trainable(self):
            return super().trainable

        @trainable.setter
        def trainable(self, value):
            self.told += value
            keras.layers.Layer.trainable.fset(self, value and self.told > 1)

    return plain(input_shape, weights, functools.partial(Reluctant, 3, 1))


def untraceable(input_shape, weights):
    """Build a network with a layer that decides in Python what it does in training."""
    import keras

    class Deciding(keras.layers.Layer):
        def call(self, x, training=None):
            return x * 1.0 if training and keras.ops.max(x) > 0 else x

    return plain(input_shape, weights, Deciding)


def of_any_size(input_shape, weights):
    return plain((None, None, 3), weights)


def leaving(input_shape, weights):
    raise SystemExit("no licence")


def not_so_small(input_shape, weights):
    if input_shape[0] < 20:
        raise ValueError(f"{input_shape[0]} pixels are too few")
    return plain(input_shape, weights)


def small_numbers(x, keras):
    return keras.layers.Rescaling(np.inf, name="huge")(x) * 0.0


def vector(x, keras):
    return keras.layers.GlobalAveragePooling2D(name="vector")(x)


def in_halves(x, keras):
    return keras.layers.Conv2D(8, 1, dtype="float16", name="half")(x)


def stopped(x, keras):
    return keras.layers.Conv2D(8, 1, name="top")(keras.ops.stop_gradient(x))


def squeezed(x, keras):
    share = keras.layers.Dense(8, "sigmoid", name="share")(vector(x, keras))
    return keras.layers.Multiply(name="top")([x, keras.layers.Reshape((1, 1, 8))(share)])


def of(**changes):
    return lambda folder: replace(GOOD, **changes)


SIZES = ("check_smallest_size", "check_default_size")
OF_FACTS = ("check_facts", "check_import_is_light", "check_preprocessing")
BUILDING = [name for name in NAMES if name not in OF_FACTS]
BUILT = ("check_blocks",)  # any of those that build would do: they build in one place
# What is broken, and which checks say so in which words.
BROKEN = {
    "empty summary": (of(summary=""), {"check_facts": "summary must be one line"}),
    "an import that loads a framework": (
        lambda folder: module(folder, "import keras_hub"),
        {"check_import_is_light": "importing the plugin loads keras_hub"},
    ),
    "an import that works in company alone": (
        lambda folder: module(folder, "import sys\nassert 'pytest' in sys.modules, 'lonely'"),
        {"check_import_is_light": "own_plugin.py alone failed"},
    ),
    "wrong channels": (
        of(channels=9),
        dict.fromkeys(SIZES, "8 channels, and channels=9 is promised"),
    ),
    "a vector at the top": (
        of(build=rebuilt(vector)),
        dict.fromkeys(BUILT, "a map or a sequence of tokens, and it built one that gives (None"),
    ),
    "an input of any size": (
        of(build=of_any_size),
        dict.fromkeys(SIZES, "the input's shape is (None, None, None, 3)"),
    ),
    "weights of half the precision": (
        of(build=rebuilt(in_halves)),
        dict.fromkeys(SIZES, "weights must be float32, not float16")
        | {"check_engines_agree": "float16"},
    ),
    "not finite": (
        of(build=rebuilt(small_numbers)),
        dict.fromkeys(SIZES, "is not finite")
        | {
            "check_one_tensor_crosses": "alone gives another output than in the network",
            "check_saving": "something else when loaded",
            "check_engines_agree": "differ",
        },
    ),
    "a smallest size at which it does not build": (
        of(build=not_so_small),
        dict.fromkeys(BUILT, "16 pixels are too few"),
    ),
    "a build that leaves": (of(build=leaving), dict.fromkeys(BUILT, "SystemExit: no licence")),
    "two outputs": (of(build=two_outputs), dict.fromkeys(BUILT, "one input and one output")),
    "a model of which nobody knows the layers": (
        of(build=subclassed),
        dict.fromkeys(BUILT, "one output, and it built a Own"),
    ),
    "a boundary that is not there": (
        of(blocks=Blocks.after("relu1", "relu7")),
        dict.fromkeys(BUILT, "names the boundary 'relu7', and its network has no such layer"),
    ),
    "a boundary of two tensors": (
        of(blocks=Blocks.before("relu1", "add2")),
        dict.fromkeys(BUILT, "a boundary before 'add2', where not one map or one sequence"),
    ),
    "a shortcut past a boundary": (
        of(build=crossing),
        {
            "check_one_tensor_crosses": "more than one tensor crosses the boundary after 'relu2'",
            "check_training_step": "not connected",
        },
    ),
    "boundaries in another order": (
        of(blocks=Blocks.after("relu2", "relu1")),
        {
            "check_blocks": "the boundaries above 'relu2' do not lie above it",
            "check_freezing": "unfreezing more blocks must train more weights",
        },
    ),
    "a block without weights": (
        of(build=idle, blocks=Blocks.after("relu3", "idle")),
        {
            "check_blocks": "the block above 'relu3' has no weights",
            "check_freezing": "unfreezing more blocks must train more weights",
        },
    ),
    "names that change on a second build": (
        of(build=renamed, blocks=Blocks.after("relu1", "re_lu")),
        {"check_second_build": "no such layer (did you mean 're_lu_"},
    ),
    "another shape on a second build": (
        of(build=reshaped, blocks=Blocks.after("relu1", "wide")),
        {"check_second_build": "on a second build the boundary 'wide' has another shape"},
    ),
    "unseeded weights": (
        of(build=unseeded),
        {"check_second_build": "initialise them by Keras's initialisers"},
    ),
    "a layer that must be told twice to learn": (
        of(build=reluctant),
        {
            "check_freezing": "unfreezing 3 blocks twice trains something else",
            "check_saving": "the layer 'first' is of test_kit",
        },
    ),
    "gradients that stop": (
        of(build=rebuilt(stopped)),
        {"check_training_step": "the top 1 blocks does not change conv3, side3, which is in them"},
    ),
    "statistics that learn": (
        of(build=learning_statistics),
        {
            "check_training_step": "changes the layer 'first', or statistics",
            "check_saving": "the layer 'first' is of test_kit",
        },
    ),
    "training that cannot be traced": (
        of(build=untraceable),
        {"check_training_step": "a symbolic `tf.Tensor` as a Python `bool` is not allowed"},
    ),
    "a layer of its own": (
        of(build=strange_layer),
        {"check_saving": "the layer 'first' is of test_kit, which is not Keras's own"},
    ),
    "a layer of its own that is not registered": (
        of(build=strange_layer, modules=("test_kit",)),
        {"check_saving": "Could not locate class 'Strange'"},
    ),
    "a layer of its own that saves something else": (
        of(build=forgetful, modules=("test_kit",)),
        {"check_saving": "something else when loaded"},
    ),
    "normalisation inside another layer": (  # which must stay as it is all the same
        of(build=nested_normalisation),
        {"check_saving": "the layer 'first' is of test_kit"},
    ),
    "an output that is never the same": (
        of(build=random_output),
        {
            "check_one_tensor_crosses": "alone gives another output than in the network",
            "check_saving": "the layer 'first' is of test_kit",
            "check_engines_agree": "StatelessRandomNormal",
        },
    ),
    "wrong preprocessing": (
        of(preprocess=Preprocess.CAFFE),
        {"check_preprocessing": f"and {TF} into"},
    ),
    "missing feature layer": (
        of(feature_layers=("relu9",)),
        {"check_feature_layers": "no layer called 'relu9', which feature_layers names"},
    ),
    "a vector as a feature layer": (
        of(build=rebuilt(squeezed), feature_layers=("vector",)),
        {"check_feature_layers": "the feature layer 'vector' gives neither a map nor tokens"},
    ),
}
# Faults that are independent of each other, in as few networks as show them: every other check must
# pass, or what a check says cannot be relied on.
SWEPT = {
    "facts": (
        {"summary": "", "preprocess": Preprocess.CAFFE, "feature_layers": ("relu9",)},
        {"check_facts", "check_preprocessing", "check_feature_layers"},
    ),
    "a shortcut past a boundary": (
        {"build": crossing},
        {"check_one_tensor_crosses", "check_training_step"},
    ),
    "statistics that learn": (
        {"build": learning_statistics},
        {"check_training_step", "check_saving"},
    ),
    "a build that leaves": ({"build": leaving}, set(BUILDING)),
}


def outcome(backbone, name):
    """Run one check alone."""
    (check,) = (each for each in CHECKS if each.__name__ == name)
    (only,) = run_checks(backbone, [check])
    return only


@pytest.mark.parametrize("name", BROKEN)
def test_a_fault_is_found_by_its_checks(name, tmp_path, monkeypatch):
    (tmp_path / "keras_hub.py").write_text("")  # the real one takes seconds to import
    monkeypatch.syspath_prepend(tmp_path)
    make, wanted = BROKEN[name]
    backbone = make(tmp_path)
    monkeypatch.delitem(sys.modules, "keras_hub", raising=False)
    for check, words in wanted.items():
        seen = outcome(backbone, check)
        assert seen.state == "failed" and words in seen.reason, seen


@pytest.mark.parametrize("name", SWEPT)
def test_a_fault_is_found_by_no_other_check(name):
    changes, wanted = SWEPT[name]
    outcomes = list(run_checks(replace(GOOD, **changes)))
    assert [o.check for o in outcomes] == NAMES
    assert {o.check for o in outcomes if o.state == "failed"} == wanted
    assert {o.reason for o in outcomes if o.state == "passed"} == {""}


@pytest.mark.parametrize(
    ("check", "facts", "words"),
    [
        ("check_facts", {"reference": "a\nb"}, "reference must be one line"),
        (
            "check_facts",
            {"weights": (Weights("first", "here", "", "noise"),)},
            "the weights 'first' must state their licence",
        ),
        (
            "check_facts",
            {"weights": (Weights("first", "", "MIT", "noise"),)},
            "the weights 'first' must state their source",
        ),
        (
            "check_facts",
            {"weights": (Weights("first", "here", "MIT", ""),)},
            "the weights 'first' must state their trained_on",
        ),
        (
            "check_facts",
            {"weights": (Weights("none", "here", "MIT", "noise"),)},
            "no weights can be called 'none'",
        ),
        ("check_facts", {"weights": GOOD.weights * 2}, "distinct names: ['first', 'first']"),
        ("check_preprocessing", {"preprocess_reference": f"{TF}s"}, f"'{TF}s' cannot be found"),
        (
            "check_preprocessing",
            {"preprocess_reference": "nothing_of_this_name:f"},
            "'nothing_of_this_name:f' cannot be found",
        ),
        ("check_preprocessing", {"preprocess_reference": "keras"}, "must be 'module:function'"),
        ("check_saving", {"modules": ("nothing_of_this_name",)}, "No module named 'nothing_of_"),
    ],
)
def test_wrong_facts_are_named(check, facts, words):
    assert words in outcome(replace(GOOD, **facts), check).reason


def test_every_check_finds_something():
    assert {check for _, wanted in BROKEN.values() for check in wanted} == set(NAMES)


def test_engines_that_disagree_say_by_how_much(monkeypatch):
    from tlearn.features import engines
    from tlearn.features.engines.openvino import OpenVINOEngine

    true = engines.outputs_of

    def off(engine, pixels):
        factor = 1.01 if isinstance(engine, OpenVINOEngine) else 1
        return [features * factor for features in true(engine, pixels)]

    monkeypatch.setattr(engines, "outputs_of", off)
    seen = outcome(GOOD, "check_engines_agree")
    assert seen.reason == "OpenVINO's features differ from TensorFlow's by 1.00%"


def test_what_does_not_apply_is_skipped_with_its_reason(monkeypatch):
    space = {"__name__": "made_up"}
    exec("def build(*arguments): ...", space)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    backbone = replace(GOOD, build=space["build"], preprocess_reference="")
    for check, reason in {
        "check_import_is_light": "the module of build has no file",
        "check_engines_agree": "OpenVINO is not installed here",
        "check_preprocessing": "it names no preprocess_reference to compare with",
    }.items():
        seen = outcome(backbone, check)
        assert (seen.check, seen.state, seen.reason) == (check, "skipped", reason)


STRANGERS_TEST = """
from dataclasses import replace
from test_kit import GOOD
from tlearn.testing import backbone_checks

@backbone_checks(replace(GOOD, {change}), expected_failures={{"good": {{"check_facts": "tired"}}}})
def test_backbone(backbone, check):
    check(backbone)
"""


@pytest.mark.parametrize(
    ("change", "code", "words"),
    [
        ("summary=''", 0, "1 xfailed"),
        ("name='good'", 1, "[XPASS(strict)] tired"),
    ],
)
def test_expected_failures_are_strict(tmp_path, change, code, words):
    (tmp_path / "test_stranger.py").write_text(STRANGERS_TEST.format(change=change))
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-k", "facts", "-p", "no:cacheprovider", tmp_path],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    assert done.returncode == code and words in done.stdout, done.stdout


@pytest.mark.parametrize(
    "expected", [{"other": {"check_facts": "x"}}, {"good": {"check_fact": "x"}}]
)
def test_expected_failures_name_what_is_there(expected):
    with pytest.raises(ValueError, match=r"any of check_blocks, .*Received: (other|check_fact)"):
        backbone_checks(GOOD, expected_failures=expected)


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({"size_multiple": 12}, "min_size must be a multiple of size_multiple"),
        ({"size_multiple": 16, "default_size": 40}, "default_size must be a multiple"),
        ({"leading_tokens": -1}, "leading_tokens not negative"),
        ({"taps": ("conv9",)}, "taps and finetune_from name boundary layers"),
    ],
)
def test_facts_that_contradict_each_other_are_refused(facts, words):
    with pytest.raises(ValueError, match=words):
        replace(GOOD, **facts)


@pytest.mark.parametrize(
    ("size", "words"),
    [
        (36, "a multiple of 8 pixels. Received: size 36; give 32 or 40"),
        (8, "needs images of 16 pixels or more. Received: size 8"),
    ],
)
def test_a_side_that_does_not_fit_is_refused(size, words):
    from tlearn.features.built_backbone import load_backbone

    with pytest.raises(BackboneError, match=re.escape(words)):
        load_backbone(TOKENS, size, "none", 0)


def test_tokens_are_pooled_as_class_token_and_patches():
    import keras

    from tlearn.features.built_backbone import FEATURES, load_backbone, pooled

    values = np.random.default_rng(0).normal(size=(2, 5, 3)).astype("float32")
    first, patches = (np.asarray(p) for p in pooled([keras.ops.convert_to_tensor(values)], 1))
    np.testing.assert_allclose(first, values[:, 0], rtol=1e-6)
    np.testing.assert_allclose(patches, values[:, 1:].mean(axis=1), rtol=1e-5)
    mean, most = (np.asarray(p) for p in pooled([keras.ops.convert_to_tensor(values)], 0))
    np.testing.assert_allclose(mean, values.mean(axis=1), rtol=1e-5)
    np.testing.assert_allclose(most, values.max(axis=1), rtol=1e-6)
    built = load_backbone(TOKENS, 24, "none", 0)
    assert built.prefix((FEATURES,)).output[0].shape[-1] == sum(tap.width for tap in built.taps)
