"""What a user can get wrong is said in one line, with exit code 2, and leaves nothing behind."""

import re
import shutil
import zipfile

import pytest
from conftest import contents

import tlearn
from tlearn import errors
from tlearn.cli import main
from tlearn.errors import one_line

TOY = "--backbone toy --weights none --stages 1:1"


@pytest.fixture
def refused(capsys, tmp_path, monkeypatch):
    """Run a command that must fail in one line and change nothing; return its words."""
    monkeypatch.chdir(tmp_path)

    def refused(*arguments):
        before = sorted(tmp_path.rglob("*"))
        code = main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        assert (code, out) == (2, ""), err
        (line,) = err.splitlines()
        assert err.startswith("tlearn: error: ") and err.endswith("\n")
        assert sorted(tmp_path.rglob("*")) == before
        return line.removeprefix("tlearn: error: ")

    return refused


@pytest.fixture
def training_refused(refused):
    """The same for a training, by its data and the options that differ from an ordinary one."""

    def training_refused(data, *options):
        return refused("finetune", data, *TOY.split(), "--out", "the run", "--quiet", *options)

    return training_refused


def keep(photos, **counts):
    """Leave so many images in each class, and drop the classes that are not named."""
    for folder in photos.iterdir():
        for path in sorted(folder.iterdir())[counts.get(folder.name, 0) :]:
            path.unlink()
        if folder.name not in counts:
            folder.rmdir()


def test_folders_that_cannot_be_trained_on(training_refused, photos):
    """Fewer and fewer images."""
    one_class = "has only one class, 'red'; a classifier needs two or more"
    for counts, words in (
        ({"red": 12, "blue": 1}, "class 'blue' has only one image; every class needs two"),
        ({"red": 12, "blue": 0}, one_class),
        ({"red": 12}, one_class),
        ({"red": 0}, "^no images below"),
        ({}, "^no images below '.*photos'; give a folder that holds one folder of images per"),
    ):
        keep(photos, **counts)
        assert re.search(words, training_refused(photos)), counts


def test_data_that_is_no_folder(training_refused, photos):
    assert "'nowhere' is not there; give a folder" in training_refused("nowhere")
    assert "red00.png' is a file of another kind; give a folder" in training_refused(
        photos / "red/red00.png"
    )
    shutil.copy(photos / "red/red00.png", photos / "blue/stray.png")
    assert "images but no class folders" in training_refused(photos / "blue")


OPTIONS = {
    "--backbone mobilenet_v3": "'mobilenet_v3' (did you mean 'mobilenet_v2'?); installed: eff",
    "--backbone TOY": "(did you mean 'toy'?)",
    "--backbone qqqq": "no backbone is called 'qqqq'; installed: efficientnet_lite0, ",
    "--size 15": "toy needs images of 16 pixels or more. Received: size 15",
    "--size -3": "size: must be at least 8. Received: '-3'",
    "--size large": "size: must be a whole number. Received: 'large'",
    "--test much": "test: must be a number. Received: 'much'",
    "--stages block3_cnv": "toy has no layer 'block3_cnv' (did you mean 'block3_conv'?);"
    " its boundaries are block2_conv, block3_conv",
    "--stages 4": "cannot unfreeze 4 blocks of toy: it has 3; give a number up to that",
    "--stages -1": "stages.0.unfreeze: must be 0 or more blocks",
    "--stages 1:0": "stages.0.epochs: must be at least 1. Received: '0'",
    "--stages 1:x": "stages: takes UNFREEZE[:EPOCHS][@RATE], separated by commas",
    "--views 0": "views: must be at least 1 or must be 'fresh'. Received: '0'",
    "--views abc": "or must be 'fresh'. Received: 'abc'",
    "--views ²": "or must be 'fresh'. Received: '²'",
    "--val 0.6 --test 0.4": "nothing to train on: 0.6 + 0.4; their sum must be",
    "--test 0.8": "nothing to train on: 0.2 + 0.8",
    "--val 0": "val: must be greater than 0. Received: '0'",
    "--seed x": "seed: must be a whole number",
    "--resize crush": "'crush' is not one of 'crop', 'squash', 'pad'",
    "--group (": "group: is no regular expression (missing )",
    "--set head.dropuot=1": "'head.dropuot' (did you mean 'dropout'?); known are",
    "--set backbon=toy": "'backbon' (did you mean 'backbone'?); known are activation_store",
    "--set head.dropout": "--set takes KEY=VALUE, as in head.dropout=0.1, not 'head.d",
    "--set =3": "--set takes KEY=VALUE, as in head.dropout=0.1, not '=3'",
    "--set head.dropout=[": "broken YAML in --set head.dropout=[, line 1",
    "--set head.dropout=2": "head.dropout: must be less than 1. Received: 2",
    "--config nowhere.yaml": "'nowhere.yaml' cannot be read: No such file",
    "--config .": "'.' cannot be read: Is a directory; give a YAML file",
    "--bakbone toy": "'--bakbone'. Did you mean '--backbone'?; see 'tlearn finetune",
}


