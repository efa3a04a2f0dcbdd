"""The command line in use: options to configuration, results on one stream, progress on another."""

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from conftest import TOY
from rich.console import Console
from test_scan import put

from tlearn import __version__, errors, progress_bars
from tlearn.cli import COMMANDS, load_command, main
from tlearn.config import Stage
from tlearn.config_schema import fields_of
from tlearn.progress import Lines, Silent, console_progress
from tlearn.runs.measurement import accuracy_text
from tlearn.settings import make_config


@pytest.fixture
def made(toy_run, monkeypatch):
    """The shared toy run, and the network that was compiled for it."""
    monkeypatch.setenv("TLEARN_CACHE", str(toy_run.cache))
    return toy_run


@pytest.fixture
def tlearn(capsys):
    """Run a command; return exit code, standard output, standard error."""

    def run(*arguments):
        code = main([str(argument) for argument in arguments])
        return SimpleNamespace(code=code, **capsys.readouterr()._asdict())

    return run


@pytest.fixture
def asked(tlearn, monkeypatch):
    """Return what a training would be asked for, as ``(data, out, config, progress)``."""

    def asked(*arguments):
        caught = []

        def finetune(data, out, config, progress):
            caught.append((data, out, config, progress))
            raise errors.DataError("far enough")

        monkeypatch.setattr("tlearn.training.pipeline.finetune", finetune)
        assert tlearn("finetune", *arguments).err == "tlearn: error: far enough\n"
        return caught[0]

    return asked


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], {}),
        (["--backbone", "toy", "--weights", "none"], {"backbone": "toy", "weights": "none"}),
        (["--size", "64", "--resize", "pad"], {"size": 64, "resize": "pad"}),
        (["--views", "8", "--seed", "3"], {"views": 8, "seed": 3}),
        (["--views", "fresh", "--preset", "best"], {"views": "fresh", "preset": "best"}),
        (["--val", "0.1", "--test", "0.3"], {"val": 0.1, "test": 0.3}),
        (["--group", r"(p\d+)", "--strict"], {"group": r"(p\d+)", "strict": True}),
        (["--stages", "none"], {"stages": ()}),
        (["--stages", "2@1e-4"], {"stages": (Stage(unfreeze=2, learning_rate=1e-4),)}),
        (["--set", "seed=1", "--set", "group=a=b"], {"seed": 1, "group": "a=b"}),
        (["--set", "seed=1", "--set", "seed=2"], {"seed": 2}),
        (["--set", "seed=1", "--seed", "2"], {"seed": 2}),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_options_become_the_configuration(asked, tmp_path, arguments, expected):
    data, out, config, progress = asked(tmp_path, *arguments)
    assert config == make_config(options=expected)
    assert (data, out, type(progress)) == (tmp_path, None, Lines)


def test_a_file_yields_to_settings_and_these_to_options(asked, tmp_path):
    file = tmp_path / "c.yaml"
    file.write_text("seed: 1\nval: 0.3\nstrict: yes\nbackbone: toy\nhead: {dropout: 0.5}\n")
    arguments = ["--config", file, "--set", "seed=2", "--set", "val=0.4", "--seed", "3"]
    _, out, config, progress = asked(".", *arguments, "--out", "there", "--quiet")
    assert (config.seed, config.val, config.strict, config.backbone) == (3, 0.4, True, "toy")
    assert (config.head.dropout, out, type(progress)) == (0.5, Path("there"), Silent)


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"], ["--version"]])
def test_help_is_no_error(tlearn, arguments):
    done = tlearn(*arguments)
    assert done.code == 0 and done.err == ""
    words = ["Usage: tlearn", "demo", "finetune", "evaluate", "predict", "backbones"]
    assert all(word in done.out for word in ([__version__] if "--version" in arguments else words))


def test_the_list_of_commands_says_what_each_command_says():
    for name, line in COMMANDS.items():
        command = load_command(name)
        assert command.name == name and command.get_short_help_str(200) == line, name
        assert len(line) <= 66, f"{name}: its line does not fit a terminal of 80 columns"


def test_options_say_what_the_schema_says():
    fields = {field.key: field for field in fields_of()}
    for name in COMMANDS:
        for parameter in load_command(name).params:
            field = fields.get(parameter.name)
            if field is None or parameter.opts != [f"--{field.key.replace('_', '-')}"]:
                continue
            text = parameter.help
            assert text.startswith(field.help.replace("`", "").rstrip(".")), name
            assert field.bounds in text, name
            if field.default not in (None, "", False) or field.kind == "int":
                assert str(field.default) in text or field.default is None
            assert tuple(getattr(parameter.type, "choices", ())) == field.choices
    offered = {p.name for p in load_command("finetune").params}
    assert offered >= {key for key in fields if "." not in key}


