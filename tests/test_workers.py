"""Several workers and devices train one network, as one of them would."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading

import keras
import numpy as np
import pytest
from conftest import TESTS, TOY, draw_photos
from joint_steps import network, steps
from worker_processes import ended, free_addresses, start, tf_config

import tlearn
from tlearn.cli import main
from tlearn.errors import ConfigError, RunError
from tlearn.training.replicas import Replicas
from tlearn.training.split_step import split_step
from tlearn.training.workers import TIMEOUT, Workers

CONFIG = """
backbone: toy
weights: none
seed: 3
precision: float32
class_weights: balanced
callbacks: {callbacks}
head: {{dropout: 0}}
stages:
  - {{unfreeze: none, epochs: 2, batch_size: 9, learning_rate: 1e-2, mixup: 0.3}}
  - {{unfreeze: 1, epochs: 3, batch_size: 9, learning_rate: 1e-3, batch_norm: frozen}}
"""
# Ends a worker, as a machine that fails does, in the second epoch of the second stage.
FATAL = """
import os, signal
import keras

class Fatal(keras.callbacks.Callback):
    def on_epoch_begin(self, epoch, logs=None):
        self.now = epoch == 3 and os.environ.get("FATAL") == os.environ["TF_CONFIG"][-3:-2]

    def on_train_batch_begin(self, batch, logs=None):
        if self.now and batch == 1:
            os.kill(os.getpid(), signal.SIGKILL)

