"""Trainings that wait for each other: real processes, killed at any moment."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import psutil
import pytest
from serving import until

import tlearn
from tlearn.config import RunConfig
from tlearn.errors import RunError
from tlearn.priority import TRAINING
from tlearn.progress import Silent
from tlearn.runs import job_queue
from tlearn.runs.directory import RunDirectory
from tlearn.runs.job_queue import JobQueue
from tlearn.runs.progress_log import read_progress
from tlearn.runs.run_state import EVENTS, LOCK, STOP, state_of
from tlearn.runs.run_store import RunStore

CONFIG = RunConfig(
    backbone="toy", weights="none", engine="tensorflow", stages=[{"unfreeze": 1, "epochs": 2}]
)
POSIX = pytest.mark.skipif(os.name != "posix", reason="Windows has no signals")
# A plugin that holds a training before its second epoch as long as a file of its name is there.
HOLDING = """
import os, time
from pathlib import Path
from tlearn.backbones import hookimpl

@hookimpl
def tlearn_callbacks(stage, run):
    from keras.callbacks import LambdaCallback

    hold = Path(os.environ["TEST_HOLD"]) / Path(run).name

    def wait(epoch, logs):
        while epoch == 1 and hold.exists():
            hold.with_suffix(".held").touch()
            time.sleep(0.05)

    return LambdaCallback(on_epoch_begin=wait)
