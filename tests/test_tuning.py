"""A search of configurations: KerasTuner's oracles, an end in the middle, the comparison."""

import gc
import json
import os
import signal
import subprocess
import sys
import time

import keras_tuner
import numpy as np
import pytest
import yaml
from conftest import COLOURS, Heard, picture
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData
from tensorboard.util.tensor_util import make_ndarray

import tlearn
from tlearn.cli import main
from tlearn.config import RunConfig
from tlearn.csv_files import csv_rows
from tlearn.errors import ConfigError, RunError, TlearnError
from tlearn.experiments import tuning, tuning_trials
from tlearn.experiments.tuning_space import check_space, default_space, with_share, with_values
from tlearn.runs.measurement import paired_gain
from tlearn.settings import make_config, to_yaml

TOY = {"backbone": "toy", "weights": "none", "preset": "balanced"}
SPACE = {
    "stages[-1].epochs": [1, 2],
    "head.dropout": {"min": 0.0, "max": 0.6, "step": 0.2},
    "stages[-1].learning_rate": {"min": 1e-4, "max": 1e-2, "sampling": "log"},
    "stages[-1].unfreeze": ["none", 1],
}
SEARCH = {"space": SPACE, "trials": 4, "repeats": 2, "quiet": True, **TOY}


@pytest.fixture(scope="module")
def patch():
    with pytest.MonkeyPatch.context() as patch:
        yield patch


@pytest.fixture(scope="module")
def trained(patch):
    """Collect the names of the files of each split of each training of a trial."""
    splits = []
    real = tuning_trials.read_setup

    def read_setup(config, data, *others):
        splits.append({split: {f.name for f in files} for split, files in data[1].items()})
        return real(config, data, *others)

    patch.setattr(tuning_trials, "read_setup", read_setup)
    return splits


@pytest.fixture(scope="module")
def faint(tmp_path_factory):
    """Photos whose classes differ little, so that trials do."""
    folder = tmp_path_factory.mktemp("faint") / "photos"
    for k, (label, colour) in enumerate(COLOURS.items()):
        (folder / label).mkdir(parents=True)
        for i in range(12):
            grey = 0.075 * np.array(colour) + 0.925 * 120
            picture(grey, np.random.default_rng((0, k, i))).save(folder / label / f"{label}{i}.png")
    return folder


@pytest.fixture(scope="module")
def whole(faint, tmp_path_factory, patch, trained):
    """A search that nobody interrupted, and the images that its trials were trained on."""
    place = tmp_path_factory.mktemp("whole")
    patch.setenv("TLEARN_CACHE", str(place / "cache"))
    result = tlearn.tune(faint, place / "search", **SEARCH)
    return result, list(trained)


def trials_in(folder):
    return [json.loads(line) for line in (folder / "trials.jsonl").read_text().splitlines()]


def test_a_search_is_measured_on_images_that_no_trial_saw(whole, tmp_path):
    result, trained = whole
    tested = {str(path) for path, _ in result.runs["default"][0].images("test")}
    assert len(tested) >= 6 and len(trained) == 5
    for splits in trained:
        assert not splits["test"]
        assert not tested & (splits["train"] | splits["validation"])
    for run in [*result.runs["default"], *result.runs["best"]]:
        assert {str(path) for path, _ in run.images("test")} == tested
    assert [run.record["config"]["seed"] for run in result.runs["default"]] == [0, 1]
    assert result.gain.images == len(tested)
    assert (
        min(trial.figures["log_loss"] for trial in result.trials)
        == (result.best.figures["log_loss"])
    )


