"""Features from any layer, and the list of layers to choose from."""

import json
import shutil

import keras
import numpy as np
import pytest
from PIL import Image
from pyarrow import parquet

from tlearn.backbones import load_registry
from tlearn.cli import main
from tlearn.data.images import load_image
from tlearn.errors import BackboneError, ConfigError, DataError
from tlearn.features import extraction
from tlearn.features.built_backbone import load_backbone, preprocess_pixels
from tlearn.features.image_features import extract_features

TOY = {"backbone": "toy", "weights": "none", "quiet": True}


@pytest.fixture(scope="module")
def built():
    return load_backbone(load_registry().get("toy"), None, "none", 0)


def by_hand(built, paths, layer):
    """Return what a layer gives for photos, computed with Keras alone."""
    pixels = np.stack([load_image(path, built.size, "squash") for path in paths]).astype("float32")
    model = keras.Model(built.base.input, built.base.get_layer(layer).output)
    x = preprocess_pixels(keras.ops.convert_to_tensor(pixels), built.backbone.preprocess)
    return np.asarray(model(x, training=False))


@pytest.mark.parametrize("engine", ["openvino", "tensorflow"])
@pytest.mark.parametrize("pool", ["avg", "none"])
def test_an_npz_has_what_the_layer_gives(photos, tmp_path, built, engine, pool):
    found = extract_features(
        photos, tmp_path / "f.npz", layer="block2_relu", pool=pool, engine=engine, **TOY
    )
    wanted = by_hand(built, sorted(photos.rglob("*.png")), "block2_relu")
    wanted = wanted.mean(axis=(1, 2)) if pool == "avg" else wanted
    with np.load(found.path, allow_pickle=False) as file:
        np.testing.assert_allclose(file["features"], wanted, rtol=1e-4, atol=1e-4)
        assert file["features"].dtype == np.float32 and file["features"].shape == found.shape
        assert file["paths"].tolist() == [
            f"{p.parent.name}/{p.name}" for p in sorted(photos.rglob("*.png"))
        ]
        assert file["labels"].tolist() == [name.split("/")[0] for name in file["paths"].tolist()]
        facts = json.loads(str(file["facts"]))
    assert facts["backbone"] == "toy" and facts["layer"] == "block2_relu" and facts["pool"] == pool
    assert facts["precision"] == "float32" and facts["engine"] == engine


def test_parquet_has_the_same(photos, tmp_path, monkeypatch):
    monkeypatch.setattr(extraction, "GROUP", 5000)  # several groups of rows
    options = {"layer": "block3_conv", "pool": "none", **TOY}
    shape = extract_features(photos, tmp_path / "f.parquet", **options).shape
    extract_features(photos, tmp_path / "f.npz", **options)
    table = parquet.read_table(tmp_path / "f.parquet")
    assert parquet.ParquetFile(tmp_path / "f.parquet").num_row_groups > 1
    rows = np.stack(table["features"].to_pylist()).reshape(shape)
    with np.load(tmp_path / "f.npz") as file:
        np.testing.assert_array_equal(rows, file["features"])
        assert table["path"].to_pylist() == file["paths"].tolist()
        assert table["label"].to_pylist() == file["labels"].tolist()
    facts = json.loads(table.schema.metadata[b"tlearn"])
    assert facts["shape"] == list(shape[1:]) and facts["layer"] == "block3_conv"


def test_the_topmost_layer_is_the_default(photos, tmp_path):
    found = extract_features(photos, tmp_path / "f.npz", **TOY)
    assert found.shape == (36, 24)


def test_a_folder_without_classes_and_unreadable_files(photos, tmp_path):
    flat = tmp_path / "flat"
    shutil.copytree(photos / "red", flat)
    (flat / "broken.png").write_bytes(b"no picture")
    found = extract_features(flat, tmp_path / "f.npz", **TOY)
    assert found.shape[0] == 12 and [name for name, _ in found.unreadable] == ["broken.png"]
    with np.load(found.path) as file:
        assert set(file["labels"].tolist()) == {""} and "broken.png" not in file["paths"].tolist()
    with pytest.raises(DataError, match=r"1 image cannot be read: broken\.png"):
        extract_features(flat, tmp_path / "g.npz", strict=True, **TOY)


