"""A training that was stopped, killed or that failed goes on as if nothing had happened."""

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import keras
import numpy as np
import pytest
import yaml
from conftest import Heard, ToyRun, make_run, once
from serving import until

import tlearn
from tlearn.cli import main
from tlearn.data.editing import exclude
from tlearn.data.edits import undo_edits
from tlearn.runs.run_state import state_of
from tlearn.training import results, state
from tlearn.training.state import load, save

TOY = {"backbone": "toy", "weights": "none", "test": 0.2, "seed": 3, "quiet": True}
STAGES = "1:3@1e-3,all:3@1e-3"
AS_OPTIONS = f"--backbone toy --weights none --test 0.2 --seed 3 --stages {STAGES}".split()
# Where a training is stopped, resumed, and stopped again: stage, epoch, step.
PLACES = [(0, None), (0, 0, 0), (0, 1), (1, None), (1, 1), (1, 2, 0)]


class Interrupt(keras.callbacks.Callback):
    """Raises an exception in a stage: before it, in a step of an epoch, or after an epoch."""

    def __init__(self, stage, epoch=None, step=None, error=KeyboardInterrupt, first=(0, 3)):
        super().__init__()
        self.before = first[stage] if epoch is None else None
        self.where, self.error = (first[stage] + (epoch or 0), step), error
        self.epoch = None

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch
        if epoch == self.before:
            raise self.error

    def on_train_batch_end(self, batch, logs=None):
        if (self.epoch, batch) == self.where:
            raise self.error

    def on_epoch_end(self, epoch, logs=None):
        if (epoch, None) == self.where:
            raise self.error


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that was never interrupted."""
    place = once(tmp_path_factory, "whole run", lambda folder: make_run(folder, *AS_OPTIONS))
    return ToyRun(place / "run", place / "photos", place / "cache")


@pytest.fixture(scope="module")
def stops(whole, tmp_path_factory):
    """Stop one training at all places in turn; return its run directory at each of them."""

    def make(folder):
        path = folder / "run"
        for number, where in enumerate(PLACES):
            callbacks = [Interrupt(*where)]
            if number:
                run = tlearn.resume(path, quiet=True, callbacks=callbacks)
            else:
                run = tlearn.finetune(whole.photos, path, callbacks=callbacks, stages=STAGES, **TOY)
            assert run.metrics["stopped"] and (path / "checkpoint.npz").exists()
            shutil.copytree(path, folder / str(number))

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TLEARN_CACHE", str(whole.cache))
        folder = once(tmp_path_factory, "stopped runs", make)
    return {place: folder / str(number) for number, place in enumerate(PLACES)}


@pytest.fixture
def warm_cache(whole, monkeypatch):
    """Use the activations of the whole run."""
    monkeypatch.setenv("TLEARN_CACHE", str(whole.cache))


@pytest.fixture
def stopped(stops, warm_cache, tmp_path):
    """Return a run directory, the test's own, that was stopped at one of the places."""
    return lambda *where: Path(shutil.copytree(stops[where], tmp_path / "run"))


def events(run):
    return [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]


def without_times(metrics):
    left_out = ("seconds", "images_per_second", "plan")
    stages = [{k: v for k, v in s.items() if k != "seconds"} for s in metrics["stages"]]
    return {k: v for k, v in metrics.items() if k not in left_out} | {"stages": stages}


def assert_same(run, expected):
    """Two runs came to the same, bit for bit, and hold the same files."""
    one, other = tlearn.Run(run), tlearn.Run(expected)
    weights = [run.model.get_weights() for run in (one, other)]
    assert len(weights[0]) == len(weights[1])
    for a, b in zip(*weights, strict=True):
        np.testing.assert_array_equal(a, b)
    for name in ("history.csv", "splits.csv", "labels.json", "predictions.csv"):
        assert (one.path / name).read_bytes() == (other.path / name).read_bytes(), name
    assert without_times(one.metrics) == without_times(other.metrics)
    names = [{path.name for path in run.path.iterdir()} for run in (one, other)]
    assert names[0] == names[1] and not names[0] & {"checkpoint.npz", "progress.jsonl", ".lock"}


def test_stopped_again_and_again_it_comes_to_the_same(whole, stops, stopped):
    run = stopped(*PLACES[-1])
    tlearn.resume(run, quiet=True)
    assert_same(run, whole.run)
    kinds = [event["event"] for event in events(run)]
    assert kinds.count("stopped") == kinds.count("resumed") == len(PLACES)
    assert kinds.count("probe") == kinds.count("finished") == 1
    history = (run / "history.csv").read_text().splitlines()
    for place in stops.values():
        before = (place / "history.csv").read_text().splitlines()
        assert before == history[: len(before)]