def test_what_a_search_writes(whole, faint, tmp_path):
    result, _ = whole
    names = {path.name for path in result.path.iterdir()}
    assert {"trials.svg", "trials.png", "space.yaml", "best.yaml", "default", "default-2"} <= names
    best = f"trial-{result.best.number}"
    assert [run.path.name for run in result.runs["best"]] == [best, f"{best}-2"]
    rows = csv_rows((result.path / "trials.csv").read_text())
    assert [row["trial"] for row in rows] == ["0", "1", "2", "3", "4"]
    assert all(0 <= float(row["accuracy"]) <= 1 for row in rows)
    record = json.loads((result.path / "tuning.json").read_text())
    assert record["verdict"] in result.table()
    for trial in record["trials"]:  # as TensorBoard reads it
        log = EventAccumulator(str(result.path / "tensorboard" / f"trial-{trial['number']:02d}"))
        (score,) = log.Reload().Tensors("validation/log_loss")
        assert make_ndarray(score.tensor_proto) == pytest.approx(trial["figures"]["log_loss"])
        content = log.summary_metadata["_hparams_/session_start_info"].plugin_data.content
        start = HParamsPluginData.FromString(content).session_start_info
        assert start.hparams.keys() == trial["values"].keys() | {"share"}
    # What is best can be trained with as it stands.
    run = tlearn.finetune(faint, tmp_path / "run", config=result.path / "best.yaml", quiet=True)
    config = run.record["config"]
    best = make_config(result.path / "best.yaml").model_dump(mode="json", exclude_unset=True)
    for stage in best.pop("stages", []):
        assert stage.items() <= config["stages"][-1].items()
    assert best.pop("head", {}).items() <= config["head"].items()
    assert best.items() <= config.items()


def objective(values):
    """Return a score that prefers some values."""
    rate = np.log10(float(f"{values['stages[-1].learning_rate']:.4g}"))
    depth = {"none": 0.3, "1": 0.0}[str(values["stages[-1].unfreeze"])]
    return float((values["head.dropout"] - 0.4) ** 2 + (rate + 3) ** 2 / 10 + depth)


@pytest.mark.parametrize(
    ("tuner", "trials"), [("hyperband", 14), ("random", 14), ("bayesian", 11), ("grid", 14)]
)
def test_the_oracle_proposes_what_it_proposes_in_plain_keras_tuner(
    photos, tmp_path, monkeypatch, tuner, trials
):
    def evaluate(self, config):
        stage = config.stages[-1]
        values = {
            "head.dropout": config.head.dropout,
            "stages[-1].learning_rate": stage.learning_rate,
            "stages[-1].unfreeze": stage.unfreeze,
        }
        return {"log_loss": objective(values), "accuracy": 0.5}, 10, stage.epochs

    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    space = {key: values for key, values in SPACE.items() if key != "stages[-1].epochs"}
    monkeypatch.setattr(tuning_trials.Evaluation, "__call__", evaluate)
    monkeypatch.setattr(tuning, "finetune", interrupted)
    progress = Heard()
    config = {**TOY, "stages": [{"unfreeze": 1, "epochs": 3}], "seed": 4}
    with pytest.raises(KeyboardInterrupt):
        tlearn.tune(
            photos,
            tmp_path / "search",
            trials=trials,
            tuner=tuner,
            space=space,
            progress=progress,
            **config,
        )
    assert progress.lines[-1] == f"to continue: tlearn tune --resume {tmp_path / 'search'}"
    ours = trials_in(tmp_path / "search")[1:]

    hp = keras_tuner.HyperParameters()
    hp.Float("head.dropout", 0.0, 0.6, step=0.2)
    hp.Float("stages[-1].learning_rate", 1e-4, 1e-2, sampling="log")
    hp.Choice("stages[-1].unfreeze", ["none", "1"])
    goal = keras_tuner.Objective("log_loss", "min")
    oracles = keras_tuner.oracles
    if tuner == "hyperband":
        oracle = oracles.HyperbandOracle(
            goal, max_epochs=3, factor=3, hyperband_iterations=4, seed=5, hyperparameters=hp
        )
    else:
        kinds = {
            "random": oracles.RandomSearchOracle,
            "bayesian": oracles.BayesianOptimizationOracle,
            "grid": oracles.GridSearchOracle,
        }
        oracle = kinds[tuner](goal, max_trials=trials, seed=5, hyperparameters=hp)

    class Plain(keras_tuner.Tuner):
        def run_trial(self, trial, *arguments, **options):
            return {"log_loss": objective(trial.hyperparameters.values)}

    plain = Plain(oracle=oracle, directory=str(tmp_path), project_name="plain")
    plain.oracle.verbose = 0
    plain.search()
    theirs = [oracle.trials[number].hyperparameters.values for number in oracle.start_order]
    assert len(ours) == trials <= len(theirs)
    for mine, their in zip(ours, theirs, strict=False):
        assert {k: str(v) for k, v in mine["values"].items() if k.endswith("unfreeze")} == {
            k: v for k, v in their.items() if k.endswith("unfreeze")
        }
        for key in ("head.dropout", "stages[-1].learning_rate"):
            assert mine["values"][key] == pytest.approx(their[key], rel=1e-3)
        assert mine["share"] * 3 == pytest.approx(their.get("tuner/epochs", 3))
        if tuner == "hyperband":
            assert mine["epochs"] == their["tuner/epochs"]
    if tuner == "hyperband":
        assert {trial["share"] for trial in ours} == {1 / 3, 1}


