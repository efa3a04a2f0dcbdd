"""Each export format: its own runtime reads it, and ``predict.py`` answers what the run answers."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from dataclasses import replace
from typing import get_args

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import Heard
from PIL import Image
from test_own_head import OWN_LAYER

import tlearn
from tlearn.backbones import Preprocess
from tlearn.config import ActivationName
from tlearn.data.images import load_image
from tlearn.data.pixel_values import ValueRanges
from tlearn.errors import PluginError
from tlearn.features.built_backbone import preprocess_pixels
from tlearn.features.engines import Choice
from tlearn.features.engines.openvino import ov  # it reports nothing to its makers
from tlearn.runs.predict_script import predict_script

MODULES = {"onnx": "tf2onnx", "litert": "ai_edge_litert", "litert-int8": "ai_edge_litert"}
FORMATS = (
    "keras", "h5", "weights", "savedmodel", "litert", "litert-int8", "onnx", "openvino", "tfjs"
)  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("exported")


@pytest.fixture(scope="module")
def run(toy_run):
    return tlearn.Run(toy_run.run, precision="float32")


@pytest.fixture(scope="module")
def photos(toy_run, place):
    """Photos, one of them taken with the camera on its side, one transparent."""
    paths = sorted(toy_run.photos.rglob("*.png"))[::9]
    turned, clear = place / "turned.jpg", place / "clear.png"
    exif = Image.Exif()
    exif[0x0112] = 6
    picture = np.kron(np.random.default_rng(0).integers(0, 256, (6, 9, 3)), np.ones((30, 30, 1)))
    Image.fromarray(picture.astype(np.uint8)).save(turned, exif=exif)
    Image.fromarray(picture.astype(np.uint8)).convert("RGBA").rotate(30).save(clear)
    return [*paths, turned, clear]


@pytest.fixture(scope="module")
def expected(run, photos):
    return np.stack([p for _, p in run.classifier.predict(photos)])


@pytest.fixture(scope="module", params=FORMATS)
def exported(request, run, place):
    """Export to each format."""
    if request.param in MODULES:
        pytest.importorskip(MODULES[request.param])
    return request.param, tlearn.export(run, request.param, place / request.param)


def keras_file(folder, pixels):
    """Read a whole model in plain Keras."""
    (path,) = folder.glob("model.*")
    if path.suffix == ".h5":
        with h5py.File(path) as file:
            assert json.loads(file.attrs["labels"]) == ["blue", "green", "red"]
    return keras.models.load_model(path, compile=False).predict(pixels, verbose=0)


def keras_weights(folder, pixels):
    model = keras.models.model_from_json((folder / "architecture.json").read_text())
    model.load_weights(folder / "model.weights.h5")
    return model.predict(pixels, verbose=0)


def tensorflow(folder, pixels):
    model = tf.saved_model.load(str(folder / "1"))
    labels = [label.decode() for label in model.labels().numpy()]
    assert labels == json.loads((folder / "metadata.json").read_text())["labels"]
    answers = model.signatures["serving_default"](pixels=tf.constant(pixels))
    return answers["probabilities"].numpy()


def litert(folder, pixels):
    from ai_edge_litert.interpreter import Interpreter

    with zipfile.ZipFile(folder / "model.tflite") as archive:
        assert archive.read("labels.txt").decode().split() == ["blue", "green", "red"]
    model = Interpreter(str(folder / "model.tflite"))
    model.allocate_tensors()
    (source,), (result,) = model.get_input_details(), model.get_output_details()
    if "int8" in folder.name:
        assert source["dtype"] is result["dtype"] is np.uint8 and source["quantization"] == (1, 0)
        kinds = {t["dtype"] for t in model.get_tensor_details()}
        assert kinds <= {np.uint8, np.int8, np.int32}  # nothing is left in floats
    rows = []
    for image in pixels:
        model.set_tensor(source["index"], image[None].astype(source["dtype"]))
        model.invoke()
        rows.append(model.get_tensor(result["index"])[0].astype(np.float32))
    scale, zero = result["quantization"]
    return (np.stack(rows) - zero) * (scale or 1)


def onnxruntime(folder, pixels):
    import onnxruntime as ort

    session = ort.InferenceSession(str(folder / "model.onnx"), providers=["CPUExecutionProvider"])
    labels = session.get_modelmeta().custom_metadata_map["labels"]
    assert json.loads(labels) == ["blue", "green", "red"]
    return session.run(["probabilities"], {"pixels": pixels})[0]


def openvino(folder, pixels):
    network = ov.Core().read_model(folder / "1" / "model.xml")
    assert network.input("pixels") and network.output("probabilities")
    assert json.loads(network.get_rt_info(["model_info", "labels"]).astype(str))[0] == "blue"
    precise = {"INFERENCE_PRECISION_HINT": "f32"}
    return ov.Core().compile_model(network, "CPU", precise)(pixels)[0]


def tensorflow_js(folder, pixels):
    """Run it in Node.js, if that has TensorFlow.js."""
    card = json.loads((folder / "model.json").read_text())
    assert card["userDefinedMetadata"]["labels"] == ["blue", "green", "red"]
    try:
        done = subprocess.run(
            ["node", "predict.cjs"], cwd=folder, input=pixels.tobytes(), capture_output=True
        )
    except FileNotFoundError:
        pytest.skip("there is no Node.js")
    if b"Cannot find module" in done.stderr:
        pytest.skip("Node.js has no @tensorflow/tfjs (set NODE_PATH)")
    return np.array(json.loads(done.stdout))


READERS = dict(
    zip(
        FORMATS,
        (keras_file, keras_file, keras_weights, tensorflow, litert, litert, onnxruntime, openvino,
         tensorflow_js),
        strict=True,
    )
)  # fmt: skip


def test_its_own_runtime_opens_it(exported, run, photos, expected):
    form, folder = exported
    metadata = json.loads((folder / "metadata.json").read_text(encoding="utf-8"))
    assert metadata["labels"] == list(run.labels) and metadata["resize"] == "squash"
    assert metadata["parity"]["agreement"] == 1 and metadata["parity"]["images"] == 7
    pixels = np.stack([load_image(path, 32) for path in photos]).astype("float32")
    found = READERS[form](folder, pixels)
    np.testing.assert_allclose(found, expected, atol=0.05 if "int8" in form else 1e-5)


def test_tensorflow_serving_takes_image_files(toy_run, place, tmp_path):
    """As its REST interface does with ``{"signature_name": ..., "instances": [{"b64": ...}]}``."""
    viewed = tlearn.Run(toy_run.run, precision="float32", tta=2)
    folder = tlearn.export(viewed, "savedmodel", tmp_path / "model")
    versions = [path.name for path in folder.iterdir() if path.is_dir()]
    assert versions == ["1"]  # of which the server takes the highest
    signature = tf.saved_model.load(str(folder / "1")).signatures["image_bytes"]
    assert list(signature.structured_input_signature[1]) == ["image_bytes"]
    photos = sorted(toy_run.photos.rglob("*.png"))
    answer = signature(image_bytes=tf.constant([path.read_bytes() for path in photos]))
    expected = viewed.predict(photos)
    assert [label.decode() for label in answer["label"].numpy()] == [p.label for p in expected]
    ours = np.stack([p for _, p in viewed.classifier.predict(photos)])
    np.testing.assert_allclose(answer["probabilities"].numpy(), ours, atol=0.02)


@pytest.mark.parametrize("resize", ["squash", "crop", "pad"])
@pytest.mark.parametrize("size", [(90, 60), (60, 91), (20, 20)])
def test_tensorflow_makes_the_same_pixels_of_files(tmp_path, resize, size):
    from tlearn_plugins.tf_pictures import pixels_of

    colours = np.random.default_rng(2).integers(0, 256, (5, 5, 3), np.uint8)
    Image.fromarray(colours).resize(size, Image.Resampling.BICUBIC).save(tmp_path / "a.png")
    file = (tmp_path / "a.png").read_bytes()
    ours = load_image(tmp_path / "a.png", 32, resize).astype(float)
    (theirs,) = pixels_of(tf.constant([file]), 32, resize).numpy()
    assert np.abs(ours - theirs).max() <= (
        10 if resize == "crop" else 2
    )  # whole pixels are cut off


def answers_of(folder, photos, labels):
    """Return what ``predict.py`` says of photos; it must import nothing of tlearn."""
    code = (
        "import runpy, sys; sys.argv = sys.argv[1:]\n"
        "try: runpy.run_path(sys.argv[0], run_name='__main__')\n"
        "finally: assert 'tlearn' not in sys.modules"
    )
    words = [str(folder / "predict.py"), *map(str, photos)]
    environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(
        [sys.executable, "-c", code, *words], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr
    lines = [line.split("\t") for line in done.stdout.splitlines()]
    assert [line[0] for line in lines] == list(map(str, photos))
    answers = [dict(cell.rsplit(" ", 1) for cell in line[1:]) for line in lines]
    return np.array([[float(answer[label]) for label in labels] for answer in answers])


def test_predict_py_answers_what_the_run_answers(exported, run, photos, expected):
    form, folder = exported
    if form in ("keras", "h5"):
        return  # the loader of "weights"
    if form == "tfjs":
        tensorflow_js(folder, np.zeros((1, 32, 32, 3), np.float32))
    found = answers_of(folder, photos, run.labels)
    np.testing.assert_allclose(found, expected, atol=0.05 if "int8" in form else 1e-5)


def test_layers_of_an_own_head_come_along(toy_run, photos, tmp_path):
    (tmp_path / "cosine.py").write_text(OWN_LAYER)
    own = tlearn.finetune(
        toy_run.photos,
        tmp_path / "run",
        backbone="toy",
        weights="none",
        stages="none:1",
        head={"module": f"{tmp_path / 'cosine.py'}:build"},
        precision="float32",
        quiet=True,
    )
    expected = np.stack([p for _, p in tlearn.Run(own.path).classifier.predict(photos)])
    folder = tlearn.export(own, "weights")
    np.testing.assert_allclose(answers_of(folder, photos, own.labels), expected, atol=0.02)


def test_every_activation_comes_along(toy_run, tmp_path):
    names = (*get_args(ActivationName), "mish", "softplus", "softsign", "hard_silu", "relu6")
    (tmp_path / "all.py").write_text(
        "from keras import layers\n"
        "def build(x, classes):\n"
        f"    x = layers.Concatenate()([layers.Activation(name)(x) for name in {names}])\n"
        "    return layers.Dense(classes)(x)\n"
    )
    options = {"backbone": "toy", "weights": "none", "stages": "none:1", "precision": "float32"}
    head = {"module": f"{tmp_path / 'all.py'}:build"}
    own = tlearn.finetune(toy_run.photos, tmp_path / "run", head=head, quiet=True, **options)
    for form in ("onnx", "openvino", "litert"):
        metadata = json.loads((tlearn.export(own, form) / "metadata.json").read_text())
        assert metadata["parity"]["largest_difference"] < 1e-4, form


def needs_what_is_not_here(folder):
    """Needs: pip install nothing."""
    import of_no_package

    return of_no_package


@pytest.mark.parametrize("resize", ["squash", "crop", "pad"])
@pytest.mark.parametrize("tta", [1, 2, 4])
def test_predict_py_reads_photos_as_the_run_does(run, tmp_path, photos, resize, tta):
    """Turned, transparent, of 16 bits or floats, grey, CMYK, large, with a palette."""
    rng = np.random.default_rng(1)
    odd = {
        "deep.png": Image.fromarray(rng.integers(0, 4096, (40, 50), np.uint16)),
        "float.tif": Image.fromarray(rng.random((30, 40), np.float32)),
        "grey.png": Image.fromarray(rng.integers(0, 256, (31, 47), np.uint8)),
        "inks.jpg": Image.fromarray(rng.integers(0, 256, (64, 48, 4), np.uint8), "CMYK"),
        "large.jpg": Image.fromarray(rng.integers(0, 256, (611, 803, 3), np.uint8)),
        "palette.gif": Image.fromarray(rng.integers(0, 256, (40, 30, 3), np.uint8)).quantize(),
    }
    for name, image in odd.items():
        image.save(tmp_path / name)
    ranges = ValueRanges((0, 4095), (0, 1))
    classifier = replace(run.classifier, resize=resize, tta=tta, ranges=ranges)
    metadata = {
        "labels": [], "size": 32, "resize": resize, "views": tta,
        "ranges": dict(zip(("integer", "float"), ranges, strict=True)),
        "augment": tlearn.RunConfig().augment.model_dump(),
    }  # fmt: skip
    (tmp_path / "metadata.json").write_text(json.dumps(metadata))
    (tmp_path / "predict.py").write_text(predict_script("any", needs_what_is_not_here, tta))
    script = subprocess.run(
        [
            sys.executable, "-c",
            "import runpy, sys; from pathlib import Path; import numpy as np\n"
            "views = runpy.run_path(sys.argv[1], run_name='x')['views_of']\n"
            "np.savez(sys.argv[2], *[views(Path(name)) for name in sys.argv[3:]])",
            str(tmp_path / "predict.py"), str(tmp_path / "views.npz"),
            *(paths := [str(tmp_path / name) for name in odd] + [str(p) for p in photos]),
        ],
        capture_output=True, text=True,
    )  # fmt: skip
    assert script.returncode == 0, script.stderr
    with np.load(tmp_path / "views.npz") as found:
        for path, name in zip(paths, found.files, strict=True):
            _, views = classifier.read_views(type(tmp_path)(path))
            np.testing.assert_array_equal(found[name], views, path)


def test_without_node_js_tensorflow_reads_what_was_written(run, place, monkeypatch):
    monkeypatch.setenv("PATH", "")
    progress = Heard()
    folder = tlearn.export(run, "tfjs", place / "without_node", progress)
    assert json.loads((folder / "metadata.json").read_text())["parity"]["agreement"] == 1
    assert "there is no Node.js" in progress.lines[0]
    assert "compared by TensorFlow instead" in progress.lines[0]


def test_predict_py_says_what_it_needs(tmp_path):
    (tmp_path / "metadata.json").write_text(json.dumps({"labels": [], "size": 8, "resize": "pad"}))
    (tmp_path / "predict.py").write_text(predict_script("any", needs_what_is_not_here, 1))
    for words, reason in (((), "python predict.py PHOTO"), (("a.png",), "'of_no_package'")):
        done = subprocess.run(
            [sys.executable, str(tmp_path / "predict.py"), *words], capture_output=True, text=True
        )
        assert done.returncode == 2 and reason in done.stderr
        assert "Needs: pip install nothing." in done.stderr


def test_a_run_of_several_views_answers_with_their_average(run, toy_run, place, photos):
    viewed = tlearn.Run(toy_run.run, precision="float32", tta=4)
    folder = tlearn.export(viewed, "openvino", place / "views")
    metadata = json.loads((folder / "metadata.json").read_text())
    assert metadata["views"] == 4 and metadata["parity"]["largest_difference"] < 1e-5


def test_an_ensemble_is_exported_in_float32(toy_run, tmp_path):
    """The members are averaged in the file; the run's engine may compute in bfloat16."""
    ensemble = tlearn.finetune(
        toy_run.photos,
        tmp_path / "run",
        backbone="toy",
        weights="none",
        stages="1:2,2:2",
        quiet=True,
    )
    folder = tlearn.export(ensemble, "openvino")
    assert folder == tmp_path / "run" / "export" / "openvino"
    paths = [path for path, _ in ensemble.images("validation")]
    exact = replace(ensemble.classifier, choice=Choice("tensorflow", "float32"))
    expected = np.stack([p for _, p in exact.predict(paths)])
    pixels = np.stack([load_image(path, 32) for path in paths]).astype("float32")
    np.testing.assert_allclose(openvino(folder, pixels), expected, atol=1e-5)