def test_seconds_are_those_that_led_to_the_result(whole, stopped):
    run = stopped(0, 1)
    first = load(run / "checkpoint.npz").seconds
    assert {"total", "backbone", "scan", "activations", "probe", "stages"} <= set(first)
    start = time.monotonic()
    seconds = tlearn.resume(run, quiet=True).metrics["seconds"]
    took = time.monotonic() - start
    assert first["total"] < seconds["total"] < first["total"] + took
    assert seconds["probe"] == round(first["probe"], 3)  # not fitted again
    assert all(seconds[part] > first[part] for part in ("backbone", "scan", "stages"))
    assert_same(run, whole.run)


COUNTING = """
from tlearn.backbones import hookimpl

@hookimpl
def tlearn_callbacks(stage, run):
    from keras.callbacks import Callback

    class Count(Callback):
        epochs = 0

        def on_epoch_end(self, epoch, logs=None):
            self.epochs += 1
            self.model.optimizer.learning_rate = self.model.optimizer.learning_rate * 0.5
            self.model.stop_training = self.epochs == 3

    return Count() if stage.unfreeze == 1 else None
"""


def test_fresh_views_a_random_head_and_callbacks_come_to_the_same(
    whole, warm_cache, tmp_path, plugin_file, monkeypatch
):
    monkeypatch.setattr("tlearn.training.costs.BENCHMARK_SECONDS", 0.01)
    plugin_file("counting", COUNTING)
    stages = [
        {"unfreeze": "none", "epochs": 4, "learning_rate": 0.1, "optimizer": "adamw"}
        | {"schedule": "plateau", "patience": 1, "monitor": "val_loss"},
        {"unfreeze": 1, "epochs": 6, "block_rate": 0.5, "mixup": 0.4, "cutmix": 0.4}
        | {"optimizer": {"name": "rmsprop", "use_ema": True, "gradient_accumulation_steps": 2}}
        | {"schedule": "constant", "patience": 3, "batch_norm": "train"},
    ]
    others = {"views": "fresh", "head": {"hidden": [8]}, "time_budget": "10m", "stages": stages}
    expected, path = tmp_path / "expected", tmp_path / "run"
    stages = tlearn.finetune(whole.photos, expected, **TOY, **others).metrics["stages"]
    first = (0, stages[1]["epochs"])
    tlearn.finetune(whole.photos, path, callbacks=[Interrupt(0, 0)], **TOY, **others)
    tlearn.resume(path, quiet=True, callbacks=[Interrupt(1, 1, 0, first=first)])
    tlearn.resume(path, quiet=True)
    assert_same(path, expected)
    assert stages[2]["epochs"] == 3


def test_a_checkpoint_holds_no_weights_that_no_stage_changes(whole, tmp_path):
    options = TOY | {"stages": "1:3,1:3"}
    run = tmp_path / "run"
    tlearn.finetune(whole.photos, run, callbacks=[Interrupt(1)], **options)
    with np.load(run / "checkpoint.npz") as file:
        names = {name.partition(".")[0] for name in file}
        assert names == {"content", "seeds", "member 0", "member 1"}
    state = load(run / "checkpoint.npz")
    assert (state.stage_index, state.epoch) == (1, 0)
    model = tlearn.Run(run).model
    names = ("standardise", "logits", "block3")
    layers = {lay for lay in model._flatten_layers() if lay.name.startswith(names)}
    expected = sum(layer.count_params() for layer in layers)
    assert [sum(a.size for a in member.weights) for member in state.members] == [expected] * 2


def test_after_an_error_the_message_says_how_to_continue(whole, warm_cache, tmp_path):
    path = tmp_path / "run"
    callback = Interrupt(0, 0, error=tlearn.DataError("a photo went away"))
    with pytest.raises(tlearn.DataError) as caught:
        tlearn.finetune(whole.photos, path, stages=STAGES, callbacks=[callback], **TOY)
    command = f"tlearn finetune --resume {path}"
    assert str(caught.value) == "a photo went away"
    assert caught.value.__notes__ == [f"to continue the training: {command}"]
    (failed,) = [event for event in events(path) if event["event"] == "failed"]
    assert failed["error"] == str(caught.value) and failed["hint"].endswith(command)
    assert state_of(path) == "failed"
    with pytest.raises(tlearn.RunError, match=f"not finished.*continue it with: {command}"):
        tlearn.Run(path)
    with pytest.raises(tlearn.RunError, match="or continue it with --resume"):
        tlearn.finetune(whole.photos, path, **TOY)
    tlearn.resume(path, quiet=True)
    assert_same(path, whole.run)