def test_a_runs_record_repeats_it_and_json_is_alone_on_its_stream(toy_run, tlearn, tmp_path):
    record, again = toy_run.run / "run.yaml", tmp_path / "again"
    done = tlearn("finetune", toy_run.photos, "--config", record, "--out", again, "--json")
    assert done.code == 0
    for name in ("splits.csv", "history.csv", "labels.json", "problems.csv", "predictions.csv"):
        assert (again / name).read_bytes() == (toy_run.run / name).read_bytes(), name
    first, second = (yaml.safe_load((run / "run.yaml").read_text()) for run in (toy_run.run, again))
    assert first == second and first["config"]["seed"] == 5
    metrics = json.loads((again / "metrics.json").read_text())
    assert json.loads(done.out) == {**metrics, "run": str(again)}
    assert not {"\r", "\x1b", "\b"} & set(done.err)
    layout, first, second, *others = done.err.splitlines()
    assert layout == "class folders: blue, green, red"
    assert first.startswith("reading images: 36/36 files, ")
    assert second == "3 classes, 36 images: 29 train, 7 validation"
    steps = [
        "plan",
        "fitting the probe",
        "probe",
        "training top 1 block",
        "evaluating",
        "evaluating",
    ]
    steps.append("validation")
    assert [line.split(":")[0] for line in others] == steps


