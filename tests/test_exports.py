"""What is made of a run: exports that predict the same, a report that stands alone."""

import base64
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

import tlearn
from tlearn.cli import main
from tlearn.data.images import load_image
from tlearn.errors import ConfigError, PluginError, RunError
from tlearn.features.engines.openvino import ov  # it reports nothing to its makers

STRANGER = """
from tlearn.backbones import Exporter, ReportSection, hookimpl

def fails(run, path):
    path.write_text("half")
    raise KeyError("no")

def writes(run, path):
    path.write_text(",".join(run.labels))

@hookimpl
def tlearn_exporters():
    return [Exporter("fails", "never", ".bad", fails), Exporter("names", "names", ".txt", writes)]

@hookimpl
def tlearn_reports():
    return [
        ReportSection("mine", "Mine & yours", lambda run: f"<p>{len(run.labels)} of them</p>"),
        ReportSection("broken", "Broken", lambda run: 1 / 0),
        ReportSection("silent", "Silent", lambda run: None),
    ]
"""


@pytest.fixture(scope="module")
def made(toy_run, tmp_path_factory):
    run = shutil.copytree(toy_run.run, tmp_path_factory.mktemp("made") / "run")
    return tlearn.Run(run), toy_run.photos


@pytest.fixture
def stranger(plugin_file):
    return plugin_file("stranger", STRANGER)


@pytest.fixture(scope="module")
def pixels(made):
    """Return six photos and what the run's model says of them."""
    run, photos = made
    paths = sorted(photos.rglob("*.png"))[::6]
    images = np.stack([load_image(path, 32, "squash") for path in paths]).astype("float32")
    return images, np.asarray(run.model(images, training=False))


def test_a_saved_model_predicts_the_same(made, pixels, tmp_path):
    path = tlearn.export(made[0], "saved_model", tmp_path / "out")
    loaded = tf.saved_model.load(str(path))
    found = loaded.serve(pixels[0])
    np.testing.assert_allclose(found, pixels[1], atol=1e-5)
    assert json.loads((path / "labels.json").read_text()) == list(made[0].labels)


def test_an_openvino_model_predicts_the_same(made, pixels):
    run, _ = made
    path = tlearn.export(run, "openvino")
    assert path == run.path / "model_openvino"
    model = ov.Core().compile_model(path / "model.xml", "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    np.testing.assert_allclose(model(pixels[0])[0], pixels[1], atol=1e-5)
    assert json.loads((path / "labels.json").read_text()) == list(run.labels)
    with pytest.raises(RunError, match="exists already"):
        tlearn.export(run, "openvino")


def test_exporters_get_a_model_that_was_called(made):
    """Keras's export to ONNX refuses another as unfinished."""
    assert tlearn.Run(made[0].path).model._called


def test_an_export_that_fails_leaves_nothing(made, tmp_path, stranger):
    with pytest.raises(
        PluginError, match=r"export to fails failed \(KeyError: 'no'\); nothing was"
    ):
        tlearn.export(made[0], "fails", tmp_path / "out.bad")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["plugins"]
    path = tlearn.export(made[0], "names", tmp_path / "names.txt")
    assert path.read_text() == "blue,green,red"


def test_exports_through_the_command_line(made, tmp_path, capsys):
    run, _ = made
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "stranger.py").write_text(STRANGER)
    plugins = str(tmp_path / "plugins")
    assert main(["export", str(run.path), "names", "--plugins-dir", plugins]) == 0
    assert capsys.readouterr().out == f"written to {run.path / 'model.txt'}\n"
    slips = {
        ("nonsense",): "no export format is called 'nonsense'; installed: openvino, saved_model",
        ("openvin",): "did you mean 'openvino'",
        ("openvino", "--out", str(tmp_path)): "exists already",
    }
    for words, reason in slips.items():
        assert main(["export", str(run.path), *words]) == 2
        err = capsys.readouterr().err
        assert reason in err and err.count("\n") == 1
    assert main(["export", str(tmp_path / "none"), "openvino"]) == 2
    assert "there is no run directory" in capsys.readouterr().err


def test_the_report_stands_alone_and_tells_what_the_run_holds(made):
    run, photos = made
    page = tlearn.report(run).read_text(encoding="utf-8")
    assert not re.search(r"(src|href)\s*=\s*[\"'](?!data:|#)", page)
    assert "<script" not in page
    figures = run.metrics["validation"]
    assert f"{figures['accuracy']:.1%} (" in page and str(photos) in page
    for label in run.labels:
        assert f"<td>{label}<td>" in page
    pictures = [base64.b64decode(found) for found in re.findall(r"base64,([^\"]+)", page)]
    assert [p for p in pictures if b"<svg" in p] == pictures
    assert {*pictures} == {(run.path / f"{n}.svg").read_bytes() for n in ("curves", "confusion")}
    order = [
        page.index(f'<h2 id="{name}"') for name in ("figures", "classes", "stages", "problems")
    ]
    assert order == sorted(order)
    tlearn.Run(run.path)  # still a whole run


def test_the_report_needs_no_tensorflow(made, tmp_path):
    code = (
        "import sys; from tlearn.cli import main; code = main(sys.argv[1:]); "
        "print(sorted({'tensorflow', 'keras', 'sklearn'} & sys.modules.keys()), code)"
    )
    words = ["report", str(made[0].path), "--out", str(tmp_path / "page.html")]
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True)
    assert done.stdout.endswith("\n[] 0\n") and not done.stderr


def test_a_class_without_images_is_said_to_have_none(made, tmp_path):
    path = tmp_path / "run"
    shutil.copytree(made[0].path, path, ignore=shutil.ignore_patterns("model_openvino"))
    metrics = json.loads((path / "metrics.json").read_text())
    figures = metrics["validation"]
    figures["per_class"]["red"] |= {"n": 0, "recall": None, "f1": None}
    (path / "metrics.json").write_text(json.dumps(metrics))
    page = tlearn.report(path).read_text(encoding="utf-8")
    assert "<td>red<td>no images<td>" in page and "Not drawn" not in page


def test_a_section_that_fails_is_named_and_spoils_no_other(made, tmp_path, capsys, stranger):
    run, _ = made
    plugins = str(tmp_path / "plugins")
    out = tmp_path / "page.html"
    assert main(["report", str(run.path), "--out", str(out), "--plugins-dir", plugins]) == 0
    said = capsys.readouterr()
    assert said.out == f"the report is {out}\n"
    assert "section broken of the report could not be drawn: ZeroDivisionError" in said.err
    page = out.read_text(encoding="utf-8")
    assert '<h2 id="mine">Mine &amp; yours</h2>\n<section>\n<p>3 of them</p>' in page
    assert "Not drawn: ZeroDivisionError: division by zero" in page
    assert "render must return HTML, it returned None" in page
    assert 'id="figures"' in page


def test_slips_of_the_report(made, tmp_path, capsys):
    assert main(["report", str(tmp_path / "none")]) == 2
    assert "there is no run directory" in capsys.readouterr().err
    assert main(["report", str(made[0].path), "--out", str(tmp_path / "no/page.html")]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and "no" in err
    assert not Path(tmp_path / "no").exists()
    with pytest.raises(RunError, match=r"the report '.*' cannot be written: .*; choose another"):
        tlearn.report(made[0], tmp_path)


def test_an_unknown_format_names_those_there_are(made):
    with pytest.raises(ConfigError, match="installed: openvino, saved_model"):
        tlearn.export(made[0], "coffee")