def test_an_error_before_the_stages_leaves_nothing(whole, warm_cache, tmp_path, monkeypatch):
    def broken(*arguments):
        raise tlearn.DataError("a photo went away")

    monkeypatch.setattr("tlearn.training.network_training._fit_probe", broken)
    with pytest.raises(tlearn.DataError, match=r"^a photo went away$"):
        tlearn.finetune(whole.photos, tmp_path / "run", stages=STAGES, **TOY)
    assert not (tmp_path / "run").exists()


def test_a_resume_that_fails_costs_a_stopped_run_nothing(stopped):
    run = stopped(0, 1)
    model = (run / "model.keras").read_bytes()
    callback = Interrupt(0, 2, 0, error=RuntimeError("a defect"))
    with pytest.raises(RuntimeError) as caught:
        tlearn.resume(run, quiet=True, callbacks=[callback])
    assert caught.value.__notes__ == [f"to continue the training: tlearn finetune --resume {run}"]
    assert state_of(run) == "failed"
    assert tlearn.Run(run).metrics["stopped"]  # usable as before
    assert (run / "model.keras").read_bytes() == model


def test_stopped_again_by_a_file_it_keeps_the_better_model(stopped):
    run = stopped(1, 1)
    metrics = tlearn.Run(run).metrics
    metrics["validation"] |= {"accuracy": 1.0, "log_loss": 0.0}  # better than any can be
    for stage, share in zip(metrics["stages"], (0.0, 1.0, 0.0), strict=True):
        stage["share"] = share
    (run / "metrics.json").write_text(json.dumps(metrics))
    model, heard = (run / "model.keras").read_bytes(), Heard()
    ask = keras.callbacks.LambdaCallback(on_epoch_end=lambda *_: (run / "stop").touch())
    again = tlearn.resume(run, progress=heard, callbacks=[ask])
    assert again.metrics["stopped"] and (run / "model.keras").read_bytes() == model
    assert state_of(run) == "stopped" and not (run / "stop").exists()
    assert "keeping the model of the previous stop: it scores higher on validation" in heard.lines
    assert [s["share"] for s in again.metrics["stages"]] == [0.0, 1.0, 0.0]
    assert again.metrics["validation"]["log_loss"] > 0  # measured by the model that is there


def test_a_model_is_scored_for_later_stops_as_it_is_saved(whole, warm_cache, tmp_path, monkeypatch):
    scores, write = [], results.write_results

    def scored(run, setup, network, state):
        scores.append(state.best.by_key())
        write(run, setup, network, state)

    monkeypatch.setattr(results, "write_results", scored)
    precise = {"precision": "float32", **TOY}
    run = tlearn.finetune(whole.photos, tmp_path / "run", stages="1:1", **precise)
    saved = run.metrics["validation"]
    assert scores == [{key: pytest.approx(saved[key], rel=1e-2) for key in scores[0]}]


def test_without_a_checkpoint_and_room_for_one_it_begins_again(whole, stopped, monkeypatch):
    run = stopped(1, 1)
    for name in ("checkpoint.npz", "model.keras", "metrics.json", "splits.csv"):
        (run / name).unlink()
    (run / ".lock").touch()  # what a killed process leaves
    assert state_of(run) == "stopped"

    def full(path, state):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(state, "save", full)
    heard = Heard()
    tlearn.resume(run, progress=heard)
    assert_same(run, whole.run)
    assert [line for line in heard.lines if "checkpoint" in line] == [
        "there is no checkpoint: restarting from the probe",
        "the checkpoint cannot be written: No space left on device; training continues",
    ]
    resumed = [event for event in events(run) if event["event"] == "resumed"][-1]
    assert (resumed["stage"], resumed["epochs"]) == ("probe", 0)


def test_with_a_checkpoint_of_another_network_it_begins_again(stopped):
    path, heard = stopped(1, 1), Heard()
    expected = load(path / "checkpoint.npz")
    other = load(path / "checkpoint.npz")
    other.arrays["network"].pop()
    save(path / "checkpoint.npz", other)
    with pytest.raises(RuntimeError):
        tlearn.resume(path, progress=heard, callbacks=[Interrupt(0, error=RuntimeError("enough"))])
    (line,) = [line for line in heard.lines if "the checkpoint" in line]
    assert "is damaged (" in line and line.endswith("): restarting from the probe")
    begun = load(path / "checkpoint.npz")
    assert (begun.stage_index, begun.epoch) == (0, 0)
    assert begun.plan.probe.score == expected.plan.probe.score