def test_quiet_is_silent_in_a_process_of_its_own(toy_run, tmp_path):
    """TensorFlow's own remarks included, which no test in this process could see."""
    env = {key: value for key, value in os.environ.items() if not key.startswith("TF_")}
    command = [sys.executable, "-m", "tlearn", "finetune", toy_run.photos, *TOY]
    done = subprocess.run(
        [*command, "--out", tmp_path / "run", "--quiet", "--json"],
        env=env,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    assert json.loads(done.stdout)["validation"]["n"] == 7


def test_predictions_say_the_same_in_every_format(made, tlearn):
    new = made.photos / "red"
    files = [str(path) for path in sorted(new.iterdir())]
    jsons, csvs, table = (
        tlearn("predict", made.run, new, "--top", 2, "--format", form)
        for form in ("json", "csv", "table")
    )
    assert (jsons.code, csvs.code, table.code) == (0, 0, 0)
    assert jsons.err == csvs.err == table.err == ""
    objects = [json.loads(line) for line in jsons.out.splitlines()]
    rows = list(csv.DictReader(csvs.out.splitlines()))
    assert [o["path"] for o in objects] == [row["path"] for row in rows] == files
    for found, row, line in zip(objects, rows, table.out.splitlines(), strict=True):
        (best, second), problem = found["top"], found["problem"]
        assert [found["label"], found["probability"]] == best and best[1] >= second[1]
        columns = ["path", "label_1", "probability_1", "label_2", "probability_2"]
        assert list(row) == [*columns, "unknown", "distance", "problem"]
        assert row["unknown"] == ("" if problem else str(int(found["unknown"])))
        assert [row["label_1"], row["label_2"]] == [best[0], second[0]]
        assert float(row["probability_2"]) == pytest.approx(second[1], abs=1e-6)
        assert row["problem"] == problem == ""
        expected = [found["path"], best[0], f"{best[1]:.1%}", second[0], f"{second[1]:.1%}"]
        assert line.split() == expected


@pytest.mark.parametrize(("top", "classes"), [(1, 1), (3, 3), (9, 3)])
def test_no_more_classes_than_there_are(made, tlearn, top, classes):
    image = made.photos / "red/red00.png"
    out = tlearn("predict", made.run, image, "--top", top, "--format", "csv").out
    (row,) = csv.DictReader(out.splitlines())
    assert len(row) == 2 * top + 4
    labels = [row[f"label_{k + 1}"] for k in range(top)]
    assert len(set(labels[:classes])) == classes and not any(labels[classes:])


@pytest.mark.parametrize("form", ["table", "csv", "json"])
def test_a_file_gets_what_the_screen_would(made, tlearn, tmp_path, form):
    images = [made.photos / "blue", made.photos / "red/red00.png"]
    file = tmp_path / "results"
    file.write_text("of yesterday")
    screen = tlearn("predict", made.run, *images, "--format", form).out
    done = tlearn("predict", made.run, *images, "--format", form, "--out", file)
    assert (done.code, done.out, file.read_text()) == (0, "", screen)
    assert done.err.startswith("predicting: 13/13 images, ")
    assert tlearn("predict", made.run, images[0], "nowhere", "--out", file).code == 2
    assert file.read_text() == screen
    assert {p.name for p in tmp_path.iterdir()} <= {"results", "cache"}
    assert tlearn("predict", made.run, *images, "--out", file, "--quiet").err == ""


def test_what_cannot_be_read_is_in_its_row_and_on_the_other_stream(made, tlearn, tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"\xff\xd8\xff cut off")
    (tmp_path / "b.png").touch()
    shutil.copy(made.photos / "red/red00.png", tmp_path / "c.png")
    done = tlearn("predict", made.run, tmp_path, "--format", "json")
    first, second, third = (json.loads(line) for line in done.out.splitlines())
    assert done.code == 0 and done.err == "tlearn: 2 files cannot be read as images\n"
    assert first["problem"] and second["problem"] and not third["problem"]
    assert (first["label"], first["top"]) == ("", []) and third["label"] in ("blue", "green", "red")
    rows = csv.DictReader(tlearn("predict", made.run, tmp_path, "--format", "csv").out.splitlines())
    assert [row["problem"] for row in rows] == [first["problem"], second["problem"], ""]
    (tmp_path / "c.png").unlink()
    done = tlearn("predict", made.run, tmp_path)
    assert done.code == 2 and done.err.startswith("tlearn: error: 2 files cannot be read as images")
    expected = [f"{found['path']}  {found['problem']}" for found in (first, second)]
    assert done.out.splitlines() == expected


@pytest.mark.parametrize("name", ["a,b.png", 'say "x".png', "größe.png", os.fsdecode(b"\xff.png")])
def test_names_of_any_kind_get_through(made, tlearn, tmp_path, name):
    image = Path(shutil.copy(made.photos / "red/red00.png", tmp_path / name))
    out = tlearn("predict", made.run, image, "--format", "csv").out
    (row,) = csv.DictReader(out.splitlines())
    assert row["path"] == str(image).encode("utf-8", "backslashreplace").decode()
    assert tlearn("predict", made.run, image, "--format", "csv", "--out", tmp_path / "f").code == 0
    assert (tmp_path / "f").read_text(encoding="utf-8") == out
    found = json.loads(tlearn("predict", made.run, image, "--format", "json").out)
    assert found["path"] == str(image)


def test_evaluate_counts_the_classes_that_the_model_knows(made, tlearn, tmp_path):
    shutil.copytree(made.photos / "red", tmp_path / "photos/red")
    shutil.copytree(made.photos / "blue", tmp_path / "photos/violet")
    done = tlearn("evaluate", made.run, tmp_path / "photos", "--split", "all", "--json")
    found = json.loads(done.out)
    assert (found["n"], found["unknown"]) == (12, {"violet": 12})
    assert found["per_class"].keys() == {"blue", "green", "red"}
    text = tlearn("evaluate", made.run, tmp_path / "photos", "--split", "all").out
    assert "not counted, because the model does not know their class: violet (12)" in text
    done = tlearn("evaluate", made.run, tmp_path / "photos", "--strict")
    assert done.code == 2 and "classes the model does not know: violet" in done.err
    shutil.rmtree(tmp_path / "photos/red")
    done = tlearn("evaluate", made.run, tmp_path / "photos")
    assert done.code == 2 and "no class that the model knows, but violet; it knows" in done.err


def test_evaluate_finds_the_figures_of_the_training(made, tlearn, tmp_path, monkeypatch):
    monkeypatch.setenv("TLEARN_CACHE", str(tmp_path))  # the file alone, not what was compiled of it
    expected = json.loads((made.run / "metrics.json").read_text())["validation"]
    done = tlearn("evaluate", made.run, made.photos, "--json", "--quiet")
    found = json.loads(done.out)
    trained = 36 - expected["n"]
    assert (done.code, done.err, found["trained_on"], found["unreadable"]) == (0, "", trained, [])
    assert found["log_loss"] == pytest.approx(expected.pop("log_loss"), abs=1e-5)
    assert {key: found[key] for key in expected} == expected
    whole = tlearn("evaluate", made.run, made.photos, "--split", "all", "--json").out
    assert (json.loads(whole)["n"], json.loads(whole)["trained_on"]) == (36, 0)
    text = tlearn("evaluate", made.run, made.photos).out
    assert f"accuracy {accuracy_text(expected['accuracy'], expected['n'])}" in text
    assert f"{trained} images were trained on and are not counted" in text


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (errors.DataError("two\n  lines"), 2, "tlearn: error: two lines"),
        (PermissionError(13, "Not allowed", "there"), 2, "tlearn: error: 'there': Not allowed"),
        (KeyboardInterrupt(), 130, "tlearn: stopped"),
    ],
)
def test_what_stops_a_command_is_one_line(tlearn, monkeypatch, error, code, line):
    monkeypatch.setattr(
        "tlearn.training.pipeline.demo", lambda *a, **k: (_ for _ in ()).throw(error)
    )
    done = tlearn("demo")
    assert (done.code, done.out) == (code, "")
    assert done.err.strip("\n") == line  # click ends the line on which ^C stands


