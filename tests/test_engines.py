"""Engines: each gives what TensorFlow gives, in the precision it says, from one interface."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tlearn.backbones import load_registry
from tlearn.config import Augmentation
from tlearn.data import images
from tlearn.data.views import Rendering, to_square
from tlearn.errors import ConfigError
from tlearn.features import engines
from tlearn.features.activation_cache import Cache, compiled_path
from tlearn.features.activations import Activations
from tlearn.features.built_backbone import FEATURES, load_backbone
from tlearn.features.engines import Choice, batch_for, choose, outputs_of
from tlearn.features.engines.openvino import OpenVINOEngine, convert
from tlearn.features.engines.tensorflow import TensorFlowEngine
from tlearn.features.precision import computing_in
from tlearn.keras_import import keras

REFERENCE = Choice("tensorflow", "float32")
BF16 = Choice("openvino", "bfloat16")
needs_bfloat16 = pytest.mark.skipif(
    not engines.cpu_has_bfloat16(), reason="this CPU does not compute in bfloat16"
)


@pytest.fixture(scope="module")
def toy():
    return load_backbone(load_registry().get("toy"), None, "none", 0)


def apart(found, expected):
    """Return the relative L2 distance."""
    found, expected = found.astype(np.float64), expected.astype(np.float64)
    return np.linalg.norm(found - expected) / np.linalg.norm(expected)


def computed(built, choice, pixels, cache):
    """Return the activation at the usual cut, and the features."""
    boundaries = [
        boundary for boundary in built.boundaries if boundary.name == built.backbone.finetune_from
    ]
    with Cache(cache) as store:
        activations = Activations(
            built, Rendering(built.size, "squash", Augmentation()), boundaries, store, choice
        )
        found = activations.compute(pixels, [boundaries[0].name, FEATURES])
    return found[boundaries[0].name], found[FEATURES]


def smooth_pixels(n, size):
    """Return pictures with more of low frequencies, as photos have."""
    rng = np.random.default_rng(0)
    coarse = [rng.integers(0, 256, (8, 8, 3)).astype(np.uint8) for _ in range(n)]
    return [to_square(Image.fromarray(c), size, "squash") for c in coarse]


@pytest.mark.parametrize("name", ["toy", "mobilenet_v2"])
def test_openvino_gives_what_tensorflow_gives(name, cache):
    built = load_backbone(load_registry().get(name), 64, "none", 0)
    pixels = smooth_pixels(3, built.size)
    expected = computed(built, REFERENCE, pixels, cache)
    for choice, bound in ((Choice("openvino", "float32"), 1e-4), (BF16, 0.01)):
        if choice.precision == "bfloat16" and not engines.cpu_has_bfloat16():
            continue
        at_cut, features = computed(built, choice, pixels, cache)
        assert at_cut.dtype == np.float16 and features.dtype == np.float32
        assert apart(features, expected[1]) < bound
        if np.abs(expected[0]).max() > 1e-3:  # some random weights let activations die away
            assert apart(at_cut, expected[0]) < bound + 2e-4  # float16 rounds besides


@needs_bfloat16
def test_bfloat16_on_trained_weights_is_noise_that_the_head_does_not_mind(shared, cache):
    """MobileNetV2's trained narrow layers take differences of large numbers: rounding grows."""
    place = "weights/keras/models/mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224_no_top.h5"
    built = load_backbone(load_registry().get("mobilenet_v2"), None, str(shared / place), 0)
    files = sorted((shared / "data/flowers").rglob("*.jpg"))[::25]
    pixels = [images.load_image(file, 224, "squash") for file in files]
    exact = computed(built, Choice("openvino", "float32"), pixels, cache)[1]
    assert apart(exact, computed(built, REFERENCE, pixels, cache)[1]) < 1e-4
    rounded = computed(built, BF16, pixels, cache)[1]
    assert 0.01 < apart(rounded, exact) < 0.1
    centred = [
        x / np.linalg.norm(x, axis=1, keepdims=True)
        for x in (f - exact.mean(axis=0) for f in (exact, rounded))
    ]
    likeness = centred[0] @ centred[1].T
    assert (likeness.argmax(axis=1) == np.arange(len(files))).all()  # nearest is itself