"""


def kill_all(place):
    """Kill every process that was started for a place, whoever its parent is by now."""
    while True:
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                words = process.cmdline()
                if any(str(place) in word for word in words) and process.pid != os.getpid():
                    found += [process, *process.children(recursive=True)]
        if not found:
            return
        for process in found:
            with contextlib.suppress(psutil.Error):
                process.kill()
        psutil.wait_procs(found, timeout=5)


@pytest.fixture
def queue(tmp_path):
    queue = JobQueue(tmp_path / "runs")
    yield queue
    kill_all(tmp_path)
    if queue._runner is not None:
        queue._runner.wait()


@pytest.fixture
def asleep(queue, monkeypatch):
    """A queue that starts no runner."""
    queue.runs.mkdir()
    monkeypatch.setattr(queue, "wake", lambda: None)
    return queue


@pytest.fixture
def hold(tmp_path, monkeypatch):
    """Hold trainings of a name at their second epoch."""
    folder = tmp_path / "holding"
    info = folder / "tlearn_holding-1.0.dist-info"
    info.mkdir(parents=True)
    (folder / "tlearn_holding.py").write_text(HOLDING)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: tlearn-holding\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[tlearn]\nholding = tlearn_holding\n")
    monkeypatch.setenv("PYTHONPATH", f"{folder}{os.pathsep}{os.environ['PYTHONPATH']}")
    monkeypatch.setenv("TEST_HOLD", str(folder))

    class Hold:
        def begin(self, name):
            (folder / name).touch()

        def wait(self, name):
            until((folder / f"{name}.held").exists)

        def end(self, name):
            (folder / name).unlink()

    return Hold()


@pytest.fixture
def held(queue, photos, hold):
    """Return a run whose training is held in its second epoch."""

    def held(name):
        hold.begin(name)
        run = queue.submit(photos, CONFIG, name)
        hold.wait(name)
        assert state_of(run) == "running"
        return run

    return held


def states(queue):
    return {run.name: run.state for run in RunStore(queue.runs).runs()}


def over(queue, run):
    """Return the summary of a run once nothing trains it or will."""
    queue.wake()
    (summary,) = (found for found in RunStore(queue.runs).runs() if found.path == run)
    return summary if summary.over else None


def runner_works(queue):
    """Return whether a runner holds the lock of the folder."""
    try:
        with job_queue.FileLock(queue.runs / job_queue.RUNNER_LOCK).acquire(timeout=0):
            return False
    except job_queue.Timeout:
        return True


def queued(queue, photos, name):
    return queue.submit(photos, CONFIG, name)


# ---- Real trainings


@POSIX
def test_trainings_run_one_by_one_even_if_the_runner_and_a_training_die(
    queue, photos, held, hold, tmp_path
):
    run = held("a")
    failing, waiting = queued(queue, tmp_path / "gone", "c"), queued(queue, photos, "b")
    training = until(lambda: next(iter(psutil.Process(queue._runner.pid).children()), None))
    assert training.nice() > psutil.Process().nice()
    JobQueue(queue.runs).stop("b")  # by another program
    queue._runner.kill()
    queue._runner.wait()
    assert states(queue) == {"a": "running", "c": "queued", "b": "stopped"}
    assert [job.path for job in queue.jobs()] == [run, failing]
    at = read_progress(run)
    assert at.task and at.total and at.fraction < 1 and len(at.epochs) == 1 and at.planned > 0
    assert any(line.startswith("probe: validation accuracy") for line in at.lines)
    with pytest.raises(RunError, match="stop it first"):
        RunStore(queue.runs).delete("a")
    with pytest.raises(RunError, match="is being trained"):
        queue.resume("a")

    training.kill()
    killed = until(lambda: over(queue, run))
    assert (killed.state, killed.resumable, killed.usable) == ("interrupted", True, False)
    assert (run / "checkpoint.npz").exists()
    hold.end("a")
    queue.resume("a")
    until(lambda: over(queue, run) and not queue.jobs())
    assert queue._runner.wait(60) == 0  # it ends when none waits
    assert states(queue) == {"a": "finished", "c": "failed", "b": "stopped"}
    assert [epoch["epoch"] for epoch in read_progress(run).epochs] == [1, 2]
    assert tlearn.Run(run).metrics["stopped"] is False
    names = {path.name for path in run.iterdir()}
    assert "run.yaml" in names and not names & {LOCK, "progress.jsonl", "checkpoint.npz"}
    with pytest.raises(RunError, match="nothing to resume"):
        queue.resume("a")
    failed = over(queue, failing)
    assert "no longer in" in failed.problem and failed.problem.isprintable() and not failed.usable
    assert not (waiting / "metrics.json").exists()


@POSIX
def test_what_is_queued_waits_for_a_terminal_and_its_program_may_die(queue, photos, hold):
    """The program that asked is killed with everything in its session."""
    hold.begin("a")
    options = ["--backbone", "toy", "--weights", "none", "--stages", "1:2", "--quiet"]
    options += ["--out", str(queue.runs / "a")]
    terminal = subprocess.Popen(
        [sys.executable, "-m", "tlearn", "finetune", str(photos), *options],
        stdout=subprocess.DEVNULL,
    )
    hold.wait("a")
    code = (
        "import sys, time; from pathlib import Path; from tlearn.runs.job_queue import JobQueue\n"
        "from tlearn.config import RunConfig\n"
        "JobQueue(Path(sys.argv[1])).submit(Path(sys.argv[2]), RunConfig(), 'b')\n"
        "print(flush=True); time.sleep(600)"
    )
    page = subprocess.Popen(
        [sys.executable, "-c", code, str(queue.runs), "/gone"],
        start_new_session=True,
        stdout=subprocess.PIPE,
    )
    page.stdout.read(1)
    os.killpg(page.pid, signal.SIGKILL)
    page.communicate()
    until(lambda: runner_works(queue))
    jobs = queue.jobs()
    assert [(job.name, job.state) for job in jobs] == [("a", "running"), ("b", "queued")]
    with pytest.raises(RunError, match="is queued already"):
        queue.resume("b")
    queue.stop("a")
    queue.stop("a")
    assert queue.jobs()[0].state == "running" and queue.jobs()[0].stopping
    hold.end("a")
    assert terminal.wait(60) == 130
    stopped = over(queue, queue.runs / "a")
    assert stopped.state == "stopped" and stopped.usable and stopped.resumable
    assert tlearn.Run(stopped.path).metrics["stopped"] is True
    queue.stop("a")  # harmless
    assert not (stopped.path / STOP).exists()
    assert until(lambda: over(queue, queue.runs / "b")).state == "failed"
    assert queue._runner is None  # the other was still there


class StopsAtTask(Silent):
    """Asks a training to stop when a task begins."""

    def __init__(self, title, stop):
        self.title, self.stop_file = title, stop

    def task(self, title, total, unit):
        if title == self.title:
            self.stop_file.touch()
        return super().task(title, total, unit)


def test_a_stop_counts_if_it_is_not_older_than_the_process(asleep, photos):
    run = queued(asleep, photos, "a")
    (run / STOP).touch()
    with pytest.raises(KeyboardInterrupt):
        tlearn.resume(run, quiet=True)
    assert state_of(run) == "stopped" and not (run / STOP).exists()
    last = json.loads((run / EVENTS).read_text().splitlines()[-1])
    assert last["event"] == "stopped" and not (run / "model.keras").exists()
    asleep.resume("a")
    (run / STOP).touch()
    os.utime(run / STOP, (1e9, 1e9))
    assert state_of(run) == "stopped"
    measuring = StopsAtTask("evaluating", run / STOP)  # which is too late to stop anything
    assert tlearn.resume(run, progress=measuring).metrics["stopped"] is False
    assert state_of(run) == "finished" and not (run / STOP).exists()


# ---- The runner, without trainings


@pytest.fixture
def trained(monkeypatch):
    """Have the runner's trainings be over at once; return the runs in their order."""
    order = []

    def start(runs, module, *arguments):
        run = Path(arguments[2])
        order.append(run.name)
        RunDirectory(run).event("started")
        (run / "metrics.json").write_text('{"stopped": false}')
        return subprocess.Popen([sys.executable, "-c", ""])

    monkeypatch.setattr(job_queue, "start_process", start)
    return order


@pytest.mark.skipif(os.name != "posix", reason="Windows has classes of priority")
def test_what_outlives_the_page_takes_the_time_that_others_leave(tmp_path):
    process = job_queue.start_process(tmp_path, "timeit", "import time; time.sleep(60)")
    assert psutil.Process(process.pid).nice() >= TRAINING
    process.kill()
    process.wait()