def test_errors_are_json_where_progress_is(tlearn):
    for words in (["--progress", "json"], ["--progress=json"]):
        found = json.loads(tlearn("predict", "nowhere", "photo.jpg", *words).err)
        assert found["error"].startswith("there is no run directory 'nowhere'")
    path = "runs/a --progress json b"  # and not where a path has these words
    assert tlearn("predict", path, "photo.jpg").err.startswith("tlearn: error: there is no run")


@pytest.mark.parametrize("error", [RuntimeError("a defect of ours"), OSError("without a file")])
def test_a_defect_is_one_line_and_a_traceback_in_a_file(tlearn, monkeypatch, tmp_path, error):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(
        "tlearn.training.pipeline.demo", lambda *a, **k: (_ for _ in ()).throw(error)
    )
    done = tlearn("demo")
    (file,) = tmp_path.glob("tlearn-*.txt")
    assert done.code == 1 and done.err.count("\n") == 1
    assert f"unexpected {type(error).__name__}: {error}; " in done.err and str(file) in done.err
    assert "Traceback" in file.read_text() and str(error) in file.read_text()
    with pytest.raises(type(error)):
        tlearn("demo", "--debug")


@pytest.mark.parametrize(("stopped", "code"), [(False, 0), (True, 130)])
def test_a_stopped_training_reports_and_says_so_by_its_code(tlearn, monkeypatch, stopped, code):
    run = SimpleNamespace(path=Path("run"), place=Path("run"), metrics={"stopped": stopped})
    calls = []
    monkeypatch.setattr(
        "tlearn.training.pipeline.demo", lambda *a, **k: calls.append((a, k)) or run
    )
    done = tlearn("demo", "--out", "there", "--quiet", "--json")
    assert (done.code, json.loads(done.out)) == (code, {"stopped": stopped, "run": "run"})
    assert calls == [((Path("there"),), {"quiet": True})]


def test_progress_suits_the_stream(monkeypatch):
    assert isinstance(console_progress(quiet=True), Silent)
    assert isinstance(console_progress(), Lines)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    assert isinstance(console_progress(), progress_bars.ProgressBars)


@pytest.mark.parametrize(("every", "lines"), [(0.0, 3), (1e9, 1)])
def test_plain_lines_come_now_and_then_and_at_the_end(capsys, every, lines):
    lines_of_log = Lines()
    lines_of_log.every = every
    with lines_of_log.task("counting", 30, "sheep") as task:
        for _ in range(3):
            task.advance(10, "asleep")
    out, err = capsys.readouterr()
    assert out == "" and len(err.splitlines()) == lines
    assert err.splitlines()[-1].startswith("counting: 30/30 sheep, ")
    assert all(line.endswith("  asleep") for line in err.splitlines())
    with lines_of_log.task("counting", 30, "sheep") as task:
        task.advance(10)  # it ended early
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("counting: 10/30 sheep, ") and "left" not in last
    for progress, said in ((Silent(), ""), (Lines(), "one\ttwo [b]\n")):
        progress.say("one\ttwo [b]")
        assert capsys.readouterr() == ("", said)


def test_bars_show_words_as_they_are(capsys):
    """A stage may be called [red] or [/x], which rich would read as markup."""
    shown = progress_bars.ProgressBars()
    shown.console = Console(stderr=True, force_terminal=True, width=150, highlight=False)
    with shown.task("training [red] [/x]", 2, "steps") as task:
        task.advance(2, "loss [/y]")
        shown.say("said [/z]")
    out, err = capsys.readouterr()
    assert out == "" and "2/2" in err
    for words in ("training [red] [/x]", "loss [/y]", "said [/z]"):
        assert words in err


LOADED = (
    "import sys; from tlearn.cli import main; code = main(sys.argv[1:]); "
    "print(sorted({'tensorflow', 'keras', 'sklearn'} & sys.modules.keys())); "
    "sys.exit(code)"
)