@needs_bfloat16
@pytest.mark.parametrize("hidden", [(), (7,)])
def test_a_head_is_not_rounded_to_bfloat16(toy, hidden):
    base = toy.prefix([FEATURES])
    layers = [keras.layers.Dense(units, "relu") for units in hidden]
    head = keras.Sequential([*layers, keras.layers.Dense(5, use_bias=False)])
    model = keras.Model(base.input, [*base.outputs, head(base.outputs[0])])
    engine = BF16.engine_for(lambda _: model, [FEATURES, "logits"], toy.size)
    features, logits = outputs_of(engine, smooth_pixels(9, toy.size))
    assert apart(logits, np.asarray(head(features))) < 1e-6


@needs_bfloat16
def test_tensorflow_computes_in_bfloat16_too(toy):
    model = toy.prefix([FEATURES])
    pixels = smooth_pixels(3, toy.size)
    exact, rounded = (
        outputs_of(TensorFlowEngine(model, [FEATURES], toy.size, precision), pixels)[0]
        for precision in ("float32", "bfloat16")
    )
    assert 1e-4 < apart(rounded, exact) < 0.02
    assert {layer.compute_dtype for layer in toy.base.layers} == {"float32"}


@pytest.mark.parametrize("name", ["openvino", "tensorflow"])
def test_an_engine_made_while_a_stage_computes_in_bfloat16_does_not(toy, cache, name):
    pixels = smooth_pixels(3, 32)
    choice = Choice(name, "float32")
    with Cache(cache) as store:
        rendering = Rendering(32, "crop", Augmentation())
        expected = Activations(toy, rendering, [], store, choice).compute(pixels, [FEATURES])
        store.clear()
        with computing_in("bfloat16", toy.prefix([FEATURES])):
            found = Activations(toy, rendering, [], store, choice).compute(pixels, [FEATURES])
    np.testing.assert_array_equal(found[FEATURES], expected[FEATURES])


@pytest.fixture(scope="module", params=["openvino", "tensorflow"])
def engine(toy, request):
    """Each engine for the features of the toy."""
    return Choice(request.param, "float32").engine_for(toy.prefix, [FEATURES], toy.size, None)


def test_batches_come_back_in_order_and_whole(engine):
    # How far a row may depend on the rows beside it: see tlearn.features.engines.Engine.
    near = {"rtol": 0} if isinstance(engine, OpenVINOEngine) else {"rtol": 1e-5, "atol": 1e-6}
    for n in (1, 31, 70):
        pixels = list(np.random.default_rng(0).integers(0, 256, (n, 32, 32, 3), np.uint8))
        some = ((i, pixels[i : i + 3]) for i in range(0, n, 3))
        found = list(engine.map(some))
        assert [tag for tag, _ in found] == list(range(0, n, 3))
        together = np.concatenate([outputs[0] for _, outputs in found])
        np.testing.assert_allclose(together, outputs_of(engine, pixels)[0], **near)
        assert len(together) == n
    ((tag, (nothing,)),) = engine.map([("empty", [])])
    assert tag == "empty" and len(nothing) == 0


def test_what_stops_halfway_leaves_the_engine_usable(toy):
    engine = OpenVINOEngine(network(toy), [FEATURES], "float32")
    pixels = [np.full((32, 32, 3), i, np.uint8) for i in range(9)]

    def broken():
        yield 0, pixels[:2]
        raise ValueError("enough")

    with pytest.raises(ValueError, match="enough"):
        list(engine.map(broken()))
    assert len(outputs_of(engine, pixels)[0]) == 9


def network(built, path=None):
    names = [boundary.name for boundary in built.boundaries[1:]] + [FEATURES]
    return convert(lambda: built.prefix(names), names, built.size, path)


