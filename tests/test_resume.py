"""A training that was stopped, killed or that failed goes on as if nothing had happened."""

import json
import os
import shutil
import subprocess
import sys
import threading
import time
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest
import yaml
from conftest import Heard, draw_photos

import tlearn
from tlearn.cli import main
from tlearn.config import RunConfig
from tlearn.data.editing import exclude
from tlearn.data.edits import undo_edits
from tlearn.runs.directory import RunDirectory
from tlearn.runs.run_state import state_of
from tlearn.training import state
from tlearn.training.state import Checkpoint, TrainingState, load, save

TOY = {"backbone": "toy", "weights": "none", "test": 0.2, "seed": 3, "quiet": True}
STAGES = "1:3@1e-3,all:3@1e-3"
AS_OPTIONS = [
    "--backbone",
    "toy",
    "--weights",
    "none",
    "--test",
    "0.2",
    "--seed",
    "3",
    "--stages",
    STAGES,
]
# A plugin that tells where a training is, and holds it there.
HOLDING = """
import os, time
from pathlib import Path
from tlearn.backbones import hookimpl

@hookimpl
def tlearn_callbacks(stage, run):
    from keras.callbacks import LambdaCallback

    def hold(epoch, logs):
        if os.environ.get("HOLD") == f"{stage.title} {epoch + 1}":
            (Path(os.environ["HELD"])).touch()
            time.sleep(600)

    return LambdaCallback(on_epoch_begin=hold)
"""


class Interrupt(keras.callbacks.Callback):
    """Raises an exception in a stage, by its number: before it, in a step of an epoch, or after."""

    def __init__(self, stage, epoch=None, step=None, error=KeyboardInterrupt):
        super().__init__()
        self.where, self.error = (stage, epoch, step), error
        self.stage, self.epoch = -1, None

    def at(self, *where):
        if where == self.where:
            raise self.error

    def on_train_begin(self, logs=None):
        self.stage += 1
        self.at(self.stage, None, None)

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        self.at(self.stage, self.epoch, batch)

    def on_epoch_end(self, epoch, logs=None):
        self.at(self.stage, epoch, None)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that was never interrupted, its pictures, and its cache."""
    place = tmp_path_factory.mktemp("whole")
    photos = draw_photos(place / "photos")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TLEARN_CACHE", str(place / "cache"))
        run = tlearn.finetune(photos, place / "run", stages=STAGES, **TOY)
    return run, photos, place / "cache"


@pytest.fixture
def stopped(whole, tmp_path, monkeypatch):
    """Stop a training like the whole one; return its run."""
    _, photos, cache = whole
    monkeypatch.setenv("TLEARN_CACHE", str(cache))

    def stopped(*where, **options):
        callbacks = [Interrupt(*where)]
        run = tlearn.finetune(
            photos, tmp_path / "run", callbacks=callbacks, **{"stages": STAGES, **TOY, **options}
        )
        assert run.metrics["stopped"] and (run.path / "checkpoint.npz").exists()
        return run

    return stopped


def events(run):
    return [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]


def without_times(metrics):
    left_out = ("seconds", "images_per_second", "plan")
    stages = [{k: v for k, v in s.items() if k != "seconds"} for s in metrics["stages"]]
    return {k: v for k, v in metrics.items() if k not in left_out} | {"stages": stages}


def assert_same(one, other):
    """Two runs came to the same, bit for bit, and hold the same files."""
    weights = [run.model.get_weights() for run in (one, other)]
    assert len(weights[0]) == len(weights[1])
    for a, b in zip(*weights, strict=True):
        np.testing.assert_array_equal(a, b)
    for name in ("history.csv", "splits.csv", "labels.json", "predictions.csv"):
        assert (one.path / name).read_bytes() == (other.path / name).read_bytes(), name
    assert without_times(one.metrics) == without_times(other.metrics)
    names = [{path.name for path in run.path.iterdir()} for run in (one, other)]
    assert names[0] == names[1] and not names[0] & {"checkpoint.npz", "progress.jsonl", ".lock"}


@pytest.mark.parametrize(
    "where",
    [(0, None), (0, 0, 0), (0, 0), (0, 1), (0, 1, 0), (0, 2, 0), (1, None), (1, 1), (1, 2, 0)],
    ids=str,
)
def test_what_is_resumed_comes_to_the_same(whole, stopped, where):
    run = stopped(*where)
    history = (run.path / "history.csv").read_text().splitlines()
    again = tlearn.resume(run.path, quiet=True)
    assert_same(again, whole[0])
    assert history == (again.path / "history.csv").read_text().splitlines()[: len(history)]
    kinds = [event["event"] for event in events(run.path)]
    assert kinds.count("stopped") == kinds.count("resumed") == kinds.count("finished") == 1
    assert kinds.count("probe") == 1


def test_stopped_again_and_again_it_still_comes_to_the_same(whole, stopped):
    run = stopped(0, 1)
    # Stages that are over are not begun again: the last of these is in the second stage.
    for where in ((0, None), (0, 2, 0), (1, 0, 0), (0, 1, 0)):
        run = tlearn.resume(run.path, quiet=True, callbacks=[Interrupt(*where)])
        assert run.metrics["stopped"]
    assert_same(tlearn.resume(run.path, quiet=True), whole[0])


OTHERS = {
    "hidden": {
        "head": {"hidden": [8]},
        "stages": [
            {"unfreeze": "none", "epochs": 3, "schedule": "constant", "optimizer": "adamw"},
            {"unfreeze": 1, "epochs": 3, "optimizer": "rmsprop", "momentum": 0.9},
        ],
    },
    "fresh": {"views": "fresh", "stages": "2:2,1:3"},
    "rules": {
        "stages": [
            {"unfreeze": 1, "epochs": 4, "learning_rate": 0.1, "schedule": "plateau"}
            | {"patience": 1, "monitor": "val_loss"},
            {"unfreeze": "all", "epochs": 4, "learning_rate": 0.5, "schedule": "constant"}
            | {"patience": 2, "batch_norm": "train"},
        ],
    },
    "timed": {"time_budget": "10m", "stages": "1:2,2:3"},
}


@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.parametrize("where", [(0, 0), (1, 1, 0)], ids=str)
def test_other_trainings_come_to_the_same(whole, stopped, tmp_path, name, where):
    run = stopped(*where, **OTHERS[name])
    expected = tlearn.finetune(whole[1], tmp_path / "expected", **{**TOY, **OTHERS[name]})
    assert_same(tlearn.resume(run.path, quiet=True), expected)


def test_a_training_with_a_plugins_rule_comes_to_the_same(stopped, tmp_path, plugin_file):
    plugin_file(
        "counting",
        """