def test_a_training_that_was_cut_off_in_its_evaluation(whole, stopped, monkeypatch):
    def interrupted(*arguments):
        raise KeyboardInterrupt

    run, heard = stopped(1, 2, 0), Heard()
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("tlearn.training.results.measure_files", interrupted)
        tlearn.resume(run, quiet=True)
    assert state_of(run) == "stopped"
    with pytest.raises(tlearn.RunError, match="not finished"):
        tlearn.Run(run)
    tlearn.resume(run, progress=heard)
    assert_same(run, whole.run)
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
    assert "is no run directory: it holds no run.yaml" in refused(whole.photos)
    assert "is finished: there is nothing to resume; to train anew" in refused(whole.run)
    assert "and takes no DATA; leave it out" in refused(whole.run, "photos")
    for given in "--seed 1", "--out x", "--set seed=1", "--strict", "--stages 1", "--config x.yaml":
        named, *value = given.split()
        assert f"and takes no {named}; leave it out" in refused(whole.run, named, *value)
    run = stopped(0, 1)
    record = (run / "run.yaml").read_text()
    for text in ("config: [", "config: {seed: 1}", "config: {sed: 1}", "- 1"):
        (run / "run.yaml").write_text(text)
        assert "run.yaml of the run" in refused(run) and "is damaged" in refused(run)
    (run / "run.yaml").write_text(record.replace(str(whole.photos), str(tmp_path / "gone")))
    assert f"are no longer in '{tmp_path / 'gone'}'; put them back" in refused(run)


def test_photos_and_weights_that_changed_are_refused(refused, stopped, whole, tmp_path):
    run, photos = stopped(0, 1), tmp_path / "copy"
    shutil.copytree(whole.photos, photos)
    record = yaml.safe_load((run / "run.yaml").read_text())
    record["data"]["path"] = str(photos)
    (run / "run.yaml").write_text(yaml.safe_dump(record))
    first = min((photos / "red").iterdir())
    exclude(photos, [f"red/{first.name}"])
    assert "have changed since the run" in refused(run)
    undo_edits(photos)
    weights = record["config"]["weights"] = str(tmp_path / "toy.weights.h5")
    (run / "run.yaml").write_text(yaml.safe_dump(record))
    tlearn.backbones.load_registry().get("toy").build((32, 32, 3), None).save_weights(weights)
    assert "of toy are not those that the run" in refused(run)
    first.rename(first.with_name("zz.png"))  # another order gives another training
    assert "have changed since the run" in refused(run)
    (photos / "red" / "zz.png").unlink()
    assert "train anew with 'tlearn finetune' and another --out" in refused(run)


# ---- Processes that end


def test_what_a_killed_process_leaves_is_continued(whole, warm_cache, tmp_path, refused, capsys):
    run, left = tmp_path / "run", tmp_path / "left"

    def leave(epoch, logs):
        if epoch == 2:
            assert "is being trained" in refused(run)
            shutil.copytree(run, left)
            raise RuntimeError("enough")

    callbacks = [keras.callbacks.LambdaCallback(on_epoch_begin=leave)]
    with pytest.raises(RuntimeError):
        tlearn.finetune(whole.photos, run, callbacks=callbacks, stages=STAGES, **TOY)
    assert state_of(left) == "interrupted" and (left / "checkpoint.npz").exists()
    (left / ".0123456789abcdef.npz").write_bytes(b"half a checkpoint")
    assert main(["finetune", "--resume", str(left), "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["stopped"] is False and "continuing in stage" in err
    assert_same(left, whole.run)


# A plugin that waits before the second epoch of a stage.
HOLDING = """
import os, time
from pathlib import Path
from tlearn.backbones import hookimpl

@hookimpl
def tlearn_callbacks(stage, run):
    from keras.callbacks import LambdaCallback

    def hold(epoch, logs):
        if (stage.title, epoch) == ("all blocks", 1):
            (Path(run) / "held").touch()
            time.sleep(600)

    return LambdaCallback(on_epoch_begin=hold)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no signal that asks to end")
def test_a_process_that_is_asked_to_end_keeps_its_best(whole, stopped, tmp_path):
    run, plugins = stopped(0, 1), tmp_path / "plugins"
    plugins.mkdir()
    (plugins / "holding.py").write_text(HOLDING)
    command = [sys.executable, "-m", "tlearn", "finetune", "--resume", run, "--quiet"]
    with subprocess.Popen(
        [*command, "--plugins-dir", plugins],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            until(lambda: (run / "held").exists() or process.poll() is not None)
            process.terminate()
            out, err = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 130 and out.startswith("stopped: the model"), err
    found = tlearn.Run(run)
    assert found.metrics["stopped"] and found.metrics["stages"][2]["epochs"] == 1
    assert found.predict(whole.photos / "red")[0].label
