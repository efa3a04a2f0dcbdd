"""The conformance kit: a correct backbone passes, and each check finds what it is there for."""

import importlib.util
import os
import re
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from checked_backbones import (
    GOOD,
    SEQUENTIAL,
    TF,
    TOKENS,
    crossing,
    deciding,
    forgetful,
    idle,
    in_halves,
    learning_statistics,
    leaving,
    nested_normalisation,
    noisy,
    not_so_small,
    of_any_size,
    rebuilt,
    reluctant,
    renamed,
    reshaped,
    small_numbers,
    squeezed,
    stopped,
    subclassed,
    two_outputs,
    unchanged,
    unseeded,
    vector,
    with_layer,
)

from tlearn.backbones import Blocks, Preprocess, Weights, Workload
from tlearn.errors import BackboneError
from tlearn.testing import CHECKS, backbone_checks, run_checks

NAMES = [check.__name__ for check in CHECKS]
SIZES = ("check_smallest_size", "check_default_size")
OF_FACTS = ("check_facts", "check_import_is_light", "check_preprocessing")
BUILDING = [name for name in NAMES if name not in OF_FACTS]
# What is broken, and which checks say so in which words; of faults in the build, one that builds.
BROKEN = {
    "wrong facts": (
        {"summary": "", "preprocess": Preprocess.CAFFE, "feature_layers": ("relu9",)},
        {
            "check_facts": "summary must be one line",
            "check_preprocessing": f"and {TF} into",
            "check_feature_layers": "no layer called 'relu9', which feature_layers names",
        },
    ),
    "wrong channels": (
        {"channels": 9},
        dict.fromkeys(SIZES, "8 channels, and channels=9 is promised"),
    ),
    "a vector at the top": (
        {"build": rebuilt(vector)},
        {"check_blocks": "a map or a sequence of tokens, and it built one that gives (None"},
    ),
    "an input of any size": (
        {"build": of_any_size},
        dict.fromkeys(SIZES, "the input's shape is (None, None, None, 3)"),
    ),
    "weights of half the precision": (
        {"build": rebuilt(in_halves)},
        dict.fromkeys(SIZES, "weights must be float32, not float16")
        | {"check_engines_agree": "float16"},
    ),
    "not finite": (
        {"build": rebuilt(small_numbers)},
        dict.fromkeys(SIZES, "is not finite")
        | {
            "check_one_tensor_crosses": "alone gives another output than in the network",
            "check_saving": "something else when loaded",
            "check_engines_agree": "differ",
        },
    ),
    "a smallest size at which it does not build": (
        {"build": not_so_small},
        {"check_blocks": "16 pixels are too few"},
    ),
    "a build that leaves": (
        {"build": leaving},
        dict.fromkeys(BUILDING, "SystemExit: no licence"),
    ),
    "two outputs": ({"build": two_outputs}, {"check_blocks": "one input and one output"}),
    "a model of which nobody knows the layers": (
        {"build": subclassed},
        {"check_blocks": "one output, and it built a Own"},
    ),
    "a layer that no saved model holds": (
        {
            "build": rebuilt(
                lambda x, keras: keras.layers.Lambda(lambda y: y * 2.0, name="twice")(x)
            )
        },
        {"check_blocks": "builds the Lambda layer 'twice', whose code Keras does not load"},
    ),
    "a boundary that is not there": (
        {"blocks": Blocks.after("relu1", "relu7")},
        {"check_blocks": "names the boundary 'relu7', and its network has no such layer"},
    ),
    "a boundary of two tensors": (
        {"blocks": Blocks.before("relu1", "add2")},
        {"check_blocks": "a boundary before 'add2', where not one map or one sequence"},
    ),
    "a shortcut past a boundary": (
        {"build": crossing},
        {
            "check_one_tensor_crosses": "more than one tensor crosses the boundary after 'relu2'",
            "check_training_step": "not connected",
        },
    ),
    "boundaries in another order": (
        {"blocks": Blocks.after("relu2", "relu1")},
        {
            "check_blocks": "the boundaries above 'relu2' do not lie above it",
            "check_freezing": "unfreezing more blocks must train more weights",
        },
    ),
    "a block without weights": (
        {"build": idle, "blocks": Blocks.after("relu3", "idle")},
        {
            "check_blocks": "the block above 'relu3' has no weights",
            "check_freezing": "unfreezing more blocks must train more weights",
        },
    ),
    "names that change on a second build": (
        {"build": renamed, "blocks": Blocks.after("relu1", "re_lu")},
        {"check_second_build": "no such layer (did you mean 're_lu_"},
    ),
    "another shape on a second build": (
        {"build": reshaped, "blocks": Blocks.after("relu1", "wide")},
        {"check_second_build": "on a second build the boundary 'wide' has another shape"},
    ),
    "unseeded weights": (
        {"build": unseeded},
        {"check_second_build": "initialise them by Keras's initialisers"},
    ),
    "a layer that must be told twice to learn": (
        {"build": reluctant},
        {
            "check_freezing": "unfreezing 3 blocks twice trains something else",
            "check_saving": "the layer 'first' is of checked_backbones",
        },
    ),
    "gradients that stop": (
        {"build": rebuilt(stopped)},
        {"check_training_step": "the top 1 blocks does not change conv3, side3, which is in them"},
    ),
    "statistics that learn": (
        {"build": learning_statistics},
        {
            "check_training_step": "changes the layer 'first', or statistics",
            "check_saving": "the layer 'first' is of checked_backbones",
        },
    ),
    "training that cannot be traced": (
        {"build": with_layer(deciding)},
        {"check_training_step": "a symbolic `tf.Tensor` as a Python `bool` is not allowed"},
    ),
    "a layer of its own": (
        {"build": with_layer(unchanged)},
        {"check_saving": "the layer 'first' is of checked_backbones, which is not Keras's own"},
    ),
    "a layer of its own that is not registered": (
        {"build": with_layer(unchanged), "modules": ("checked_backbones",)},
        {"check_saving": "Could not locate class 'Own'"},
    ),
    "a layer of its own that saves something else": (
        {"build": forgetful, "modules": ("checked_backbones",)},
        {"check_saving": "something else when loaded"},
    ),
    "normalisation inside another layer": (  # which must stay as it is all the same
        {"build": nested_normalisation},
        {"check_saving": "the layer 'first' is of checked_backbones"},
    ),
    "an output that is never the same": (
        {"build": with_layer(noisy)},
        {
            "check_one_tensor_crosses": "alone gives another output than in the network",
            "check_saving": "the layer 'first' is of checked_backbones",
            "check_engines_agree": "StatelessRandomNormal",
        },
    ),
    "a vector as a feature layer": (
        {"build": rebuilt(squeezed), "feature_layers": ("vector",)},
        {"check_feature_layers": "the feature layer 'vector' gives neither a map nor tokens"},
    ),
}
# Of these, every other check must pass, or what a check says cannot be relied on.
FOUND_BY_NO_OTHER = (
    "wrong facts",
    "a build that leaves",
    "a shortcut past a boundary",
    "statistics that learn",
)