def test_a_killed_search_goes_on_and_repeats_no_trial(faint, tmp_path, whole, trained, capsys):
    folder, space = tmp_path / "search", tmp_path / "space.yaml"
    space.write_text(yaml.safe_dump(SPACE, sort_keys=False))
    options = [part for key, value in TOY.items() for part in (f"--{key}", value)]
    options += ["--space", str(space), "--trials", "4", "--repeats", "1", "--out", str(folder)]
    command = [sys.executable, "-m", "tlearn", "tune", str(faint), *options, "--quiet"]
    process = subprocess.Popen(command, env=os.environ)
    while not (folder / "trials.jsonl").exists() or len(trials_in(folder)) < 2:
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    before, count = trials_in(folder), len(trained)
    assert main(["tune", "--resume", str(folder), "--quiet"]) == 0
    assert "5 trials, best first, on validation" in capsys.readouterr().out
    after = trials_in(folder)
    assert after[: len(before)] == before and len(after) == 5
    assert len(trained) == count + 5 - len(before)
    # It is the same search as one that nobody killed.
    for one, other in zip(after, whole[0].trials, strict=True):
        assert (one["values"], one["share"]) == (other.values, other.share)
        assert one["figures"] == pytest.approx(other.figures, rel=1e-3)
    # With more trials it goes on, with another space it does not.
    more = SEARCH | {"repeats": 1, "trials": 5}
    again = tlearn.tune(faint, folder, **more)
    assert len(again.trials) == 6 and len(trained) <= count + 6 - len(before)
    with pytest.raises(RunError, match="holds a search with another space"):
        tlearn.tune(faint, folder, **(more | {"space": {"head.dropout": [0.1, 0.2]}}))


def test_folds_hold_every_image_back_once_and_keep_groups_together(photos, tmp_path, trained):
    count = len(trained)
    result = tlearn.tune(
        photos,
        tmp_path / "search",
        space={"head.dropout": [0.0, 0.5]},
        tuner="grid",
        folds=3,
        repeats=1,
        group=r"\d(\d)\.",
        preset="quick",
        quiet=True,
        **{key: TOY[key] for key in ("backbone", "weights")},
    )
    assert [trial.values for trial in result.trials] == [
        {},
        {"head.dropout": 0.0},
        {"head.dropout": 0.5},
    ]
    done = trained[count:]
    assert len(done) == 9
    held_back = [name for splits in done[:3] for name in splits["validation"]]
    assert len(held_back) == len(set(held_back)) == result.trials[0].images
    lines = (tmp_path / "search" / "photos.jsonl").read_text()
    rows = [json.loads(line) for line in lines.splitlines()]
    groups = {row["path"]: row["group"] for row in rows}
    tested = {row["group"] for row in rows if row["split"] == "test"}
    for splits in done:
        inside, outside = ({groups[n] for n in splits[s]} for s in ("validation", "train"))
        assert not inside & outside and not (inside | outside) & tested