def test_options_that_cannot_be(training_refused, photos):
    for options, words in OPTIONS.items():
        assert words in training_refused(photos, *options.split()), options


FILES = {
    "bakbone: toy": "unknown configuration key 'bakbone' (did you mean 'backbone'?)",
    "head: {dropot: 0}": "unknown configuration key 'head.dropot' (did you mean 'dropout'?)",
    "stages: [{unfreeze: 1, epoch: 1}]": "epoch' (did you mean 'epochs'?)",
    "seed: 1\nhead: {dropout: 0.1\n": "broken YAML in c.yaml, line 3",
    "just words": "c.yaml must hold keys and values such as 'backbone: vgg19'",
    "head: {hidden: [8]}\nstages: []": "starts at random and needs a stage",
}


def test_configuration_files_that_cannot_be(refused, photos, tmp_path):
    arguments = ["--backbone", "toy", "--weights", "none", "--config", "c.yaml", "--quiet"]
    for text, words in FILES.items():
        (tmp_path / "c.yaml").write_text(text)
        assert words in refused("finetune", photos, *arguments)


@pytest.mark.parametrize("weights", ["faraway", None])
def test_weights_that_cannot_be_fetched_name_three_ways_out(refused, photos, weights):
    options = ["--weights", weights] if weights else []
    message = refused("finetune", photos, "--backbone", "toy", *options, "--quiet")
    assert "weights 'faraway' of toy could not be loaded (URL fetch failure" in message
    for way in ("--weights FILE", "KERAS_HOME", "--weights none"):
        assert way in message


def test_weights_files_that_cannot_be(training_refused, photos, tmp_path):
    import keras

    other = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    other.save_weights(tmp_path / "other.weights.h5")
    (tmp_path / "text.weights.h5").write_text("not weights")
    (tmp_path / "text.txt").write_text("not weights")
    (tmp_path / "empty.weights.h5").touch()
    for name in ("other.weights.h5", "text.weights.h5", "text.txt", "empty.weights.h5"):
        message = training_refused(photos, "--weights", name)
        assert f"weights in '{name}' do not fit toy" in message, message
    message = training_refused(photos, "--weights", "farawy")
    assert "no weights 'farawy' (did you mean 'faraway'?) and there is no such file" in message
    assert "give faraway, none, a weights file or a run" in message


def test_places_that_cannot_be(training_refused, photos, toy_run):
    run = toy_run.run
    before = contents(run)
    assert "exists already; choose another --out" in training_refused(photos, "--out", run)
    assert contents(run) == before
    inside = photos / "red/red00.png/run"
    assert "cannot be made: Not a directory" in training_refused(photos, "--out", inside)


def test_strict_refuses_what_cannot_be_read(refused, photos):
    for name in ("a", "b"):
        (photos / "red" / f"{name}.jpg").write_bytes(b"\xff\xd8\xff cut off")
    message = refused("finetune", photos, *TOY.split(), "--out", "run", "--strict", "--quiet")
    assert "2 images cannot be read: red/a.jpg and 1 more (" in message
    assert "leave out --strict" in message


def without_card(model):
    with zipfile.ZipFile(model) as archive:
        config = archive.read("config.json")
    with zipfile.ZipFile(model, "w") as archive:
        archive.writestr("config.json", config)