@backbone_checks(TOKENS, SEQUENTIAL)
def test_correct_ones_pass(backbone, check):
    check(backbone)


def test_checks_leave_the_networks_that_they_share_as_they_were():
    from tlearn.features.keras_build import digest_of
    from tlearn.testing import checks

    outcomes = list(run_checks(GOOD))
    assert [(o.check, o.state, o.reason) for o in outcomes] == [(n, "passed", "") for n in NAMES]
    built, network = checks._built(GOOD, GOOD.min_size), checks._network(GOOD)
    assert digest_of(built.base) == built.digest
    for weight, other in zip(built.base.weights, network.built.base.weights, strict=True):
        np.testing.assert_array_equal(weight, other)


def outcome(backbone, name):
    """Run one check alone."""
    (check,) = (each for each in CHECKS if each.__name__ == name)
    (only,) = run_checks(backbone, [check])
    return only


@pytest.mark.parametrize("name", BROKEN)
def test_a_fault_is_found_by_its_checks(name):
    changes, wanted = BROKEN[name]
    whole = name in FOUND_BY_NO_OTHER
    checks = [check for check in CHECKS if whole or check.__name__ in wanted]
    failed = {}
    for seen in run_checks(replace(GOOD, **changes), checks):
        assert seen.reason or seen.state == "passed"
        if seen.state == "failed":
            failed[seen.check] = seen.reason
    assert set(failed) == set(wanted)
    for check, words in wanted.items():
        assert words in failed[check], failed[check]


PLUGIN = """
HEAD
import functools
from tlearn.backbones import Blocks, Preprocess, keras_application

def plain(*arguments): ...

partial = functools.partial(plain)
application = keras_application(
    "vgg19:VGG19", summary="s", reference="r", default_size=32, min_size=32, channels=512,
    preprocess=Preprocess.NONE, blocks=Blocks.after("block1_pool"),
).build
"""


def test_imports_that_cannot_stand_alone_or_are_heavy_are_found(tmp_path, monkeypatch):
    (tmp_path / "keras_hub.py").write_text("")  # the real one takes seconds to import
    monkeypatch.syspath_prepend(tmp_path)
    for name, head, words in (
        ("heavy", "import keras_hub", "importing the plugin loads keras_hub"),
        ("lonely", "import sys\nassert 'pytest' in sys.modules", "lonely.py alone failed"),
    ):
        file = tmp_path / "folder" / f"{name}.py"
        file.parent.mkdir(exist_ok=True)
        file.write_text(PLUGIN.replace("HEAD", head))
        spec = importlib.util.spec_from_file_location(name, file)
        plugin = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, name, plugin)
        spec.loader.exec_module(plugin)
        monkeypatch.delitem(sys.modules, "keras_hub", raising=False)
        for build in (plugin.plain, plugin.partial, plugin.application):
            seen = outcome(replace(GOOD, build=build), "check_import_is_light")
            assert seen.state == "failed" and words in seen.reason, seen