def test_trainings_begin_in_the_order_of_asking(asleep, photos, trained):
    runs = [queued(asleep, photos, name) for name in ("b", "a", "a", "c")]
    assert [run.name for run in runs] == ["b", "a", "a-2", "c"]
    assert [job.path for job in asleep.jobs()] == runs
    asleep.stop("c")
    job_queue.run_queued(asleep.runs)
    assert trained == ["b", "a", "a-2"] and states(asleep)["c"] == "stopped"
    asleep.resume("c")
    job_queue.run_queued(asleep.runs)
    assert trained[3:] == ["c"] and set(states(asleep).values()) == {"finished"}


def test_what_is_queued_while_the_runner_ends_is_not_forgotten(
    asleep, photos, trained, monkeypatch
):
    queued(asleep, photos, "a")
    real, rounds = job_queue._train_queued, []

    def train_queued(queue):
        real(queue)
        if not rounds:  # it saw that none waits, and holds its lock still
            late = JobQueue(asleep.runs)
            late.submit(photos, CONFIG, "b")
            assert late._runner is None
        rounds.append(1)

    monkeypatch.setattr(job_queue, "_train_queued", train_queued)
    job_queue.run_queued(asleep.runs)
    assert trained == ["a", "b"] and len(rounds) == 2


def test_only_one_runner_works(asleep, photos, trained, monkeypatch):
    queued(asleep, photos, "a")
    with job_queue.FileLock(asleep.runs / job_queue.RUNNER_LOCK):
        monkeypatch.setattr(job_queue, "LOCK_SECONDS", 0.0)
        job_queue.run_queued(asleep.runs)
        other = JobQueue(asleep.runs)
        other.wake()
        assert other._runner is None
    assert trained == []
    job_queue.run_queued(asleep.runs)
    assert trained == ["a"]


def test_a_process_that_cannot_even_begin_is_no_reason_to_try_for_ever(
    asleep, photos, trained, monkeypatch
):
    code = "import sys; sys.exit(7)"
    monkeypatch.setattr(
        job_queue, "start_process", lambda *_: subprocess.Popen([sys.executable, "-c", code])
    )
    run = queued(asleep, photos, "a")
    job_queue.run_queued(asleep.runs)
    (summary,) = RunStore(asleep.runs).runs()
    assert summary.state == "failed" and "ended with code 7 before it began" in summary.problem
    assert state_of(run) == "failed"


def test_what_is_asked_for_again_while_its_process_ends_is_trained_again(
    asleep, photos, trained, monkeypatch
):
    real = job_queue.start_process

    def start(runs, module, *arguments):
        process = real(runs, module, *arguments)
        if len(trained) == 1:
            (runs / "a" / "metrics.json").write_text('{"stopped": true}')
            RunDirectory(runs / "a").event("stopped")
            asleep.resume("a")
        return process

    monkeypatch.setattr(job_queue, "start_process", start)
    run = queued(asleep, photos, "a")
    job_queue.run_queued(asleep.runs)
    assert trained == ["a", "a"] and state_of(run) == "finished"


def test_a_full_disk_is_told_and_waited_for(asleep, photos, trained, monkeypatch):
    usage = namedtuple("Usage", "total used free")
    queued(asleep, photos, "a")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**9, 10**9, 1000))
    assert asleep.disk_full() == (
        f"the disk of {str(asleep.runs)!r} is full: 1 kB are free, 20 MB are needed; free some "
        f"space, and it continues by itself"
    )
    waits = []

    def sleep(seconds):
        waits.append(seconds)
        assert trained == []
        monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**9, 0, 10**9))

    monkeypatch.setattr(job_queue.time, "sleep", sleep)
    job_queue.run_queued(asleep.runs)
    assert trained == ["a"] and len(waits) == 1


def test_many_programs_may_ask_at_once(asleep, photos):
    code = (
        "import sys; from pathlib import Path; from tlearn.runs.job_queue import JobQueue\n"
        "from tlearn.config import RunConfig\n"
        "runs, photos = map(Path, sys.argv[1:3]); queue = JobQueue(runs)\n"
        "queue.wake = lambda: None\n"
        "for k in range(20):\n"
        "    queue.submit(photos, RunConfig(), 'photos')"
    )
    others = [
        subprocess.Popen([sys.executable, "-c", code, str(asleep.runs), str(photos)])
        for _ in range(3)
    ]
    while any(other.poll() is None for other in others):
        assert all(job.state == "queued" for job in asleep.jobs())
    assert [other.wait() for other in others] == [0, 0, 0]
    names = {"photos", *(f"photos-{k}" for k in range(2, 61))}
    assert {job.name for job in asleep.jobs()} == names


def test_what_cannot_be_written_is_told(asleep, photos):
    (asleep.runs / "file").write_text("")
    with pytest.raises(RunError, match=r"cannot be made: Not a directory|exists already"):
        asleep.submit(photos, CONFIG, "file/a")
    with pytest.raises(RunError, match="exists already"):
        asleep.submit(photos, CONFIG, "file", numbered=False)
    for do in (asleep.stop, asleep.resume):
        with pytest.raises(RunError, match="there is no run"):
            do("nothing")
    assert asleep.jobs() == []