SLIPS = [
    ("finetune nowhere", "the data 'nowhere' is not there"),
    ("finetune . --backbone vgg18", "no backbone is called 'vgg18'"),
    ("finetune . --out .", "exists"),
    ("finetune . --backbone vgg19 --size 31", "32 pixels or more. Received: size 31"),
    ("finetune . --backbone toy --weights nothing", "offers no weights 'nothing'"),
    ("finetune --resume nowhere", "there is no run directory 'nowhere'"),
    ("finetune . --val 2", "val"),
    ("finetune run", "the data 'run' is a run directory, not photos"),
    ("compare nowhere", "the data 'nowhere' is not there"),
    ("compare . --out .", "exists"),
    ("finetune gone.csv", "'cat/2.png' in line 2"),
    ("finetune one.csv --quiet", "only one class, 'cat'"),
    ("finetune photos --quiet --group x(y)", "the group pattern 'x(y)' matches none"),
    ("finetune  --quiet", "a path was expected, not an empty text"),
    ("features  --out f.npz", "a path was expected, not an empty text"),
    ("finetune one --quiet", "holds images but no class folders"),
    ("compare gone.csv --quiet", "'cat/2.png' in line 2"),
    ("compare one.csv --quiet", "only one class, 'cat'"),
    ("features gone.csv --out f.npz", "'cat/2.png' in line 2"),
    ("plan one.csv --quiet", "only one class, 'cat'"),
    ("plan nowhere", "the data 'nowhere' is not there"),
    ("plan . --backbones vgg18", "no backbone is called 'vgg18'"),
    ("features . --out f.txt", "must end in .npz or .parquet"),
    ("features . --out f.npz --size 33 --backbone toy --weights nothing", "weights 'nothing'"),
    ("layers vgg18", "no backbone is called 'vgg18'"),
    ("layers vgg19 --size 31", "vgg19 needs images of 32 pixels or more. Received: size 31"),
    ("export nowhere openvino", "there is no run directory 'nowhere'"),
    ("export nowhere pdf", "no export format is called 'pdf'"),
    ("report nowhere", "there is no run directory 'nowhere'"),
    ("plugins check vgg18", "no backbone is called 'vgg18'"),
    ("cache", "Missing command; see 'tlearn cache --help'"),
]


def test_a_slip_is_refused_before_keras_is_loaded(photos, tmp_path):
    """In one process: what is loaded by one command stays and would be seen after the last."""
    code = """
import sys
from tlearn.cli import main
for line in sys.stdin.read().splitlines():
    assert main(line.split(' ')) == 2, line
print(sorted({'tensorflow', 'keras', 'sklearn', 'matplotlib'} & sys.modules.keys()))
"""
    (tmp_path / "gone.csv").write_text("path,label\ncat/2.png,cat\n")
    (tmp_path / "one.csv").write_text("path,label\n1.png,cat\n")
    put(tmp_path, "run/run.yaml", b"")
    for name in ("1.png", "one/1.png"):
        put(tmp_path, name, photos.joinpath("red/red00.png").read_bytes())
    commands = "\n".join(command for command, _ in SLIPS)
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, input=commands, capture_output=True, text=True, cwd=tmp_path)
    assert done.stdout == "[]\n", done.stderr
    for line, (command, words) in zip(done.stderr.splitlines(), SLIPS, strict=True):
        assert words in line, command


def test_quiet_also_where_the_user_set_tensorflows_log_level():
    command = [sys.executable, "-m", "tlearn", "layers", "toy"]
    env = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "0"}
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
    assert done.stderr == ""


def test_predicting_again_needs_no_tensorflow(made):
    arguments = ["predict", made.run, made.photos / "red/red00.png", "--engine", "openvino"]
    done = subprocess.run(
        [sys.executable, "-c", LOADED, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=True,
    )
    prediction, loaded = done.stdout.splitlines()
    assert "red" in prediction and loaded == "[]"


@pytest.mark.parametrize("command", ["predict", "evaluate"])
def test_engines_agree_on_what_is_seen(made, tlearn, command):
    found = [
        tlearn(
            command,
            made.run,
            made.photos,
            "--engine",
            engine,
            "--precision",
            "float32",
            *(["--format", "json"] if command == "predict" else ["--json", "--split", "all"]),
        )
        for engine in ("openvino", "tensorflow")
    ]
    assert [done.code for done in found] == [0, 0]
    if command == "evaluate":
        losses = [json.loads(done.out)["log_loss"] for done in found]
        assert losses[0] == pytest.approx(losses[1], rel=1e-3, abs=1e-5)
    else:
        first, second = ([json.loads(x) for x in done.out.splitlines()] for done in found)
        for one, other in zip(first, second, strict=True):
            assert one["label"] == other["label"]
            assert one["probability"] == pytest.approx(other["probability"], abs=1e-4)