def test_wrong_facts_are_named():
    def weights(*facts):
        return {"weights": (Weights(*facts),)}

    for check, facts, words in [
        ("check_facts", {"reference": "a\nb"}, "reference must be one line"),
        ("check_facts", weights("a", "here", "", "noise"), "weights 'a' must state their licence"),
        ("check_facts", weights("a", "", "MIT", "noise"), "weights 'a' must state their source"),
        ("check_facts", weights("a", "here", "MIT", ""), "'a' must state their trained_on"),
        ("check_facts", weights("none", "here", "MIT", "noise"), "no weights can be called 'none'"),
        ("check_facts", {"weights": GOOD.weights * 2}, "distinct names: ['first', 'first']"),
        ("check_default_size", {"workload": Workload(1, 0, 2, 3, 4)}, "its workload is another: W"),
        ("check_preprocessing", {"preprocess_reference": f"{TF}s"}, f"'{TF}s' cannot be found"),
        ("check_preprocessing", {"preprocess_reference": "no:f"}, "'no:f' cannot be found"),
        ("check_preprocessing", {"preprocess_reference": "keras"}, "must be 'module:function'"),
        ("check_saving", {"modules": ("nothing_of_this_name",)}, "No module named 'nothing_of_"),
    ]:
        seen = outcome(replace(GOOD, **facts), check)
        assert seen.state == "failed" and words in seen.reason, seen


def test_every_check_finds_something():
    found = {check for _, wanted in BROKEN.values() for check in wanted}
    assert found == set(NAMES) - {"check_import_is_light"}  # which has a test of its own


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


STRANGERS_TESTS = """
from dataclasses import replace
from checked_backbones import GOOD
from tlearn.testing import backbone_checks

TIRED = {"good": {"check_facts": "tired"}}

@backbone_checks(replace(GOOD, summary=""), expected_failures=TIRED)
def test_one_that_fails(backbone, check):
    check(backbone)

@backbone_checks(GOOD, expected_failures=TIRED)
def test_one_that_passes(backbone, check):
    check(backbone)
"""


def test_expected_failures_are_strict(tmp_path):
    (tmp_path / "test_stranger.py").write_text(STRANGERS_TESTS)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-k", "facts", "-p", "no:cacheprovider", tmp_path],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    assert done.returncode == 1, done.stdout
    for words in ("1 failed", "[XPASS(strict)] tired", "1 xfailed"):
        assert words in done.stdout, done.stdout


def test_expected_failures_name_what_is_there():
    for expected in ({"other": {"check_facts": "x"}}, {"good": {"check_fact": "x"}}):
        with pytest.raises(
            ValueError, match=r"any of check_blocks, .*Received: (other|check_fact)"
        ):
            backbone_checks(GOOD, expected_failures=expected)


def test_facts_that_contradict_each_other_are_refused():
    for facts, words in [
        ({"size_multiple": 12}, "min_size must be a multiple of size_multiple"),
        ({"size_multiple": 16, "default_size": 40}, "default_size must be a multiple"),
        ({"leading_tokens": -1}, "leading_tokens not negative"),
        ({"taps": ("conv9",)}, "taps and finetune_from name boundary layers"),
    ]:
        with pytest.raises(ValueError, match=words):
            replace(GOOD, **facts)
    for facts in ({"accuracy": 71.8, "accuracy_source": "paper"}, {"accuracy": 0.7}):
        with pytest.raises(ValueError, match="an accuracy from 0 to 1 with its source"):
            replace(GOOD.weights[0], **facts)


def test_a_side_that_does_not_fit_is_refused():
    for size, words in [
        (36, "a multiple of 8 pixels. Received: size 36; give 32 or 40"),
        (8, "needs images of 16 pixels or more. Received: size 8"),
    ]:
        with pytest.raises(BackboneError, match=re.escape(words)):
            TOKENS.checked_size(size)


def test_tokens_are_pooled_as_class_token_and_patches():
    import keras

    from tlearn.features.built_backbone import FEATURES, load_backbone
    from tlearn.features.pooling import pool_taps

    values = np.random.default_rng(0).normal(size=(2, 5, 3)).astype("float32")
    first, patches = (np.asarray(p) for p in pool_taps([keras.ops.convert_to_tensor(values)], 1))
    np.testing.assert_allclose(first, values[:, 0], rtol=1e-6)
    np.testing.assert_allclose(patches, values[:, 1:].mean(axis=1), rtol=1e-5)
    mean, most = (np.asarray(p) for p in pool_taps([keras.ops.convert_to_tensor(values)], 0))
    np.testing.assert_allclose(mean, values.mean(axis=1), rtol=1e-5)
    np.testing.assert_allclose(most, values.max(axis=1), rtol=1e-6)
    built = load_backbone(TOKENS, 24, "none", 0)
    assert built.prefix((FEATURES,)).output[0].shape[-1] == sum(tap.width for tap in built.taps)