from tlearn.backbones import Decision, Rule, hookimpl

def count(state, row):
    epochs = (state or 0) + 1
    return Decision(epochs, factor=0.5, ends="stage" if epochs == 3 else "", reason="three epochs")

@hookimpl
def tlearn_rules(stage):
    return Rule("count", count)
""",
    )
    options = {"stages": [{"unfreeze": 1, "epochs": 6, "schedule": "constant"}]}
    run, heard = stopped(0, 1, **options), Heard()
    assert load(run.path / "checkpoint.npz").rule_state["counting: count"] == "1"
    run = tlearn.resume(run.path, progress=heard)
    assert run.metrics["stages"][1]["epochs"] == 3 and "three epochs: stopping here" in heard.lines
    photos = run.record["data"]["path"]
    assert_same(run, tlearn.finetune(photos, tmp_path / "expected", **TOY, **options))


def test_a_checkpoint_holds_no_weights_that_cannot_have_changed(stopped):
    run = stopped(1, None, stages="1:1,all:2")
    with np.load(run.path / "checkpoint.npz") as file:
        assert {name.partition(".")[0] for name in file} == {"content", "best", "seeds"}
    state = load(run.path / "checkpoint.npz")
    assert (state.stage, state.epoch) == (1, 0)
    sizes = sum(array.size for array in state.arrays["best"])
    layers = [run.model.get_layer(n) for n in ("standardise", "logits")]
    trained = run.model.get_layer("toy").layers
    layers += [layer for layer in trained if layer.name.startswith("block3")]
    assert sizes == sum(layer.count_params() for layer in layers)


def test_seconds_are_those_that_led_to_the_result(stopped):
    run = stopped(0, 1)
    first = load(run.path / "checkpoint.npz").seconds
    assert {"total", "backbone", "scan", "activations", "probe", "stages"} <= set(first)
    start = time.monotonic()
    seconds = tlearn.resume(run.path, quiet=True).metrics["seconds"]
    took = time.monotonic() - start
    assert first["total"] < seconds["total"] < first["total"] + took
    assert seconds["probe"] == round(first["probe"], 3)  # not fitted again
    assert all(seconds[part] > first[part] for part in ("backbone", "scan", "stages"))


def test_after_an_error_the_message_says_how_to_continue(whole, tmp_path, monkeypatch):
    run, photos, cache = whole
    monkeypatch.setenv("TLEARN_CACHE", str(cache))
    path = tmp_path / "run"
    callback = Interrupt(1, 1, error=tlearn.DataError("a photo went away"))
    with pytest.raises(tlearn.DataError) as caught:
        tlearn.finetune(photos, path, stages=STAGES, callbacks=[callback], **TOY)
    command = f"tlearn finetune --resume {path}"
    assert str(caught.value) == "a photo went away"
    assert caught.value.__notes__ == [f"to continue the training: {command}"]
    (failed,) = [event for event in events(path) if event["event"] == "failed"]
    assert failed["error"] == str(caught.value) and failed["hint"].endswith(command)
    assert state_of(path) == "failed"
    with pytest.raises(tlearn.RunError, match=f"not finished.*'{command}'"):
        tlearn.Run(path)
    with pytest.raises(tlearn.RunError, match="or continue it with --resume"):
        tlearn.finetune(photos, path, **TOY)
    callback = Interrupt(0, 2, 0, error=RuntimeError("a defect"))
    with pytest.raises(RuntimeError) as caught:
        tlearn.resume(path, quiet=True, callbacks=[callback])
    assert caught.value.__notes__ == [f"to continue the training: {command}"]
    assert_same(tlearn.resume(path, quiet=True), run)


def test_an_error_before_the_stages_leaves_nothing(whole, tmp_path, monkeypatch):
    def broken(*arguments):
        raise tlearn.DataError("a photo went away")

    monkeypatch.setattr("tlearn.training.network_training._head", broken)
    with pytest.raises(tlearn.DataError, match=r"^a photo went away$"):
        tlearn.finetune(whole[1], tmp_path / "run", stages=STAGES, **TOY)
    assert not (tmp_path / "run").exists()


def test_a_resume_that_fails_costs_a_stopped_run_nothing(whole, stopped):
    run = stopped(0, 1)
    model = (run.path / "model.keras").read_bytes()
    with pytest.raises(RuntimeError):
        callback = Interrupt(0, 2, 0, error=RuntimeError("a defect"))
        tlearn.resume(run.path, quiet=True, callbacks=[callback])
    assert state_of(run.path) == "failed"
    again = tlearn.Run(run.path)  # usable as before
    assert again.metrics["stopped"] and (run.path / "model.keras").read_bytes() == model
    assert_same(tlearn.resume(run.path, quiet=True), whole[0])


def test_stopped_again_it_keeps_the_better_model(stopped):
    run = stopped(1, 1)
    metrics = run.metrics
    metrics["validation"] |= {"accuracy": 1.0, "log_loss": 0.0}  # better than any can be
    (run.path / "metrics.json").write_text(json.dumps(metrics))
    model = (run.path / "model.keras").read_bytes()
    heard = Heard()
    again = tlearn.resume(run.path, progress=heard, callbacks=[Interrupt(0, 1, 0)])
    assert again.metrics["stopped"] and (run.path / "model.keras").read_bytes() == model
    assert "keeping the model of the previous stop: it scores higher on validation" in heard.lines
    assert again.metrics["validation"]["log_loss"] > 0  # measured by the model that is there


def test_without_a_checkpoint_it_begins_again(whole, stopped):
    run = stopped(1, 0).path
    for name in ("checkpoint.npz", "model.keras", "metrics.json", "splits.csv"):
        (run / name).unlink()
    (run / ".lock").touch()  # what a killed process leaves
    assert state_of(run) == "stopped"
    heard = Heard()
    assert_same(tlearn.resume(run, progress=heard), whole[0])
    assert "there is no checkpoint: restarting from the probe" in heard.lines
    resumed = next(event for event in events(run) if event["event"] == "resumed")
    assert (resumed["stage"], resumed["epochs"]) == ("probe", 0)


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)


def swap(path):
    state = load(path)
    state.arrays["best"].pop()
    save(path, state)


def age(path):
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    old = members["content.npy"].replace(
        '"format": 3'.encode("utf-32-le"), '"format": 2'.encode("utf-32-le")
    )
    assert old != members["content.npy"]
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in (members | {"content.npy": old}).items():
            archive.writestr(name, content)


@pytest.mark.parametrize(
    "damage",
    [flip, swap, age, lambda path: path.write_bytes(b"cut off")],
    ids=["flipped", "of another network", "of another format", "cut"],
)
def test_a_damaged_checkpoint_costs_no_more_than_time(whole, stopped, damage):
    run = stopped(1, 0).path
    damage(run / "checkpoint.npz")
    heard = Heard()
    assert_same(tlearn.resume(run, progress=heard), whole[0])
    (line,) = [line for line in heard.lines if "checkpoint" in line]
    assert "is damaged (" in line and line.endswith("): restarting from the probe")


def test_a_training_that_was_cut_off_in_its_evaluation(whole, tmp_path, monkeypatch):
    run, photos, cache = whole
    monkeypatch.setenv("TLEARN_CACHE", str(cache))

    def interrupted(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("tlearn.training.results.measure_files", interrupted)
        tlearn.finetune(photos, tmp_path / "run", stages=STAGES, **TOY)
    heard = Heard()
    assert_same(tlearn.resume(tmp_path / "run", progress=heard), run)
    assert "continuing at the end" in heard.lines


# ---- What cannot be resumed


def contents(run):
    changing = ("events.jsonl", "progress.jsonl", ".lock")
    return {p: p.read_bytes() for p in run.rglob("*") if p.is_file() and p.name not in changing}


@pytest.fixture
def refused(capsys):
    """Resume by the command line what cannot be; nothing changes; return what it says."""

    def refused(run, *arguments):
        before = contents(run)
        code = main(["finetune", "--resume", str(run), "--quiet", *map(str, arguments)])
        out, err = capsys.readouterr()
        assert (code, out) == (2, ""), err
        (line,) = err.splitlines()
        assert line.startswith("tlearn: error: ")
        assert before == contents(run)
        return line

    return refused


def test_runs_that_cannot_be_resumed(refused, whole, stopped, tmp_path):
    assert "no run directory 'nowhere'; give one" in refused(Path("nowhere"))
    assert "is no run directory: it holds no run.yaml" in refused(whole[1])
    assert "is finished: there is nothing to resume; to train anew" in refused(whole[0].path)
    run = stopped(0, 0).path
    record = (run / "run.yaml").read_text()
    for text in ("config: [", "config: {seed: 1}", "config: {sed: 1}", "- 1"):
        (run / "run.yaml").write_text(text)
        assert "run.yaml of the run" in refused(run) and "is damaged" in refused(run)
    (run / "run.yaml").write_text(record.replace(str(whole[1]), str(tmp_path / "gone")))
    assert f"are no longer in '{tmp_path / 'gone'}'; put them back" in refused(run)


def test_data_that_changed_is_refused(refused, stopped, whole, tmp_path):
    run = stopped(0, 0).path
    photos = Path(shutil.copytree(whole[1], tmp_path / "copy"))
    record = yaml.safe_load((run / "run.yaml").read_text())
    record["data"]["path"] = str(photos)
    (run / "run.yaml").write_text(yaml.safe_dump(record))
    first = min((photos / "red").iterdir())
    exclude(photos, [f"red/{first.name}"])
    assert "have changed since the run" in refused(run)
    undo_edits(photos)
    first.rename(first.with_name("zz.png"))  # another order gives another training
    assert "have changed since the run" in refused(run)
    (photos / "red" / "zz.png").unlink()
    assert "train anew with 'tlearn finetune' and another --out" in refused(run)


def test_weights_that_changed_are_refused(refused, whole, stopped, tmp_path):
    model = tlearn.backbones.load_registry().get("toy").build((32, 32, 3), None)
    weights = tmp_path / "toy.weights.h5"
    model.save_weights(weights)
    run = stopped(0, 0, weights=str(weights)).path
    model.set_weights([np.array(w) + 0.1 for w in model.get_weights()])
    model.save_weights(weights)
    assert "of toy are not those that the run" in refused(run)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["photos"], "DATA"),
        (["--seed", "1"], "--seed"),
        (["--out", "x"], "--out"),
        (["--set", "seed=1"], "--set"),
        (["--strict"], "--strict"),
        (["--stages", "1"], "--stages"),
        (["--config", "x.yaml"], "--config"),
    ],
)
def test_nothing_can_be_asked_for_anew(refused, whole, arguments, named):
    assert f"and takes no {named}; leave it out" in refused(whole[0].path, *arguments)


def test_of_many_that_train_a_run_at_once_one_does(tmp_path):
    run = RunDirectory.create(tmp_path / "run", RunConfig(), tmp_path)
    together, outcomes, over = threading.Barrier(4), [], threading.Event()

    def take():
        together.wait()
        try:
            with run.training():
                outcomes.append(state_of(run.path))
                over.wait(60)
        except tlearn.RunError as error:
            outcomes.append(str(error))

    threads = [threading.Thread(target=take) for _ in range(4)]
    for thread in threads:
        thread.start()
    while len(outcomes) < 4:  # three of them give up
        time.sleep(0.05)
    over.set()
    for thread in threads:
        thread.join()
    assert outcomes.count("running") == 1
    assert sum("is being trained" in outcome for outcome in outcomes) == 3


def test_a_run_can_be_stopped_by_a_file(whole, tmp_path, monkeypatch):
    _, photos, cache = whole
    monkeypatch.setenv("TLEARN_CACHE", str(cache))
    path = tmp_path / "run"

    class Ask(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            if epoch == 1:
                (path / "stop").touch()

    run = tlearn.finetune(photos, path, callbacks=[Ask()], stages=STAGES, **TOY)
    assert run.metrics["stopped"] and state_of(path) == "stopped" and not (path / "stop").exists()
    assert_same(tlearn.resume(path, quiet=True), whole[0])


# ---- Processes


@pytest.fixture
def held(whole, tmp_path):
    """Start a training as a process of its own that waits at an epoch; return process and run."""
    _, photos, cache = whole
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "holding.py").write_text(HOLDING)
    plugins = ["--plugins-dir", str(tmp_path / "plugins")]
    started = []

    def held(where, *arguments):
        there = tmp_path / f"held {len(started)}"
        given = arguments or (str(photos), *AS_OPTIONS, "--out", str(tmp_path / "run"))
        process = subprocess.Popen(
            [sys.executable, "-m", "tlearn", "finetune", *given, "--quiet", *plugins],
            env={**os.environ, "TLEARN_CACHE": str(cache), "HOLD": where, "HELD": str(there)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        while not there.exists():
            assert process.poll() is None, process.communicate()[1]
            time.sleep(0.02)
        return process, tmp_path / "run"

    yield held
    for process in started:
        process.kill()
        process.communicate()


def test_a_killed_process_is_continued_by_another(held, whole, refused, monkeypatch):
    monkeypatch.setenv("TLEARN_CACHE", str(whole[2]))
    process, run = held("top 1 block 3")
    assert "is being trained" in refused(run)
    process.kill()
    process.wait()
    assert state_of(run) == "interrupted" and (run / "checkpoint.npz").exists()
    process, run = held("all blocks 3", "--resume", str(run))
    assert "is being trained" in refused(run)
    process.kill()
    process.wait()
    done = subprocess.run(
        [sys.executable, "-m", "tlearn", "finetune", "--resume", str(run), "--json"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout)["stopped"] is False and "continuing in stage" in done.stderr
    assert_same(tlearn.Run(run), whole[0])


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no signal that asks to end")
def test_a_process_that_is_asked_to_end_keeps_its_best(held, whole, monkeypatch):
    monkeypatch.setenv("TLEARN_CACHE", str(whole[2]))
    process, run = held("all blocks 2")
    process.terminate()
    out, err = process.communicate()
    assert process.returncode == 130 and out.startswith("stopped: the model"), err
    stopped = tlearn.Run(run)
    assert stopped.metrics["stopped"] and stopped.metrics["stages"][2]["epochs"] == 1
    assert stopped.predict(whole[1] / "red")[0].label
    assert_same(tlearn.resume(run, quiet=True), whole[0])


# ---- How often a checkpoint is written


class Clockwork:
    """A clock that goes on when it is told to."""

    def __init__(self):
        self.now = 100.0

    def monotonic(self):
        return self.now


def test_writing_takes_a_small_part_of_the_time(tmp_path, monkeypatch):
    clock, written = Clockwork(), []

    def slow(path, state):
        clock.now += 2.0
        written.append(clock.now)

    monkeypatch.setattr(state, "time", clock)
    monkeypatch.setattr(state, "save", slow)
    checkpoint = Checkpoint(tmp_path / "checkpoint.npz", print)
    within, between = TrainingState(None, epoch=1), TrainingState(None, epoch=0)
    for _ in range(100):
        clock.now += 1.0
        checkpoint.update(within)
    assert len(written) == 3  # at once, and then after twenty times two seconds each
    checkpoint.update(between)
    assert len(written) == 4
    checkpoint.update(within)
    checkpoint.flush()
    checkpoint.flush()
    assert len(written) == 5  # what waits, once


def test_a_checkpoint_that_cannot_be_written_is_no_reason_to_stop(whole, tmp_path, monkeypatch):
    run, photos, cache = whole
    monkeypatch.setenv("TLEARN_CACHE", str(cache))

    def full(path, state):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(state, "save", full)
    heard = Heard()
    options = {**TOY, "quiet": False}
    again = tlearn.finetune(photos, tmp_path / "run", stages=STAGES, progress=heard, **options)
    assert_same(again, run)
    (line,) = [line for line in heard.lines if "checkpoint" in line]
    assert line == ("the checkpoint cannot be written: No space left on device; training continues")
