"""EfficientNet-Lite: its weights are ImageNet's, and come from a file that is safe to read."""

import pickle
import struct
from dataclasses import replace

import numpy as np
import pytest

import tlearn
from tlearn.backbones import load_registry, read_torch_weights
from tlearn.errors import BackboneError
from tlearn.features.built_backbone import load_backbone, preprocess_pixels

DAISY = 985  # of ImageNet's classes


@pytest.fixture(scope="module")
def lite():
    return load_registry().get("efficientnet_lite0")


@pytest.mark.slow
def test_photos_of_daisies_are_daisies(lite, shared):
    photos = sorted((shared / "data" / "flowers" / "daisy").iterdir())[:20]
    pixels = np.stack([tlearn.load_image(path, 224, "crop") for path in photos])
    base = load_backbone(lite, None, "imagenet", 0).base
    maps = np.asarray(base(preprocess_pixels(pixels, lite.preprocess), training=False))
    top = read_torch_weights(lite.weights[0].read())  # with the layer of classes, unlike the base
    logits = maps.mean((1, 2)) @ top["_fc.weight"].T + top["_fc.bias"]
    assert (logits.argmax(1) == DAISY).mean() >= 0.8


# A tensor of 2 by 2 numbers from the second of a storage of 6, its columns in memory one by one.
TENSOR = (
    b"ctorch._utils\n_rebuild_tensor_v2\n"
    b"((S'storage'\nctorch\nFloatStorage\nS'7'\nS'cpu'\nI6\nNtQI1\n(I2\nI2\nt(I1\nI2\nttR"
)
NUMBERS = struct.pack("<q6f", 6, *range(6))


def torch_file(value, end=NUMBERS):
    """Return a file as torch before 1.6 saved it, with one pickled value."""
    head = b"".join(pickle.dumps(x) for x in (0x1950A86A20F9469CFC6C, 1001, {}))
    return head + b"(dS'x'\n" + value + b"s." + pickle.dumps(["7"]) + end


def test_tensors_are_read_by_their_strides():
    read = read_torch_weights(torch_file(TENSOR))
    assert {name: array.tolist() for name, array in read.items()} == {"x": [[1, 3], [2, 4]]}


def test_a_file_with_anything_but_tensors_is_refused_and_nothing_in_it_runs(tmp_path):
    run = b"cos\nmkdir\n(S'%s'\ntR" % bytes(tmp_path / "made")
    for data, words in (
        (torch_file(run), "it names os.mkdir, which is no tensor"),
        (torch_file(TENSOR.replace(b"Float", b"Untyped")), "it names torch.UntypedStorage"),
        (torch_file(TENSOR, NUMBERS[:-8]), "incompatible with shape"),
        (torch_file(TENSOR)[:90], "no such weights"),
        (pickle.dumps(1) * 5, "does not begin as such files do"),
        (b"", "no such weights"),
    ):
        with pytest.raises(BackboneError, match=words):
            read_torch_weights(data)
    assert not (tmp_path / "made").exists()


def test_another_file_and_a_missing_package_are_refused_in_one_line(lite):
    (weights,) = lite.weights
    other = replace(weights, sha256="0" * 64)
    missing = replace(weights, package="efficientnet-lite9-pytorch-model")
    for one, words in (
        (other, "SHA-256 is 579344248a93..., not 000000000000...; run 'pip install --force"),
        (missing, "run 'pip install efficientnet-lite9-pytorch-model'"),
    ):
        broken = replace(lite, weights=(one,), build=lambda *_, one=one: one.read())
        with pytest.raises(BackboneError, match=words) as caught:
            load_backbone(broken, None, "imagenet", 0)
        assert "\n" not in str(caught.value) and "could not be loaded" not in str(caught.value)
    assert weights.on_this_machine and not missing.on_this_machine
