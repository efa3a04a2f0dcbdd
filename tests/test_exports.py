"""What is made of a run: exports that predict the same."""

import json

import numpy as np
import pytest
from conftest import Heard

import tlearn
from tlearn.backbones import Exporter
from tlearn.cli import main
from tlearn.errors import ConfigError, DataError, PluginError
from tlearn.runs.parity import compare_answers

STRANGER = """
import numpy as np
from tlearn.backbones import Exporter, hookimpl

def fails(run, folder):
    (folder / "model.bad").write_text("half")
    raise KeyError("no")

def writes(run, folder):
    (folder / "names.txt").write_text(",".join(run.labels))

def guess(folder):
    "Needs nothing."
    return lambda pixels: np.tile([[0.1, 0.2, 0.7]], (len(pixels), 1))

@hookimpl
def tlearn_exporters():
    return [
        Exporter("fails", "never", fails),
        Exporter("names", "names", writes),
        Exporter("wrong", "always the same class", writes, guess),
        Exporter("far", "elsewhere", writes, modules=("of_no_package",), install="far"),
    ]
"""


@pytest.fixture
def stranger(plugin_file):
    return plugin_file("stranger", STRANGER)


def test_exporters_get_a_model_that_was_called(copied_run):
    """Keras's export to ONNX refuses another as unfinished."""
    assert tlearn.Run(copied_run.path).model._called


def test_an_export_that_fails_leaves_nothing(copied_run, tmp_path, stranger):
    with pytest.raises(
        PluginError, match=r"export to fails failed \(KeyError: 'no'\); nothing was"
    ):
        tlearn.export(copied_run, "fails", tmp_path / "out")
    with pytest.raises(
        PluginError, match=r"does not predict as the run does: the likeliest .* 99% must agree"
    ):
        tlearn.export(copied_run, "wrong", tmp_path / "out")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["plugins"]


def test_a_format_without_a_loader_gets_the_metadata(copied_run, tmp_path, stranger):
    progress = Heard()
    folder = tlearn.export(copied_run, "names", tmp_path / "names", progress)
    assert sorted(path.name for path in folder.iterdir()) == ["metadata.json", "names.txt"]
    metadata = json.loads((folder / "metadata.json").read_text())
    assert metadata["labels"] == ["blue", "green", "red"] and metadata["size"] == 32
    assert progress.lines == ["names has no loader: it is not compared with the run"]


def test_exports_through_the_command_line(copied_run, tmp_path, capsys):
    run = copied_run
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "stranger.py").write_text(STRANGER)
    plugins = str(tmp_path / "plugins")
    assert main(["export", str(run.path), "keras", "--quiet"]) == 0
    assert capsys.readouterr().out == (
        "the likeliest class is the run's for 7 of 7 held-back images (100.0%); the largest "
        f"difference of a probability is 0\nwritten to {run.path / 'export' / 'keras'}\n"
    )
    slips = {
        ("nonsense",): "installed: h5, keras, litert, litert-int8, onnx, openvino, ",
        ("openvin",): "did you mean 'openvino'",
        ("keras",): "exists already",
        ("keras", "--out", str(tmp_path)): "exists already",
        ("far", "--plugins-dir", plugins): "needs of_no_package, which is not installed; run pip "
        "install 'far'",
    }
    for words, reason in slips.items():
        assert main(["export", str(run.path), *words]) == 2
        err = capsys.readouterr().err
        assert reason in err and err.count("\n") == 1
    assert main(["export", str(tmp_path / "none"), "openvino"]) == 2
    assert "there is no run directory" in capsys.readouterr().err


def test_where_the_photos_are_gone_pictures_are_drawn(toy_run_copy, tmp_path):
    run, progress = tlearn.Run(toy_run_copy.run), Heard()
    run.record["data"]["path"] = str(tmp_path / "gone")
    folder = tlearn.export(run, "openvino", tmp_path / "out", progress)
    parity = json.loads((folder / "metadata.json").read_text())["parity"]
    assert parity["what"] == "drawn pictures" and parity["agreement"] == 1
    assert "none of the 7 held-back images is in" in progress.lines[0]
    with pytest.raises(DataError, match="no longer where the run"):
        tlearn.export(run, "litert-int8", tmp_path / "small")  # which looks at training photos


def test_one_image_between_two_classes_does_not_decide():
    exporter = Exporter("any", "any", lambda run, folder: None)
    ours = np.tile([0.9, 0.06, 0.04], (20, 1))
    ours[7] = [0.48, 0.47, 0.05]
    theirs = ours.copy()
    theirs[7] = [0.47, 0.48, 0.05]
    assert compare_answers(ours, theirs, "images", exporter).agreement == 0.95
    theirs[3] = [0.4, 0.6, 0]
    with pytest.raises(PluginError, match=r"18 of 20 images \(90.0%\)"):
        compare_answers(ours, theirs, "images", exporter)
    theirs[3], theirs[7] = [0.4, 0.6, 0], ours[7]
    with pytest.raises(PluginError, match=r"19 of 20"):  # the run was sure of that one
        compare_answers(ours, theirs, "images", exporter)
    theirs[3] = np.nan
    with pytest.raises(PluginError, match="not finite"):
        compare_answers(ours, theirs, "images", exporter)


def test_an_unknown_format_names_those_there_are(copied_run):
    with pytest.raises(ConfigError, match="installed: h5, keras, litert, "):
        tlearn.export(copied_run, "coffee")