@pytest.mark.parametrize(
    ("out", "options", "error", "reason"),
    [
        ("f.csv", {}, ConfigError, r"must end in \.npz or \.parquet"),
        ("no/f.npz", {}, ConfigError, "is in a folder that does not exist"),
        ("f.npz", {"layer": "block2_rely"}, BackboneError, "did you mean 'block2_relu'"),
        ("f.npz", {"size": 8}, BackboneError, "16 pixels or more"),
        ("f.npz", {"precision": "float8"}, ConfigError, "precision"),
    ],
)
def test_slips_are_refused_and_leave_nothing(photos, tmp_path, out, options, error, reason):
    before = sorted(tmp_path.iterdir())
    with pytest.raises(error, match=reason):
        extract_features(photos, tmp_path / out, **TOY, **options)
    assert sorted(tmp_path.iterdir()) == before


def test_what_exists_is_not_overwritten(photos, tmp_path):
    (tmp_path / "f.npz").write_text("mine")
    with pytest.raises(ConfigError, match="exists already"):
        extract_features(photos, tmp_path / "f.npz", **TOY)
    assert (tmp_path / "f.npz").read_text() == "mine"


def test_a_full_disk_leaves_nothing(photos, tmp_path, monkeypatch):
    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np.lib.format, "write_array_header_2_0", full)
    with pytest.raises(DataError, match="No space left on device; choose another --out"):
        extract_features(photos, tmp_path / "f.npz", **TOY)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["photos"]


def test_layers_are_told_with_their_blocks(built, capsys):
    assert main(["layers", "toy", "--json"]) == 0
    found = {layer["name"]: layer for layer in json.loads(capsys.readouterr().out)}
    assert [layer["index"] for layer in found.values()] == list(range(len(built.base.layers)))
    assert [name for name, layer in found.items() if layer["boundary"]] == [
        "block2_conv",
        "block3_conv",
    ]
    for name, layer in found.items():
        block = int(name[5]) - 1 if name.startswith("block") else 0
        assert layer["block"] == block, name
    assert found["block2_conv"]["parameters"] == 16 * (8 * 9 + 1)
    assert found["block2_conv"]["shape"] == [16, 16, 16]
    assert sum(layer["parameters"] for layer in found.values()) == built.base.count_params()
    assert main(["layers", "toy", "--size", "64"]) == 0
    out = capsys.readouterr().out
    (line,) = [line for line in out.splitlines() if " block2_conv " in line]
    assert line.split() == [
        "5",
        "block2_conv",
        "Conv2D",
        "32",
        "x",
        "32",
        "x",
        "16",
        "1,168",
        "1",
        "before",
        "--stages",
        "2",
    ]
    assert "--stages block3_conv" in out.splitlines()[-1]


def test_a_boundary_after_a_layer_counts_what_is_above_it(capsys):
    assert main(["layers", "inception_v3", "--size", "75"]) == 0
    out = capsys.readouterr().out
    (line,) = [line for line in out.splitlines() if " mixed9 " in line]
    assert line.split()[-3:] == ["after", "--stages", "1"]


@pytest.mark.skipif(shutil.which("dot") is None, reason="Graphviz is not installed")
def test_the_network_is_drawn(tmp_path, capsys):
    assert main(["layers", "toy", "--plot", str(tmp_path / "toy.png")]) == 0
    with Image.open(tmp_path / "toy.png") as picture:
        width, height = picture.size
    assert height > width > 100


@pytest.mark.parametrize(
    ("plot", "reason"),
    [("toy.gif", "ends in .png, .svg, .pdf"), ("no/toy.png", "in an existing folder")],
)
def test_a_picture_of_another_kind_is_refused(tmp_path, capsys, plot, reason):
    assert main(["layers", "toy", "--plot", str(tmp_path / plot)]) == 2
    assert reason in capsys.readouterr().err


def test_without_graphviz_it_says_what_to_install(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("keras.src.utils.model_visualization.check_graphviz", lambda: False)
    assert main(["layers", "toy", "--plot", str(tmp_path / "toy.png")]) == 2
    err = capsys.readouterr().err
    assert "drawing needs pydot and Graphviz" in err and err.count("\n") == 1
    assert not (tmp_path / "toy.png").exists()


def test_through_the_command_line(photos, tmp_path, capsys):
    out = tmp_path / "f.npz"
    options = ["--backbone", "toy", "--weights", "none", "--out", str(out), "--quiet"]
    assert main(["features", str(photos), *options]) == 0
    assert capsys.readouterr().out == f"36 x 24 numbers in {out}\n"
    assert main(["features", str(photos), *options]) == 2
    assert "exists already" in capsys.readouterr().err