callbacks = [Fatal()] if "TF_CONFIG" in os.environ else []
"""


@pytest.fixture
def environment(monkeypatch):
    """Set ``TF_CONFIG``, as a text or as what JSON can hold, and a short time to wait."""

    def set_(config, seconds="3"):
        text = config if isinstance(config, str) else json.dumps(config)
        monkeypatch.setenv("TF_CONFIG", text)
        monkeypatch.setenv(TIMEOUT, seconds)

    return set_


def test_workers_are_those_of_tf_config(environment):
    environment(tf_config(["a:1", "b:2", "[::1]:3"], 1))
    assert Workers.from_environment() == Workers(1, ("a:1", "b:2", "[::1]:3"))
    environment({"cluster": {"worker": ["b:2"], "chief": ["a:1"]}, "task": {"type": "worker"}})
    assert Workers.from_environment() == Workers(1, ("a:1", "b:2"))
    for alone in ("", "{}", tf_config(["a:1"], 0)):
        environment(alone)
        assert Workers.from_environment() is None


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ("{", "is no JSON"),
        ("[]", "has another form"),
        ({"cluster": {"worker": 3}}, "has another form"),
        ({"cluster": {"worker": ["a:1", "b:2"]}, "task": {"index": 2}}, "task worker 2, and there"),
        ({"cluster": {"worker": ["a:1", "b:2"]}, "task": {"index": "1"}}, "task worker '1'"),
        ({"cluster": {"worker": ["a:1"]}, "task": {"type": "chief"}}, "task chief 0, and there"),
        ({"cluster": {"worker": ["a:1"], "ps": ["b:2"]}}, "the job 'ps'"),
        ({"cluster": {"worker": ["a:1", "b"]}}, "the address 'b', which is no HOST:PORT"),
        ({"cluster": {"worker": ["a:1", "a:1"]}}, "names an address twice"),
    ],
)
def test_a_wrong_tf_config_is_one_line(environment, photos, tmp_path, capsys, config, reason):
    environment(config)
    with pytest.raises(ConfigError, match=reason):
        Workers.from_environment()
    out = tmp_path / "run"
    assert main(["finetune", str(photos), "--backbone", "toy", "--out", str(out)]) == 2
    assert capsys.readouterr().err.count("\n") == 1 and not out.exists()


def meet(records, addresses=None, missing=()):
    """Have workers with these records meet in threads; return what each gets, or its error."""
    addresses = addresses or free_addresses(len(records))
    results = {}

    def one(index):
        try:
            results[index] = Workers(index, tuple(addresses)).meet(records[index])
        except RunError as error:
            results[index] = str(error)

    threads = [threading.Thread(target=one, args=(k,)) for k in range(len(records))]
    for k, thread in enumerate(threads):
        if k not in missing:
            thread.start()
    for k, thread in enumerate(threads):
        if k not in missing:
            thread.join(60)
    return [results.get(k) for k in range(len(records))]


def record(**changes):
    config = {"seed": 1, "head": {"dropout": 0}}
    return {"versions": {"keras": "3.1"}, "config": config, "run": "runs/a"} | changes


def test_workers_that_do_the_same_meet(environment):
    environment("", seconds="30")
    first, *others = meet([record(), record(run="b"), record(config=None)])
    assert [first["run"], *(other["run"] for other in others)] == ["runs/a"] * 3


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"config": {"seed": 2}}, r"worker 2 \(.*\) has another seed than worker 0 .*: 2, not 1;"),
        (
            {"config": {"seed": 1, "head": {"dropout": 0.1}}},
            r"another head\.dropout .*: 0\.1, not 0;",
        ),
        ({"versions": {"keras": "3.2"}}, r'another version of keras .*: "3.2", not "3.1";'),
    ],
)
def test_a_worker_that_would_do_something_else_ends_all(environment, changes, reason):
    environment("", seconds="30")
    errors = meet([record(), record(), record(**changes)])
    assert len(set(errors)) == 1
    with pytest.raises(RunError, match=reason):
        raise RunError(errors[0])


def test_all_end_if_one_does_not_come(environment):
    environment("", seconds="2")
    first, second, _ = meet([record()] * 3, missing=[2])
    assert "worker 2" in first and "worker 1" not in first and first == second
    _, second = meet([record()] * 2, missing=[0])
    assert "worker 0" in second and "did not answer within 2 s" in second


def test_calls_of_strangers_do_not_matter(environment):
    environment("", seconds="30")
    addresses = free_addresses(2)

    def disturb():
        for _ in range(3):
            with socket.create_connection(addresses[0].split(":"), 10) as stranger:
                stranger.sendall(b"GET / HTTP/1.1\r\n\r\n")

    thread = threading.Timer(0.2, disturb)
    thread.start()
    slow = threading.Timer(0.6, lambda: Workers(1, tuple(addresses)).meet(record()))
    slow.start()
    assert Workers(0, tuple(addresses)).meet(record())["run"] == "runs/a"
    thread.join()
    slow.join()


def test_the_port_of_the_first_may_be_taken(environment):
    environment("")
    with socket.create_server(("127.0.0.1", 0)) as server:
        taken = f"127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(RunError, match=r"the port of worker 0 .* cannot be used"):
            Workers(0, (taken, "127.0.0.1:1")).meet(record())


@pytest.mark.parametrize("seconds", ["soon", "0", "-1", "nan"])
def test_a_wrong_time_to_wait_is_refused(environment, seconds):
    environment("", seconds=seconds)
    with pytest.raises(ConfigError, match=f"{TIMEOUT} takes a number of seconds"):
        Workers(1, ("a:1", "b:2")).meet(record())


def test_every_image_of_a_batch_is_that_of_one_worker():
    for count in (1, 2, 3, 7):
        every = [Replicas(None, Workers(k, tuple("abcdefg"[:count]))) for k in range(count)]
        for n in (0, 1, 2, 7, 32):
            parts = [np.arange(n)[one.own(n)] for one in every]
            assert np.concatenate(parts).tolist() == list(range(n))
            assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_dropout_differs_between_workers():
    seeds = [np.array([3, 7], np.uint32)]
    assert Replicas().varied(seeds)[0].tolist() == [3, 7]
    every = [Replicas(None, Workers(k, ("a:1", "b:2"))).varied(seeds)[0].tolist() for k in (0, 1)]
    assert every[0] == [3, 7] != every[1]


class Two:
    """Stands for a strategy of two devices."""

    num_replicas_in_sync = 2


def test_what_cannot_be_split_is_refused():
    two = Replicas(Two())
    two.check_batch(2, "head")
    with pytest.raises(ConfigError, match="'head' has batches of 1, and 2 devices"):
        two.check_batch(1, "head")
    with pytest.raises(ConfigError, match="Own trains on one device, and there are 2"):
        split_step(two, type("Own", (keras.Model,), {}))


def test_the_first_ends_if_a_worker_ends_between_meeting_and_connecting(
    environment, photos, tmp_path
):
    environment("", seconds="120")
    addresses = free_addresses(2)
    process = subprocess.Popen(
        [sys.executable, "-m", "tlearn", "finetune", photos, *TOY, "--out", tmp_path / "run"],
        env=os.environ | {"TF_CONFIG": tf_config(addresses, 0), TIMEOUT: "10"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    Workers(1, tuple(addresses)).meet({"versions": {}, "config": None})
    [(code, _, err)] = ended([process])
    assert code == 1 and err.endswith("connecting 2 workers, for 10 s at most\n")


@pytest.fixture(scope="module")
def alone():
    """Logs and variables where Keras trains on whole batches."""
    return steps(network(keras.Model))


def check_like(alone, file):
    """Check that variables and logs are those of whole batches, and that they changed."""
    logs, values = alone
    found = np.load(file)
    np.testing.assert_allclose(found["logs"], logs, rtol=1e-4)
    for number, value in enumerate(values):
        np.testing.assert_allclose(found[f"arr_{number}"], value, rtol=1e-3, atol=2e-6)


def test_steps_of_three_workers_are_those_of_one_process(alone, tmp_path):
    files = [tmp_path / f"{k}.npz" for k in range(3)]
    addresses, processes = free_addresses(3), []
    for k, file in enumerate(files):
        env = {**os.environ, "TF_CONFIG": tf_config(addresses, k)}
        processes.append(
            subprocess.Popen(
                [sys.executable, TESTS / "joint_steps.py", file],
                env=env,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
    for code, out, err in ended(processes):
        assert code == 0 and json.loads(out) == {"replicas": 3}, err
    for file in files:
        check_like(alone, file)


def test_steps_of_two_devices_are_those_of_one(alone, tmp_path):
    command = [sys.executable, TESTS / "joint_steps.py", tmp_path / "out.npz", "2"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0 and json.loads(done.stdout) == {"replicas": 2}, done.stderr
    check_like(alone, tmp_path / "out.npz")


def test_a_training_goes_on_after_a_worker_was_killed(tmp_path, monkeypatch):
    """And ends with the model of a training by one process that nothing interrupted."""
    photos, run = draw_photos(tmp_path / "photos"), tmp_path / "run"
    (tmp_path / "fatal.py").write_text(FATAL)
    config = tmp_path / "config.yaml"
    config.write_text(CONFIG.format(callbacks=tmp_path / "fatal.py"))
    command = ["-m", "tlearn", "finetune", photos, "--config", config, "--out", run]
    first, second = ended(start(2, command, tmp_path, FATAL="1"))
    assert second[0] == -signal.SIGKILL
    assert first[0] == 2, first[2]
    *_, line = first[2].splitlines()
    assert line.startswith("tlearn: error: another worker has ended") and "--resume" in line
    assert not (run / "model.keras").exists()

    command = ["-m", "tlearn", "finetune", "--resume", run]
    first, second = ended(start(2, command, tmp_path))
    assert (first[0], second[0]) == (0, 0), first[2] + second[2]
    assert "continuing in stage 'top 1 block' after 1 epoch of it" in first[2]
    assert str(run) in first[1] and not second[1]
    assert str(run) in second[2]

    one = tlearn.finetune(photos, tmp_path / "one", config=config, quiet=True)
    both = tlearn.Run(run)
    assert both.history.columns.equals(one.history.columns)
    numbers = one.history.select_dtypes("number").columns
    np.testing.assert_allclose(both.history[numbers], one.history[numbers], rtol=1e-3, atol=1e-6)
    for a, b in zip(both.model.get_weights(), one.model.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-6)
