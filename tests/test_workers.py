"""Several workers and devices train one network, as one of them would."""

import contextlib
import json
import re
import signal
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import keras
import numpy as np
import pytest
from conftest import TESTS, TOY, draw_photos
from joint_steps import PRECISIONS, network, steps
from worker_processes import Started, ended, free_addresses, start, tf_config

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


def reached(address):
    """Return a connection to an address where somebody will listen."""
    while True:
        with contextlib.suppress(ConnectionError):
            return socket.create_connection(address.split(":"), 10)


def at_once(*functions):
    """Call functions in threads; return what each gives, or the text of its RunError."""

    def result(function):
        try:
            return function()
        except RunError as error:
            return str(error)

    with ThreadPoolExecutor(len(functions)) as pool:
        return list(pool.map(result, functions))


def meet(records, missing=()):
    """Have workers with these records meet in threads; return what each gets, or its error."""
    addresses = tuple(free_addresses(len(records)))
    every = [Workers(k, addresses) for k in range(len(records))]
    calls = [partial(every[k].meet, one) for k, one in enumerate(records) if k not in missing]
    results = at_once(*calls)
    for one in every:
        one.close()
    return results


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
    environment("", seconds="1")
    first, second = meet([record()] * 3, missing=[2])
    assert "worker 2" in first and "worker 1" not in first and first == second
    (second,) = meet([record()] * 2, missing=[0])
    assert "worker 0" in second and "did not answer within 1 s" in second


@pytest.mark.parametrize(("ended", "others"), [(2, (0, 1)), (1, (0, 2)), (0, (1, 2))])
def test_the_others_know_who_has_ended(environment, ended, others):
    environment("", seconds="30")
    addresses = tuple(free_addresses(3))
    every = [Workers(k, addresses) for k in range(3)]
    at_once(*(partial(one.meet, record()) for one in every))
    every[ended].close()
    names = at_once(*(every[k].ended for k in others))
    assert names == [f"worker {ended} ({addresses[ended]})"] * 2


def test_a_worker_that_ends_while_others_are_awaited_is_named(environment):
    environment("", seconds="30")
    addresses = tuple(free_addresses(3))
    first, third = Workers(0, addresses), Workers(2, addresses)

    def end_early():
        with reached(addresses[0]) as connection:
            connection.sendall(json.dumps({**record(), "index": 1}).encode() + b"\n")
        return third.meet(record())

    errors = at_once(lambda: first.meet(record()), end_early)
    assert errors[0] == errors[1] and "worker 1" in errors[0] and "has ended" in errors[0]


def test_calls_of_strangers_do_not_matter(environment):
    environment("", seconds="30")
    addresses = free_addresses(2)

    def disturb():
        for _ in range(3):
            with socket.create_connection(addresses[0].split(":"), 10) as stranger:
                stranger.sendall(b"GET / HTTP/1.1\r\n\r\n")

    thread = threading.Timer(0.2, disturb)
    thread.start()
    first, second = (Workers(k, tuple(addresses)) for k in range(2))
    slow = threading.Timer(0.6, lambda: second.meet(record()))
    slow.start()
    assert first.meet(record())["run"] == "runs/a"
    thread.join()
    slow.join()
    first.close()
    second.close()


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
    addresses, run = free_addresses(2), tmp_path / "run"
    command = ["-m", "tlearn", "finetune", photos, *TOY, "--out", run]
    env = {"TF_CONFIG": tf_config(addresses, 0), TIMEOUT: "5"}
    process = Started(command, tmp_path / "first", env)
    other = Workers(1, tuple(addresses))
    other.meet({"versions": {}, "config": None})
    other.close()
    code, _, err = process.ended()
    assert code == 2, err
    assert f"worker 1 ({addresses[1]}) has ended" in err.splitlines()[-1]
    assert not run.exists()


@pytest.fixture(scope="module")
def alone():
    """Logs and variables where Keras trains on whole batches, by precision."""
    return {precision: steps(network(keras.Model), precision) for precision in PRECISIONS}


def check_like(alone, file):
    """Check that variables and logs are those of whole batches.

    In bfloat16 all is rounded to three digits, and otherwise in each part.
    """
    results = np.load(file)
    for precision, (logs, values) in alone.items():
        rtol, atol = (1e-3, 2e-6) if precision == "float32" else (0.02, 0.005)
        np.testing.assert_allclose(results[f"{precision} logs"], logs, rtol=rtol / 10)
        for number, value in enumerate(values):
            other = results[f"{precision} {number}"]
            np.testing.assert_allclose(other, value, rtol=rtol, atol=atol)


def test_steps_of_three_workers_are_those_of_one_process(alone, tmp_path):
    out = tmp_path / "out{}.npz"
    for code, text, err in ended(start(3, [TESTS / "joint_steps.py", out], tmp_path)):
        assert code == 0 and json.loads(text) == {"replicas": 3}, err
    for number in range(3):
        check_like(alone, str(out).format(number))


def test_steps_of_two_devices_are_those_of_one(alone, tmp_path):
    out = tmp_path / "out.npz"
    command = [TESTS / "joint_steps.py", out, "2"]
    code, text, err = Started(command, tmp_path / "devices", {}).ended()
    assert code == 0 and json.loads(text) == {"replicas": 2}, err
    check_like(alone, out)


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
    assert re.match(r"tlearn: error: worker 1 \(.*\) has ended, so worker 0", line)
    assert f"--resume {run}" in line
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