def test_without_time_the_given_configuration_is_the_best(photos, tmp_path):
    progress = Heard()
    steps = {"name": "piecewise", "rates": [[0, 0.2], [1, 0.02]]}  # a value that is no plain one
    result = tlearn.tune(
        photos,
        tmp_path / "search",
        space={"stages[].schedule": ["cosine", steps]},
        time_budget=0.01,
        repeats=1,
        progress=progress,
        **TOY,
    )
    assert "the time budget allows no more trials" in progress.lines
    assert len(result.trials) == 1 and result.runs["best"] is result.runs["default"]
    assert (
        result.verdict == "no trial was better on validation than the configuration that was given"
    )
    assert make_config(tmp_path / "search" / "best.yaml") == make_config(options=TOY)


def captured():
    """Return how many tensors the graphs hold that TensorFlow keeps."""
    gc.collect()
    graphs = [o for o in gc.get_objects() if type(o).__name__ == "FuncGraph"]
    return sum(len(graph.captures) for graph in graphs)


def test_trials_that_fail_do_not_end_a_search_and_no_trial_stays_in_memory(photos, tmp_path):
    before = captured()
    space = {"stages[-1].unfreeze": [1, 7]}
    result = tlearn.tune(
        photos, tmp_path / "one", space=space, tuner="grid", repeats=1, quiet=True, **TOY
    )
    assert [bool(trial.error) for trial in result.trials] == [False, False, True]
    assert captured() == before
    assert "it has 3" in result.trials[2].error and "1 of them failed" in result.table()
    space = {"stages[-1].unfreeze": [7, 8, 9]}
    with pytest.raises(ConfigError, match="three trials in a row could not be trained"):
        tlearn.tune(photos, tmp_path / "two", space=space, tuner="grid", quiet=True, **TOY)


@pytest.mark.parametrize(
    ("space", "words"),
    [
        ({}, "no keys to search; an example is head.dropout"),
        ({"head.x": [1, 2]}, "unknown configuration key 'head.x'"),
        ({"stages[-1].x": [1, 2]}, "unknown configuration key 'stages.0.x'"),
        ({"stages[3].epochs": [1, 2]}, r"stages\[3\].epochs: the training has 1 stages"),
        ({"head.dropout": [0.1, 7]}, "head.dropout: must be less than 1"),
        ({"head.dropout": {"min": 0, "max": 2}}, "head.dropout: must be less than 1"),
        ({"stages.epochs": [1, 2]}, r"write stages\[\].epochs for all stages"),
        ({"stages[].optimizer": [{"name": "sgd", "momentum": 3}]}, "Keras refuses the optimizer"),
        ({"head": {"dropout": [0.1]}}, "head of the space takes a list of values or {min, max"),
        ({"head.dropout": 0.3}, "takes a list of values or {min, max, step, sampling}"),
        ({"head.dropout": []}, "takes a list of values"),
        ({"head.dropout": {"min": 0, "max": 0.5, "log": True}}, "Received: {log: true}"),
        ({"head.dropout": {"min": 0.0, "max": 0.5, "sampling": "log"}}, "does not support"),
        ({"head.dropout": [object()]}, "the space takes numbers, texts, lists and mappings"),
        ({"seed": [1, 2]}, "seed cannot be searched, because it must be the same for all"),
        ({"backbone": ["toy", "toi"]}, "toi"),
        ({"preset": ["quick", "slow"]}, "slow"),
    ],
)
def test_spaces_that_cannot_be_searched_are_refused_before_anything_is_written(
    photos, tmp_path, space, words
):
    with pytest.raises(TlearnError, match=words):
        tlearn.tune(photos, tmp_path / "search", space=space, quiet=True, **TOY)
    assert not (tmp_path / "search").exists()


def test_other_arguments_that_are_refused(photos, tmp_path, monkeypatch, capsys):
    for options, words in (
        (["--trials", "0"], "trials must be 1 or more. Received: 0"),
        (["--folds", "1"], "folds must be 2 or more, or 0"),
        (["--tuner", "magic"], "'magic' is not one of 'hyperband', 'random', 'bayesian', 'grid'"),
        (["--space", str(tmp_path / "no.yaml")], "the space"),
        (["--resume", str(tmp_path)], "--resume continues with the arguments of the search"),
    ):
        assert main(["tune", str(photos), *options]) == 2
        assert words in capsys.readouterr().err
    assert main(["tune", "--resume", str(tmp_path)]) == 2
    assert "holds no search that can be continued" in capsys.readouterr().err
    monkeypatch.setattr(tuning, "find_spec", lambda name: None)
    assert main(["tune", str(photos)]) == 2
    assert "tuning needs KerasTuner: pip install 'tlearn[tune]'" in capsys.readouterr().err