def test_hdf5_refuses_what_is_no_layer(run, place):
    x = keras.Input((32, 32, 3), name="pixels")
    y = keras.layers.GlobalAveragePooling2D()(keras.ops.log(x + 1.0))
    odd = tlearn.Run(run.path)
    odd.__dict__["model"] = keras.Model(x, keras.layers.Softmax()(y))
    with pytest.raises(PluginError, match="HDF5 holds no operation such as Add; choose keras"):
        tlearn.export(odd, "h5", place / "odd")


def test_every_preprocessing_is_made_of_layers_so_that_hdf5_holds_it():
    pixels = np.random.default_rng(0).uniform(0, 255, (2, 8, 8, 3)).astype("float32")
    for preprocess in (Preprocess.TF, Preprocess.CAFFE, Preprocess.TORCH, Preprocess.NONE):
        x = keras.Input((8, 8, 3))
        model = keras.Model(x, preprocess_pixels(x, preprocess))
        assert all(isinstance(one, keras.Layer) for one in model.operations)
        factor, summand = preprocess.factors()
        ordered = pixels[..., ::-1] if preprocess.channel_order == "bgr" else pixels
        found = model.predict(pixels, verbose=0)
        np.testing.assert_allclose(found, ordered * factor + summand, rtol=1e-6, atol=1e-4)


@pytest.mark.slow
def test_whole_numbers_agree_on_real_photos(shared, tmp_path):
    pytest.importorskip("ai_edge_litert")
    photos = tmp_path / "photos"
    for label in ("daisy", "roses", "tulips"):
        (photos / label).mkdir(parents=True)
        for path in sorted((shared / "data/flowers" / label).iterdir())[:60]:
            shutil.copy(path, photos / label)
    run = tlearn.finetune(photos, tmp_path / "run", preset="quick", quiet=True)
    for form, most in (("litert", 1e-4), ("litert-int8", 0.2)):
        metadata = json.loads((tlearn.export(run, form) / "metadata.json").read_text())
        assert metadata["parity"]["agreement"] >= 0.94  # one image of 36 may lie between classes
        assert metadata["parity"]["largest_difference"] < most