def test_two_may_compute_in_turns(engine):
    pixels = list(np.random.default_rng(0).integers(0, 256, (24, 32, 32, 3), np.uint8))
    alone = [outputs_of(engine, half)[0] for half in (pixels[:12], pixels[12:])]

    def going(half):
        return engine.map((i, half[i : i + 2]) for i in range(0, 12, 2))

    runs = [going(pixels[:12]), going(pixels[12:]), going(pixels[:12])]
    found = [[], [], []]
    for _ in range(6):
        for run, rows in zip(runs, found, strict=True):
            rows.append(next(run)[1][0])
    for rows, expected in zip(found, [*alone, alone[0]], strict=True):
        np.testing.assert_allclose(np.concatenate(rows), expected, rtol=1e-5, atol=1e-6)


def test_a_compiled_network_is_kept_and_mended(toy, cache):
    path = compiled_path(cache, {"of": "test"})
    network(toy, path)
    assert {file.suffix for file in (cache / "compiled").iterdir()} == {".xml", ".bin"}

    def never():
        raise AssertionError

    pixels = smooth_pixels(2, 32)
    again = convert(never, [FEATURES], 32, path)
    expected = outputs_of(OpenVINOEngine(network(toy), [FEATURES], "float32"), pixels)[0]
    found = outputs_of(OpenVINOEngine(again, [FEATURES], "float32"), pixels)[0]
    np.testing.assert_array_equal(found, expected)
    path.with_suffix(".xml").write_text("<net damaged")
    mended = OpenVINOEngine(network(toy, path), [FEATURES], "float32")
    np.testing.assert_array_equal(outputs_of(mended, pixels)[0], expected)
    assert convert(never, [FEATURES], 32, path)


@pytest.mark.parametrize(
    ("largest", "limit", "batch"),
    [(1, 10**9, 32), (10**9, 10**6, 1), (10, 100, 8), (10, 160, 16), (0, 5, 4)],
)
def test_batches_are_sized_by_the_largest_activation(largest, limit, batch):
    assert batch_for(largest, limit) == batch


def test_large_images_make_small_batches(toy):
    larger = load_backbone(toy.backbone, 256, "none", 0)
    small, large = (OpenVINOEngine(network(t), [FEATURES], "float32").batch for t in (toy, larger))
    assert large < small <= 32


@pytest.mark.parametrize(
    ("installed", "gpus", "bfloat16", "expected"),
    [
        (True, [], True, Choice("openvino", "bfloat16")),
        (True, [], False, Choice("openvino", "float32")),
        (True, [7], True, Choice("tensorflow", "float32")),
        (True, [9], False, Choice("tensorflow", "bfloat16")),
        (False, [], True, Choice("tensorflow", "float32")),
    ],
)
def test_the_rule_of_auto(monkeypatch, installed, gpus, bfloat16, expected):
    pretend(monkeypatch, installed, gpus, bfloat16)
    assert choose() == expected


def test_a_limit_on_what_kernels_use_is_heeded(monkeypatch):
    monkeypatch.setattr(Path, "read_text", lambda *args, **options: "flags: avx512f avx512_bf16")
    for limit, expected in (("avx2", False), ("AVX512_CORE_BF16", True), ("DEFAULT", True)):
        monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", limit)
        assert engines.cpu_has_bfloat16.__wrapped__() is expected, limit


def pretend(monkeypatch, installed, gpus, bfloat16):
    found = importlib.util.find_spec
    monkeypatch.setattr(
        "importlib.util.find_spec",
        lambda name: found(name) if installed or name != "openvino" else None,
    )
    monkeypatch.setattr(engines, "_gpus", lambda: gpus)
    monkeypatch.setattr(engines, "cpu_has_bfloat16", lambda: bfloat16)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (("openvino", "auto"), "OpenVINO is not installed.*--engine tensorflow"),
        (("auto", "bfloat16"), "does not compute in bfloat16.*--precision float32 or auto"),
    ],
)
def test_what_the_machine_lacks_is_refused(monkeypatch, asked, message):
    pretend(monkeypatch, False, [], False)
    with pytest.raises(ConfigError, match=message):
        choose(*asked)


def test_openvino_tells_nobody_of_being_imported():
    code = (
        "import sys; from tlearn.features.engines import openvino; "
        "print(sorted(m for m in sys.modules if 'telemetry' in m and sys.modules[m]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parent.parent,
    )
    assert "openvino_telemetry" not in done.stdout