def test_values_of_stages():
    base = make_config(options={**TOY, "stages": "none:4,1:6"})
    config = with_values(base, {"stages[].batch_size": 8, "stages[-1].unfreeze": 2})
    assert [(s.unfreeze, s.epochs, s.batch_size) for s in config.stages] == [
        ("none", 4, 8),
        (2, 6, 8),
    ]
    assert [stage.epochs for stage in with_share(config, 1 / 9).stages] == [1, 1]
    assert [stage.epochs for stage in with_share(config, 1 / 2).stages] == [2, 3]
    # Those of the preset; a head that starts at random is trained first.
    config = with_values(make_config(options=TOY), {"head.hidden": [8], "stages[-1].epochs": 3})
    assert [(s.unfreeze, s.epochs) for s in config.stages] == [("none", 20), ("block3_conv", 3)]
    assert make_config(options=yaml.safe_load(to_yaml(config))) == config


def test_the_space_of_its_own_leaves_out_what_is_given():
    toy = make_config(options={key: TOY[key] for key in ("backbone", "weights")})
    space = default_space(toy)
    check_space(space, toy)
    assert {"views", "augment", "head.dropout", "preset", "stages[].unfreeze"} <= space.keys()
    given = make_config(options={**TOY, "head": {"dropout": 0.1}, "stages": "1:3", "views": 2})
    assert default_space(given).keys() == {"augment", "head.taps"}
    quick = make_config(options={**TOY, "preset": "quick"})
    assert default_space(quick).keys() == {"views", "augment", "head.taps", "head.dropout"}
    with pytest.raises(ConfigError, match="the training has no stages; give it some with preset"):
        check_space({"stages[].epochs": [1, 2]}, quick)
    check_space({"stages[].epochs": [1, 2], "preset": ["quick", "balanced"]}, quick)
    assert "backbone" in default_space(RunConfig())


def test_the_gain_of_two_classifiers():
    one, other = np.ones(100), np.ones(100)
    other[:10], one[10:12] = 0, 0
    gain = paired_gain(one, other)
    assert (gain.share, gain.images) == (pytest.approx(0.08), 100)
    assert gain.p_value == pytest.approx(0.03857421875)  # 10 against 2, exactly
    # Agresti and Min: half an image is added to each of the four cells.
    b, c, n = 10.5, 2.5, 102
    half = 1.959964 * np.sqrt(b + c - (b - c) ** 2 / n) / n
    assert gain.ci95 == pytest.approx(((b - c) / n - half, (b - c) / n + half))
    assert paired_gain(other, one).share == pytest.approx(-0.08)
    same = paired_gain(one, one)
    assert paired_gain(one - 1e-9, one).text.startswith("+0.0 points (95% interval -")
    assert (same.share, same.p_value) == (0, 1) and same.ci95[0] < 0 < same.ci95[1]


def test_the_best_of_many_equal_configurations_gains_nothing_on_images_that_chose_nothing():
    """On validation it seems to: that is why there is a test split."""
    rng = np.random.default_rng(0)
    seeming, real, wrong, covered = [], [], 0, 0
    for _ in range(300):
        hard = rng.beta(8, 1, (2, 150))  # how likely each image is recognised, on both splits
        right = rng.random((50, 2, 150)) < hard
        best = right[1:, 0].mean(axis=1).argmax() + 1
        seeming.append(paired_gain(right[best, 0], right[0, 0]).share)
        gain = paired_gain(right[best, 1], right[0, 1])
        real.append(gain.share)
        wrong += gain.p_value < 0.05
        covered += gain.ci95[0] <= 0 <= gain.ci95[1]
    assert np.mean(seeming) > 0.03 and abs(np.mean(real)) < 0.005
    assert wrong <= 0.05 * 300 and covered >= 0.92 * 300