def flipped(model):
    data = bytearray(model.read_bytes())
    middle = slice(len(data) // 2, len(data) // 2 + 400)
    data[middle] = bytes(byte ^ 0xFF for byte in data[middle])
    model.write_bytes(data)


DAMAGE = {
    "is not finished (interrupted)": lambda run: (run / "metrics.json").unlink(),
    "is no run directory: it holds no run.yaml": lambda run: [
        (run / name).unlink() for name in ("model.keras", "run.yaml")
    ],
    "is damaged: it holds no model.keras": lambda run: (run / "model.keras").unlink(),
    "there is no run directory": shutil.rmtree,
    "not a zip file": lambda run: (run / "model.keras").write_bytes(b"PK\x03\x04 cut off"),
    "tlearn.json": lambda run: without_card(run / "model.keras"),
    "cannot be loaded": lambda run: flipped(run / "model.keras"),
}


@pytest.mark.parametrize("words", DAMAGE)
def test_runs_that_cannot_be_used(refused, toy_run, tmp_path, words):
    copy = shutil.copytree(toy_run.run, tmp_path / "copy")
    DAMAGE[words](copy)
    for command in (["evaluate"], ["predict", "--format", "csv"], ["predict", "--out", "x"]):
        message = refused(*command, copy, toy_run.photos, "--quiet")
        assert words in message and "copy" in message


def test_pictures_that_cannot_be_predicted(refused, toy_run, tmp_path):
    run, photos = toy_run.run, toy_run.photos
    (tmp_path / "empty").mkdir()
    message = refused("predict", run, photos / "red/red00.png", "nowhere.jpg", "--format", "csv")
    assert message == "there is no 'nowhere.jpg'; give image files or folders of them"
    assert "no files in 'empty'; give" in refused("predict", run, "empty")
    red = photos / "red"
    assert "--out takes a file in an existing folder, not" in refused(
        "predict", run, red, "--out", tmp_path / "empty"
    )
    assert "not 'nowhere/x.csv'" in refused("predict", run, red, "--out", "nowhere/x.csv")
    assert "not 'nowhere/x.html'" in refused("report", run, "--out", "nowhere/x.html")
    assert "'--top': 0 is not in the range x>=1" in refused("predict", run, red, "--top", "0")
    assert "'xml' is not one of 'table'" in refused("predict", run, red, "--format", "xml")


def test_pictures_that_cannot_be_evaluated(refused, toy_run, photos):
    run = toy_run.run
    (photos / "red").rename(photos / "violet")
    assert (
        "has classes the model does not know: violet; it knows blue, green, red; leave out --strict"
    ) in refused("evaluate", run, photos, "--quiet", "--strict")
    (photos / "violet").rename(photos / "red")
    message = refused("evaluate", run, photos, "--split", "test", "--quiet")
    assert "none of the 36 images" in message and "--split all counts" in message
    assert "'nowhere' is not there" in refused("evaluate", run, "nowhere", "--quiet")


COMMANDS = {
    "fintune x": "no command is called 'fintune' (did you mean 'finetune'?); there are ",
    "qqqq": "no command is called 'qqqq'; there are backbones, cache, check, compare, ",
    "--quite": "No such option '--quite'; see 'tlearn --help'",
    "plugins check": "Missing argument 'NAME'; see 'tlearn plugins check --help'",
    "finetune": "Missing argument 'DATA'; see 'tlearn finetune --help'",
    "predict x": "Missing argument 'PATHS...'; see 'tlearn predict --help'",
    "predict x y --reject": "Option '--reject' requires an argument; see 'tlearn predict --help'",
    "evaluate x y z": "Got unexpected extra argument (z); see 'tlearn evaluate",
}


def test_commands_that_are_none(refused):
    for command, message in COMMANDS.items():
        assert refused(*command.split()).startswith(message)


def test_what_a_full_disk_says_is_told_in_a_line(monkeypatch, capsys):
    def full(*arguments, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tlearn.features.activation_cache.Cache", full)
    assert main(["cache", "info"]) == 2
    assert capsys.readouterr().err == "tlearn: error: No space left on device\n"


def test_of_what_keras_wraps_the_innermost_is_told():
    wrapped = ValueError(
        "A failed.\n\nException encountered: B failed.\n\nException encountered: x is\n  unknown"
    )
    assert one_line(wrapped) == "x is unknown"
    assert one_line(ValueError("a\nb")) == "a b" and one_line(KeyError()) == "KeyError"


def test_progress_stands_before_the_error_unless_quiet(capsys, photos, tmp_path):
    keep(photos, red=12, blue=1)
    assert main(["finetune", str(photos), *TOY.split(), "--out", str(tmp_path / "run")]) == 2
    out, err = capsys.readouterr()
    layout, before, last = err.splitlines()
    assert not out and before.startswith("reading images: 13/13 files, ")
    assert layout.startswith("class folder")
    assert last.startswith("tlearn: error: ") and not (tmp_path / "run").exists()


def test_python_gets_the_same_as_exceptions(photos, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    toy = {"backbone": "toy", "weights": "none"}
    for options, kind in (
        ({"backbone": "toyy"}, tlearn.BackboneError),
        ({"bakbone": "toy"}, tlearn.ConfigError),
        (toy | {"stages": "1:"}, tlearn.ConfigError),
        (toy | {"weights": "faraway"}, tlearn.BackboneError),
        (toy | {"out": "."}, tlearn.RunError),
        (toy | {"group": "("}, tlearn.ConfigError),
    ):
        with pytest.raises(kind) as caught:
            tlearn.finetune(photos, **{"out": "run", "quiet": True, **options})
        assert isinstance(caught.value, tlearn.TlearnError) and type(caught.value) is kind
        assert not (tmp_path / "run").exists()


def test_the_drawn_tree_names_every_error():
    drawn = re.findall(r"[├└]── (\w+)", errors.__doc__)
    assert drawn == [kind.__name__ for kind in errors.TlearnError.__subclasses__()]
