"""The command line: what it prints, and what it says to wrong input."""

import csv
import json
import re
import shutil
import subprocess
import sys

import pytest
from conftest import draw_photos

from tlearn.cli import main

TOY = ["--backbone", "toy", "--weights", "none", "--stages", "1:1"]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A toy run and its pictures."""
    place = tmp_path_factory.mktemp("made")
    photos = draw_photos(place / "photos")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TLEARN_CACHE", str(place / "cache"))
        assert main(["finetune", str(photos), *TOY, "--out", str(place / "run"), "--quiet"]) == 0
    return place / "run", photos


def refused(capsys, *arguments):
    """Run; expect exit code 2 and one line of error; return its words."""
    assert main([str(argument) for argument in arguments]) == 2
    out, err = capsys.readouterr()
    assert not out
    *before, last = err.splitlines()
    assert last.startswith("tlearn: error: ")
    assert not any("error" in line or "Traceback" in line for line in before)
    return last


def finetune_refused(capsys, tmp_path, data, *options):
    run = tmp_path / "the run"
    arguments = dict(zip(TOY[::2], TOY[1::2], strict=True))
    arguments |= dict(zip(options[::2], options[1::2], strict=True))
    flat = [part for pair in arguments.items() for part in pair]
    message = refused(capsys, "finetune", data, "--out", run, *flat)
    assert not run.exists()
    return message


def test_data_that_is_not_there(capsys, tmp_path):
    message = finetune_refused(capsys, tmp_path, tmp_path / "nowhere")
    assert "nowhere' is not there" in message and "one folder of images per class" in message


def test_data_without_images(capsys, tmp_path):
    (tmp_path / "data" / "a").mkdir(parents=True)
    assert "no images below" in finetune_refused(capsys, tmp_path, tmp_path / "data")


def test_one_class_only(capsys, tmp_path, photos):
    for label in ("blue", "green"):
        shutil.rmtree(photos / label)
    assert "one class only, 'red'" in finetune_refused(capsys, tmp_path, photos)


def test_a_class_with_one_image(capsys, tmp_path, photos):
    for i in range(1, 12):
        (photos / "red" / f"red{i:02d}.png").unlink()
    assert "class 'red' has one image only" in finetune_refused(capsys, tmp_path, photos)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--backbone", "xeption"], r"no backbone.*'xeption'.*did you mean 'xception'.*vgg19"),
        (["--size", "15"], r"toy needs images of 16 pixels or more.*--size 15"),
        (["--size", "0"], r"size.*greater than 0.*0"),
        (["--weights", "faraway"], r"--weights FILE.*KERAS_HOME.*--weights none"),
        (["--weights", "nowhere.h5"], r"no weights 'nowhere.h5'.*no such file.*faraway, none"),
        (["--stages", "block9"], r"toy has no layer 'block9'.*boundaries are block2_conv"),
        (["--stages", "7"], r"cannot unfreeze 7 blocks of toy: it has 3"),
        (["--stages", "1:x"], r"--stages takes .*Received: '1:x'"),
        (["--stages", ":3"], r"--stages takes"),
        (["--stages", "[1, 2]"], r"--stages is a list of mappings"),
        (["--views", "0"], r"--views takes a number from 1 up, or 'fresh', not '0'"),
        (["--views", "many"], r"--views takes"),
        (["--val", "0.7", "--test", "0.3"], r"nothing to train on: 0.7 \+ 0.3"),
        (["--val", "1.5"], r"val: .*less than 1.*1.5"),
        (["--seed", "-1"], r"seed: .*greater than or equal to 0.*-1"),
        (["--set", "head.dropuot=0.1"], r"'head.dropuot' .did you mean 'dropout'"),
        (["--set", "backbon=vgg19"], r"'backbon' .did you mean 'backbone'"),
        (["--set", "nonsense"], r"--set takes KEY=VALUE"),
        (["--set", "seed.x=1"], r"seed"),
        (["--group", "(a"], r"no regular expression"),
        (["--config", "nowhere.yaml"], r"'nowhere.yaml' cannot be read"),
        (["--preset", "bset"], r"'--preset'.*'bset'.*see 'tlearn finetune --help'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_options_that_cannot_be(capsys, tmp_path, photos, options, words):
    assert re.search(words, finetune_refused(capsys, tmp_path, photos, *options))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("backbone: toy\nhead: {dropout: 0.1\nseed: 3", r"broken YAML in .*line 3"),
        ("- a\n- b\n", r"must hold keys and values.*a list"),
        ("stages: [{unfreeze: 1, epoch: 3}]", r"'stages.0.epoch' .did you mean 'epochs'"),
        ("stages: [{unfreeze: 1, epochs: 0}]", r"stages.0.epochs: .*greater than 0.*0"),
        ("stages: [{unfreeze: -1}]", r"stages.0.unfreeze: .*'all'.*-1"),
        ("head: {hidden: [8]}\nstages: []", r"hidden layers.*needs a stage"),
        ("views: none", r"views"),
    ],
)
def test_configurations_that_cannot_be(capsys, tmp_path, photos, text, words):
    file = tmp_path / "config.yaml"
    file.write_text(text + "\n")
    arguments = ["finetune", photos, "--out", tmp_path / "run", "--config", file]
    message = refused(capsys, *arguments, "--backbone", "toy", "--weights", "none")
    assert re.search(words, message), message
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("content", [b"not weights", b"\x89HDF\r\n\x1a\n and then nothing"])
def test_weights_that_are_none(capsys, tmp_path, photos, content):
    file = tmp_path / "some.weights.h5"
    file.write_bytes(content)
    assert "do not fit toy" in finetune_refused(capsys, tmp_path, photos, "--weights", str(file))


def test_weights_of_another_network(capsys, tmp_path, photos):
    import keras

    file = tmp_path / "other.weights.h5"
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    model.save_weights(file)
    assert "do not fit toy" in finetune_refused(capsys, tmp_path, photos, "--weights", str(file))


def test_a_place_that_is_taken(capsys, photos, made):
    run, _ = made
    before = sorted(run.iterdir())
    assert "exists already" in refused(capsys, "finetune", photos, *TOY, "--out", run)
    assert sorted(run.iterdir()) == before


def test_strict_refuses_unreadable_images(capsys, tmp_path, photos):
    (photos / "red" / "bad.jpg").write_bytes(b"\xff\xd8\xff cut")
    arguments = ["finetune", photos, *TOY, "--out", tmp_path / "run"]
    assert "red/bad.jpg" in refused(capsys, *arguments, "--strict")
    assert main([str(a) for a in [*arguments, "--quiet"]]) == 0
    assert "red/bad.jpg" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["fintune"], r"no command is called 'fintune' \(did you mean 'finetune'\?\)"),
        (["finetune"], r"[Mm]issing.*DATA.*see 'tlearn finetune --help'"),
        (["finetune", "x", "--bacbone", "toy"], r"--bacbone"),
        (["predict", "nowhere", "x.jpg"], r"no run directory 'nowhere'"),
    ],
)
def test_commands_that_are_none(capsys, arguments, words):
    assert re.search(words, refused(capsys, *arguments))


def test_runs_that_are_none(capsys, tmp_path, made):
    run, photos = made
    assert "is no run directory" in refused(capsys, "evaluate", photos, photos)
    copy = shutil.copytree(run, tmp_path / "copy")
    (copy / "model.keras").write_bytes((run / "model.keras").read_bytes()[:999])
    assert "cannot be loaded" in refused(capsys, "predict", copy, photos, "--quiet")
    (copy / "UNFINISHED").touch()
    assert "not finished" in refused(capsys, "predict", copy, photos)
    assert "there is no" in refused(capsys, "predict", run, tmp_path / "nowhere.jpg")
    (tmp_path / "new" / "violet").mkdir(parents=True)
    shutil.copy(photos / "red/red00.png", tmp_path / "new/violet")
    message = refused(capsys, "evaluate", run, tmp_path / "new")
    assert "does not know: violet" in message and "blue, green, red" in message
    message = refused(capsys, "evaluate", run, photos, "--split", "test")
    assert "--split test" in message and "--split all" in message


def test_json_is_all_that_is_printed(capsys, tmp_path, photos):
    assert main(["finetune", str(photos), *TOY, "--out", str(tmp_path / "r"), "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["run"] == str(tmp_path / "r")
    assert "reading images: 36/36 files" in err and "training top 1 block" in err


def test_quiet_is_quiet(capsys, tmp_path, photos):
    assert main(["finetune", str(photos), *TOY, "--out", str(tmp_path / "r"), "--quiet"]) == 0
    out, err = capsys.readouterr()
    assert not err
    for words in ("validation accuracy", "95 % interval", "flatters", "--test 0.2", "model.keras"):
        assert words in out


def test_evaluate_prints_what_the_metrics_hold(capsys, made):
    run, photos = made
    assert main(["evaluate", str(run), str(photos), "--json", "--quiet"]) == 0
    found = json.loads(capsys.readouterr().out)
    metrics = json.loads((run / "metrics.json").read_text())["validation"]
    assert found["accuracy"] == metrics["accuracy"] and found["n"] == metrics["n"]
    assert found["left_out"] == 36 - metrics["n"]
    assert main(["evaluate", str(run), str(photos), "--quiet"]) == 0
    assert "were trained on and are not counted" in capsys.readouterr().out


def test_predictions_in_every_format(capsys, tmp_path, made):
    run, photos = made
    folder = shutil.copytree(photos / "red", tmp_path / "new")
    (folder / "zz.jpg").write_bytes(b"none")
    arguments = ["predict", str(run), str(folder), "--top", "2"]
    assert main(arguments) == 0
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 13 and "1 files cannot be read" in err
    assert main([*arguments, "--format", "csv"]) == 0
    rows = list(csv.DictReader(capsys.readouterr().out.splitlines()))
    assert rows[0]["label_1"] in ("blue", "green", "red") and rows[0]["label_2"]
    assert rows[-1]["problem"] and not rows[-1]["label_1"]
    file = tmp_path / "out.jsonl"
    assert main([*arguments, "--format", "json", "--out", str(file), "--quiet"]) == 0
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert [line["path"] for line in lines] == sorted(line["path"] for line in lines)
    assert all(len(line["top"]) == 2 for line in lines[:-1])
    assert {p.name for p in tmp_path.iterdir()} == {"new", "out.jsonl"}


def test_predicting_nothing_readable_is_bad_input(capsys, tmp_path, made):
    (tmp_path / "a.jpg").write_bytes(b"none")
    assert main(["predict", str(made[0]), str(tmp_path / "a.jpg")]) == 2
    assert "cannot be read" in capsys.readouterr().err


def test_a_reader_that_leaves_early_is_no_error(made):
    run, photos = made
    command = f"{sys.executable} -m tlearn predict '{run}' '{photos}' | head -1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=True)
    assert len(done.stdout.splitlines()) == 1 and "Traceback" not in done.stderr
