"""Trainings that wait for each other: real processes, killed at any moment."""

import contextlib
import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import namedtuple
from pathlib import Path

import psutil
import pytest
from conftest import Heard, draw_photos, make_run

import tlearn
from tlearn.config import RunConfig
from tlearn.errors import RunError
from tlearn.jobs import Queue, ending, processes, runner
from tlearn.jobs.planning import Planner
from tlearn.jobs.predicting import Answer, predict, write_csv
from tlearn.jobs.watching import last_words, watch
from tlearn.runs.directory import MARKED
from tlearn.runs.processes import identity

SECONDS = 120  # nothing here takes a tenth of it
CONFIG = RunConfig(
    backbone="toy", weights="none", engine="tensorflow", stages=[{"unfreeze": 1, "epochs": 2}]
)
POSIX = pytest.mark.skipif(os.name != "posix", reason="Windows has no signals")
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="other systems note when it began")
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


def until(condition):
    """Return what a condition gives as soon as that is something."""
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        found = condition()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError("it did not happen")


def noted(queue, name):
    return json.loads((queue.folder / name / "state.json").read_text())


def runner_of(queue):
    return json.loads((queue.folder / "runner.json").read_text())["pid"]


def over(queue, name):
    queue.wake()
    job = queue.get(name)
    return job if job.over else None


def kill(pid):
    """Kill a process the hard way, and see that it is dead."""
    begun = identity(pid)
    os.kill(pid, signal.SIGKILL)
    until(lambda: identity(pid) != begun)


def run_runner(queue):
    """Run a runner in this process, as a thread; it ends when nothing waits."""
    thread = threading.Thread(target=runner.run, args=(queue,))
    thread.start()
    return thread


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
    yield Queue(tmp_path / "runs")
    kill_all(tmp_path)


@pytest.fixture
def hold(tmp_path, monkeypatch):
    """Hold a training at its second epoch: ``hold(job)`` waits until it is there."""
    folder = tmp_path / "holding"
    info = folder / "tlearn_holding-1.0.dist-info"
    info.mkdir(parents=True)
    (folder / "tlearn_holding.py").write_text(HOLDING)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: tlearn-holding\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[tlearn]\nholding = tlearn_holding\n")
    monkeypatch.setenv("PYTHONPATH", f"{folder}{os.pathsep}{os.environ['PYTHONPATH']}")
    monkeypatch.setenv("TEST_HOLD", str(folder))

    class Hold:
        def __call__(self, name):
            (folder / name).touch()

        def reached(self, name):
            return (folder / f"{name}.held").exists()

        def let_go(self, name):
            (folder / name).unlink()

    return Hold()


@pytest.fixture
def held(queue, photos, hold):
    """Give a job that runs and is held in its second epoch."""

    def held(name="a"):
        hold(name)
        job = queue.submit(photos, CONFIG, queue.runs / name)
        until(lambda: hold.reached(name))
        return queue.get(job.id)

    return held


def fake(queue, name, run, **state):
    """Put a job into the queue by hand, as a program that was killed may leave it."""
    folder = queue.folder / name
    folder.mkdir(parents=True)
    request = {"data": "photos", "run": str(run), "resumes": False, "asked": 5.0}
    (folder / "request.json").write_text(json.dumps(request))
    if state:
        (folder / "state.json").write_text(json.dumps(state))
    return name


def whole_run(path, stopped=False):
    path.mkdir(parents=True)
    (path / "metrics.json").write_text(json.dumps({"stopped": stopped}))
    return path


# ---- A job from beginning to end


def test_jobs_run_one_by_one_in_the_order_of_asking(queue, photos):
    asked = [queue.submit(photos, CONFIG, queue.runs / name) for name in ("b", "a")]
    asked.append(
        queue.submit(photos, RunConfig(backbone="toy", weights="none", size=5), queue.runs / "c")
    )
    seen = set()

    def done():
        queue.wake()
        jobs = queue.jobs()
        assert [job.id for job in jobs] == [job.id for job in asked]
        states = [job.state for job in jobs]
        seen.update(states)
        assert states.count("running") <= 1
        first = next((i for i, job in enumerate(jobs) if not job.over), 3)
        assert all(job.state == "queued" for job in jobs[first + 1 :])  # strictly in turn
        return all(job.over for job in jobs)

    until(done)
    assert {"queued", "running", "finished", "failed"} <= seen
    first, second, third = queue.jobs()
    assert first.asked <= first.started <= first.ended <= second.started
    assert (first.state, second.state, third.state) == ("finished", "finished", "failed")
    assert "size" in third.problem and third.problem.isprintable() and not third.resumable
    assert not any(job.pid or job.resumable for job in queue.jobs())
    assert tlearn.Run(queue.runs / "b").metrics["stopped"] is False
    live = queue.live(first.id)
    assert [e["epoch"] for e in live.epochs] == [1, 2] and len(live.stages) == 1
    assert live.planned > 0 and live.fraction == 1.0 and live.memory == 0
    assert any(line.startswith("probe: validation accuracy") for line in live.lines)
    until(lambda: not queue.has_runner())  # it ends when nothing waits
    queue.wake()
    assert not queue.has_runner()


def test_a_job_runs_with_low_priority_and_tells_how_far_it_is(queue, held):
    job = held()
    process = psutil.Process(job.pid)
    assert process.nice() > psutil.Process().nice() or os.name != "posix"
    live = queue.live(job.id)
    assert live.task and live.total and live.fraction < 1 and live.memory > 1e7
    assert len(live.epochs) == 1 and job.started > 0 and not job.ended


@POSIX
def test_whoever_asked_may_die(queue, photos, hold):
    """The program that asked is killed with everything in its session."""
    hold("a")
    code = (
        "import sys, time; from pathlib import Path; from tlearn.jobs import Queue\n"
        "from tlearn.config import RunConfig\n"
        "config = RunConfig.model_validate_json(sys.argv[3])\n"
        "queue = Queue(Path(sys.argv[1]))\n"
        "queue.submit(Path(sys.argv[2]), config, queue.runs / 'a')\n"
        "time.sleep(600)"
    )
    text = CONFIG.model_dump_json(exclude_unset=True)
    page = subprocess.Popen(
        [sys.executable, "-c", code, str(queue.runs), str(photos), text], start_new_session=True
    )
    until(lambda: hold.reached("a"))
    os.killpg(page.pid, signal.SIGKILL)
    page.wait()
    (job,) = queue.jobs()
    assert job.state == "running" and queue.has_runner()
    hold.let_go("a")
    assert until(lambda: over(queue, job.id)).state == "finished"


@POSIX
def test_when_the_runner_dies_its_job_goes_on_and_the_next_waits_for_it(queue, photos, held, hold):
    first = held("a")
    second = queue.submit(photos, CONFIG, queue.runs / "b")
    before = runner_of(queue)
    kill(before)
    assert queue.get(first.id).state == "running"
    queue.wake()
    assert runner_of(queue) != before
    until(lambda: queue.has_runner() and identity(runner_of(queue)))
    assert queue.get(second.id).state == "queued"
    hold.let_go("a")
    assert until(lambda: over(queue, second.id)).state == "finished"
    job = queue.get(first.id)
    assert job.state == "finished" and job.pid == 0
    assert job.ended <= queue.get(second.id).started + 1


@POSIX
@pytest.mark.parametrize("how", ["finished", "stopped", "killed", "damaged"])
def test_how_a_job_ended_is_known_without_its_runner(queue, held, hold, how):
    job = held()
    kill(runner_of(queue))
    assert queue.get(job.id).pid == job.pid
    if how == "killed":
        kill(job.pid)
    elif how == "stopped":
        queue.stop(job.id)
    elif how == "damaged":
        (queue.folder / job.id / "state.json").write_text('{"pid": 12')
        kill(job.pid)
    else:
        hold.let_go("a")
    found = until(lambda: over(queue, job.id))
    expected = {"killed": "lost", "damaged": "lost"}.get(how, how)
    assert found.state == expected and found.resumable == (how != "finished")
    assert noted(queue, job.id)["outcome"] == expected
    shutil.rmtree(job.run)  # what was found out is not forgotten with the run
    assert Queue(queue.runs).get(job.id).state == expected


@POSIX
def test_a_job_that_is_killed_is_lost_and_can_be_continued(queue, photos, held, hold):
    job = held()
    kill(job.pid)
    lost = until(lambda: over(queue, job.id))
    assert (lost.state, lost.resumable) == ("lost", True) and "signal 9" in lost.problem
    with pytest.raises(RunError, match="unfinished run"):
        queue.submit(photos, CONFIG, job.run)
    hold.let_go("a")
    again = queue.resume(lost.run, lost.data)
    assert again.resumes
    queue.forget(job.id)
    assert until(lambda: over(queue, again.id)).state == "finished"
    assert [e["epoch"] for e in queue.live(again.id).epochs] == [1, 2]
    with pytest.raises(RunError, match="nothing to resume"):
        queue.resume(job.run, photos)
    assert [j.id for j in queue.jobs()] == [again.id] and not queue.get(again.id).resumable


@POSIX
def test_stop_keeps_the_best_and_resume_continues(queue, held, hold, photos):
    job = held()
    for _ in range(3):
        queue.stop(job.id)
    stopped = until(lambda: over(queue, job.id))
    assert stopped.state == "stopped" and stopped.resumable and not stopped.problem
    assert tlearn.Run(job.run).metrics["stopped"] is True
    queue.stop(job.id)  # harmless
    assert queue.get(job.id) == stopped
    hold("b")
    between = queue.submit(photos, CONFIG, queue.runs / "b")  # so that the next one waits
    until(lambda: hold.reached("b"))
    again = queue.resume(job.run, job.data)
    for ask in (
        lambda: queue.resume(job.run, job.data),
        lambda: queue.submit(photos, CONFIG, queue.runs / "x" / ".." / "b"),
    ):
        with pytest.raises(RunError, match=r"works on|exists already"):
            ask()
    hold.let_go("a")
    hold.let_go("b")
    assert until(lambda: over(queue, again.id)).state == "finished"
    assert queue.get(between.id).state == "finished"
    assert tlearn.Run(job.run).metrics["stopped"] is False


@POSIX
def test_a_signal_stops_a_job_as_well(queue, held):
    job = held()
    os.kill(job.pid, signal.SIGTERM)
    stopped = until(lambda: over(queue, job.id))
    assert stopped.state == "stopped" and tlearn.Run(job.run).metrics["stopped"]


def test_a_job_that_waits_is_cancelled(queue, photos, held, hold):
    first = held()
    second = queue.submit(photos, CONFIG, queue.runs / "b")
    third = queue.submit(photos, CONFIG, queue.runs / "c")
    with pytest.raises(RunError, match=r"works on .*, or waits to"):
        queue.submit(photos, CONFIG, queue.runs / "b")
    with pytest.raises(RunError, match="stop it first"):
        queue.forget(second.id)
    with pytest.raises(RunError, match="stop it first"):
        queue.forget(first.id)
    Queue(queue.runs).stop(second.id)  # by another program
    queue.stop(second.id)
    cancelled = queue.get(second.id)
    assert cancelled.state == "cancelled" and cancelled.over and not cancelled.resumable
    hold.let_go("a")
    assert until(lambda: over(queue, third.id)).state == "finished"
    assert queue.get(second.id).state == "cancelled" and not (queue.runs / "b").exists()
    queue.forget(second.id)
    assert [job.id for job in queue.jobs()] == [first.id, third.id]
    assert [p.name for p in queue.folder.glob(".*/")] == []


def test_a_stop_between_queued_and_started_is_honoured(queue, photos, monkeypatch):
    """It is asked for when the runner has chosen the job already."""
    monkeypatch.setattr(queue, "wake", lambda: None)
    job = queue.submit(photos, CONFIG, queue.runs / "a")
    real, codes = runner.start, []

    def stop_then_start(*arguments, log):
        Queue(queue.runs).stop(job.id)
        process = real(*arguments, log=log)
        codes.append(process.wait())
        return process

    monkeypatch.setattr(runner, "start", stop_then_start)
    monkeypatch.setattr(runner, "lower_priority", lambda pid: None)
    run_runner(queue).join(SECONDS)
    assert codes == [75] and queue.get(job.id).state == "cancelled"
    assert not job.run.exists() and not queue.has_runner()


def test_a_stop_at_once_leaves_nothing_or_what_can_be_used(queue, photos):
    """It comes while the job loads its libraries."""
    job = queue.submit(photos, CONFIG, queue.runs / "a")
    until(lambda: queue.get(job.id).state == "running")
    queue.stop(job.id)
    found = until(lambda: over(queue, job.id))
    assert (found.state == "cancelled") == (not job.run.exists()) and not found.problem
    assert found.state in ("cancelled", "stopped") or found.resumable


# ---- Programs that die at the worst moment


def test_a_job_whose_runner_died_before_it_began_is_not_begun_twice(queue, photos, hold):
    """Two processes are started for it, as by a runner that was killed and by the next one."""
    hold("a")
    queue.wake = lambda: None
    job = queue.submit(photos, CONFIG, queue.runs / "a")
    both = [
        processes.start("tlearn.jobs.begin", str(queue.runs), job.id, log=queue.log_of(job.id))
        for _ in range(2)
    ]
    loser = until(lambda: next((p for p in both if p.poll() is not None), None))
    assert loser.returncode == 75
    (winner,) = [p for p in both if p is not loser]
    until(lambda: hold.reached("a"))
    running = queue.get(job.id)
    assert running.state == "running" and running.pid == winner.pid
    queue.settle(job.id, 1, loser.pid)  # how the other ended says nothing of the job
    assert queue.get(job.id) == running
    hold.let_go("a")
    assert winner.wait() == 0 and queue.get(job.id).state == "finished"


def test_a_job_begins_only_when_it_is_its_turn(queue, photos):
    queue.wake = lambda: None
    first, second = (queue.submit(photos, CONFIG, queue.runs / name) for name in "ab")
    assert queue.claim(second.id) is None
    assert queue.claim(first.id).id == first.id
    assert queue.get(first.id).pid == os.getpid()
    assert queue.claim(first.id) is None and queue.claim(second.id) is None
    queue.settle(first.id, 0, os.getpid())
    assert queue.claim(second.id).id == second.id
    queue.settle(second.id, 2, os.getpid())
    assert [job.state for job in queue.jobs()] == ["finished", "failed"]
    assert queue.jobs()[1].problem == "it ended with code 2 and without a word"


@POSIX
def test_runners_killed_again_and_again_lose_nothing(queue, photos):
    asked = [queue.submit(photos, CONFIG, queue.runs / name) for name in "abc"]
    killed = 0

    def done():
        nonlocal killed
        queue.wake()
        jobs = queue.jobs()
        assert sum(job.state == "running" for job in jobs) <= 1
        with contextlib.suppress(OSError, ValueError):
            if queue.has_runner() and killed < 6:
                kill(runner_of(queue))
                killed += 1
        return all(job.over for job in jobs)

    until(done)
    assert [(job.id, job.state) for job in queue.jobs()] == [(j.id, "finished") for j in asked]
    assert killed == 6 and all(tlearn.Run(job.run).metrics for job in asked)


def test_only_one_runner_works(queue, photos, held):
    held()
    other = processes.start("tlearn.jobs.runner", str(queue.runs), log=queue.runs / "other.log")
    assert other.wait(SECONDS) == 0
    assert (queue.runs / "other.log").read_text() == ""
    before = runner_of(queue)
    queue.submit(photos, CONFIG, queue.runs / "b")
    Queue(queue.runs).wake()
    assert runner_of(queue) == before


def test_two_programs_may_ask_at_once(queue, photos):
    queue.wake = lambda: None
    code = (
        "import sys; from pathlib import Path; from tlearn.jobs import Queue\n"
        "from tlearn.config import RunConfig\n"
        "runs, photos = map(Path, sys.argv[1:3]); queue = Queue(runs)\n"
        "queue.wake = lambda: None\n"
        "for k in range(20):\n"
        "    queue.submit(photos, RunConfig(), runs / f'{sys.argv[3]}{k}')"
    )
    others = [
        subprocess.Popen([sys.executable, "-c", code, str(queue.runs), str(photos), name])
        for name in "xy"
    ]
    threads = [
        threading.Thread(target=queue.submit, args=(photos, RunConfig(), queue.runs / f"z{k}"))
        for k in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    while any(other.poll() is None for other in others):
        queue.jobs()
    assert [other.wait() for other in others] == [0, 0]
    jobs = queue.jobs()
    numbers = [int(job.id.split("-")[0]) for job in jobs]
    assert numbers == list(range(1, 49))
    for name in "xy":
        mine = [job.run.name for job in jobs if job.run.name[0] == name]
        assert mine == [f"{name}{k}" for k in range(20)]


# ---- What may be wrong in the queue


def test_damaged_files_are_no_obstacle(queue, photos):
    queue.folder.mkdir(parents=True)
    for name, text in (
        ("00000001-aaaaaaaa", '{"da'),
        ("00000002-bbbbbbbb", "[]"),
        ("00000003-cccccccc", '{"data": 3}'),
    ):
        (queue.folder / name).mkdir()
        (queue.folder / name / "request.json").write_text(text)
    (queue.folder / "00000004-dddddddd").mkdir()
    for number, text in enumerate(('{"pid"', "", "[1]", '{"pid": "x", "begun": 3}', "\x00" * 9), 5):
        fake(queue, f"{number:08d}-eeeeeeee", queue.runs / f"none{number}")
        (queue.folder / f"{number:08d}-eeeeeeee" / "state.json").write_text(text)
    (queue.folder / "runner.json").write_text('{"pid": 1')
    (queue.folder / ".half-made").mkdir()
    (queue.folder / "stray.txt").write_text("hello")
    (queue.folder / "00000099-ffffffff").write_text("a file")
    jobs = queue.jobs()
    assert [job.state for job in jobs] == ["failed"] * 4 + ["lost"] * 5
    assert all("damaged" in job.problem and job.run.name == job.id for job in jobs[:4])
    assert not any(job.resumable for job in jobs)
    job = queue.submit(photos, CONFIG, queue.runs / "a")
    assert job.id.startswith("00000100-")
    assert until(lambda: over(queue, job.id)).state == "finished"
    for other in jobs:
        queue.stop(other.id)
        queue.forget(other.id)
    assert queue.jobs() == [queue.get(job.id)] and not (queue.folder / ".half-made").exists()


@pytest.mark.parametrize("name", ["", ".", "..", "../..", "runner.json", "00000001-aaaaaaaa"])
def test_what_is_no_job_is_refused(queue, name):
    whole_run(queue.runs / "a")
    fake(queue, "00000002-bbbbbbbb", queue.runs / "a")
    for act in (queue.get, queue.stop, queue.forget, queue.live):
        with pytest.raises(RunError, match="there is no training"):
            act(name)
    assert (queue.runs / "a" / "metrics.json").exists()
    assert sorted(p.name for p in queue.folder.iterdir() if p.is_dir()) == ["00000002-bbbbbbbb"]


def test_a_damaged_configuration_fails_its_job_alone(queue, photos):
    queue.wake, wake = lambda: None, queue.wake
    broken = queue.submit(photos, CONFIG, queue.runs / "a")
    good = queue.submit(photos, CONFIG, queue.runs / "b")
    (queue.folder / broken.id / "config.yaml").write_text("backbone: [")
    queue.wake = wake
    assert until(lambda: over(queue, good.id)).state == "finished"
    failed = queue.get(broken.id)
    assert failed.state == "failed" and "YAML" in failed.problem
    assert not failed.resumable and failed.pid == 0


def test_another_process_with_the_number_of_a_job_is_not_it(queue):
    """Its number may have been given again, to this very process."""
    pid = os.getpid()
    name = fake(queue, "00000001-aaaaaaaa", queue.runs / "a", pid=pid, begun="long ago", started=1)
    assert queue.get(name).state == "lost" and queue.get(name).pid == 0
    queue.stop(name)
    queue.forget(name)
    (queue.folder / "runner.json").write_text(json.dumps({"pid": pid, "begun": "long ago"}))
    assert not queue.has_runner()


@POSIX
def test_a_zombie_is_dead(queue):
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    begun = identity(child.pid)
    name = fake(queue, "00000001-aaaaaaaa", queue.runs / "a", pid=child.pid, begun=begun)
    assert queue.get(name).state == "running" and queue.live(name).memory > 0
    child.stdin.close()
    until(lambda: psutil.Process(child.pid).status() == psutil.STATUS_ZOMBIE)
    assert identity(child.pid) == "" and queue.get(name).state == "lost"
    child.wait()
    assert identity(child.pid) == ""


@LINUX
def test_a_clock_that_jumps_does_no_harm(queue, photos, held, hold, monkeypatch):
    job = held()
    real, begun = time.time, psutil.Process.create_time
    monkeypatch.setattr(time, "time", lambda: real() - 86400)
    # By the clock on the wall every process began at another time now.
    monkeypatch.setattr(psutil.Process, "create_time", lambda self: begun(self) - 86400)
    assert queue.get(job.id).state == "running" and queue.has_runner()
    second = queue.submit(photos, CONFIG, queue.runs / "b")
    monkeypatch.setattr(time, "time", lambda: real() + 86400)
    third = queue.submit(photos, CONFIG, queue.runs / "c")
    assert [j.id for j in queue.jobs()] == [job.id, second.id, third.id]
    assert not third.over
    hold.let_go("a")
    assert until(lambda: over(queue, job.id)).state == "finished"
    until(lambda: queue.get(second.id).state == "running")
    assert queue.get(third.id).state == "queued"


Usage = namedtuple("Usage", "total used free")


def test_a_full_disk_is_told_and_holds_the_queue_until_there_is_room(queue, photos, monkeypatch):
    queue.folder.mkdir(parents=True)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(10**9, 10**9, 1000))
    monkeypatch.setattr(runner, "lower_priority", lambda pid: None)
    job = queue.submit(photos, CONFIG, queue.runs / "a")
    assert job.state == "queued" and not queue.has_runner()
    (told,) = queue.jobs()
    assert told.problem == (
        f"the disk of {str(queue.runs)!r} is full: 1 kB are free, 20 MB are needed; make room, "
        f"then it goes on by itself"
    )
    thread = run_runner(queue)
    until(queue.has_runner)
    assert not queue.log_of(job.id).exists() and queue.get(job.id).state == "queued"
    monkeypatch.undo()
    thread.join(SECONDS)
    assert queue.get(job.id).state == "finished" and queue.get(job.id).problem == ""


@POSIX
def test_what_cannot_be_written_is_told(queue, photos, monkeypatch):
    """The system refuses to write more than nothing into a file."""
    import resource

    queue.wake = lambda: None
    job = queue.submit(photos, CONFIG, queue.runs / "a")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    name = fake(queue, "00000009-aaaaaaaa", queue.runs / "c", pid=0, begun="", started=1)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
    try:
        with pytest.raises(RunError, match=r"^the queue .* cannot be changed: File too large; .*$"):
            queue.submit(photos, CONFIG, queue.runs / "b")
        with pytest.raises(RunError, match="File too large"):
            queue.claim(job.id)
        with pytest.raises(RunError, match="File too large"):
            queue.settle(job.id, 0)
        # What is found out is shown, if it cannot be noted.
        assert [j.state for j in queue.jobs()] == ["queued", "lost"]
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "outcome" not in noted(queue, name)
    assert [j.state for j in queue.jobs()] == ["queued", "lost"]
    assert noted(queue, name)["outcome"] == "lost"
    assert [p.name for p in queue.folder.glob(".*/")] == []  # nothing half made is left


@POSIX
def test_a_lock_that_is_held_by_a_program_that_hangs_is_told(queue, monkeypatch):
    queue.folder.mkdir(parents=True)
    code = (
        "import sys, time; from pathlib import Path; from tlearn.jobs import Queue\n"
        "with Queue(Path(sys.argv[1])).lock():\n"
        "    print('held', flush=True); time.sleep(600)"
    )
    other = subprocess.Popen([sys.executable, "-c", code, str(queue.runs)], stdout=subprocess.PIPE)
    assert other.stdout.readline() == b"held\n"
    name = fake(queue, "00000001-aaaaaaaa", queue.runs / "c", pid=0, begun="", started=1)
    with pytest.raises(RunError, match="is being changed by another program"), queue.lock(0.1):
        pass
    assert queue.get(name).state == "lost"  # to look at it needs no lock
    other.kill()
    other.communicate()
    queue.forget(name)  # who is killed holds it no more


# ---- How it ended


@pytest.mark.parametrize(
    "code, asked, run, said, expected",
    [
        (0, False, "whole", "", ("finished", "")),
        (0, True, "whole", "", ("finished", "")),
        (130, True, "stopped", "", ("stopped", "")),
        (130, False, "stopped", "", ("stopped", "")),
        (130, True, "none", "tlearn: stopped", ("cancelled", "")),
        (130, True, "unfinished", "tlearn: stopped", ("lost", "")),
        (-15, True, "none", "", ("cancelled", "")),
        (1, True, "none", "ImportError: broken off", ("cancelled", "")),
        (2, True, "unfinished", "tlearn: error: no space", ("failed", "no space")),
        (2, False, "none", "tlearn: error: no data", ("failed", "no data")),
        (
            1,
            False,
            "unfinished",
            "ValueError: x\nto continue the training: y",
            ("failed", "ValueError: x"),
        ),
        (-9, False, "unfinished", "probe: 0.9", ("lost", "it was killed by signal 9")),
        (None, False, "whole", "", ("finished", "")),
        (None, True, "whole", "", ("finished", "")),
        (None, True, "stopped", "", ("stopped", "")),
        (None, False, "unfinished", "", ("lost", "")),
        (None, False, "none", "", ("lost", "")),
        (None, True, "none", "", ("cancelled", "")),
        (None, False, "none", "tlearn: error: no data", ("failed", "no data")),
        (None, False, "as before", "", ("lost", "")),
        (None, True, "as before", "", ("stopped", "")),
    ],
)
def test_how_it_ended(tmp_path, code, asked, run, said, expected):
    path, log = tmp_path / "run", tmp_path / "log.jsonl"
    log.write_text("".join(json.dumps({"say": line}) + "\n" for line in said.split("\n") if line))
    if run != "none":
        whole_run(path, run in ("stopped", "as before"))
    if run == "unfinished":
        (path / "UNFINISHED").write_text(MARKED)
    before = ending.stamp(path) if run == "as before" else 0
    assert ending.ending(path, log, before, asked, code) == expected


# ---- A long list


def test_a_list_of_thousands_is_read_once(queue, monkeypatch):
    for number in range(1, 2001):
        fake(queue, f"{number:08d}-aaaaaaaa", queue.runs / "a", outcome="finished", ended=7.0)
    (queue.folder / "00001999-aaaaaaaa" / "state.json").unlink()
    (queue.folder / "00001999-aaaaaaaa" / "stop").touch()
    waits = fake(queue, "00002001-bbbbbbbb", queue.runs / "b")
    first = queue.jobs()
    assert [job.state for job in first[-4:]] == ["finished", "cancelled", "finished", "queued"]
    looked, real = [], queue._read

    def read(name):
        looked.append(name)
        return real(name)

    monkeypatch.setattr(queue, "_read", read)
    start = time.perf_counter()
    again = queue.jobs()
    print(f"2,001 jobs in {1000 * (time.perf_counter() - start):.1f} ms")
    assert again == first and looked == [waits]  # those that have ended are remembered
    Queue(queue.runs).forget("00000007-aaaaaaaa")  # by another program
    assert len(queue.jobs()) == 2000 and "00000007-aaaaaaaa" not in queue._ended


# ---- How far it is


def test_a_log_may_hold_anything(tmp_path):
    log, run = tmp_path / "log.jsonl", tmp_path / "run"
    run.mkdir()
    entry = {"task": "training", "done": 3, "total": 6, "seconds": 1.5, "unit": "steps"}
    lines = [
        json.dumps(entry),
        "plain",
        '{"task": 1, "done": null}',
        "42",
        '{"say": null}',
        json.dumps({"say": "said \u2028 so"}),
        '{"task": "tr',
    ]
    log.write_text("\n".join(lines))
    events = [
        {"event": "planned", "seconds": 9},
        {"event": "epoch", "epoch": 1},
        {"event": "planned", "seconds": None},
        {"event": "epoch", "note": "a\u2028b"},
    ]
    text = "\n".join(json.dumps(event, ensure_ascii=False) for event in events) + '\n[1]\n{"e": "ü'
    (run / "events.jsonl").write_bytes(text.encode()[:-1])
    live = watch(log, run)
    assert (live.task, live.fraction, live.rate, live.left) == ("training", 0.5, 2.0, 1.5)
    assert live.lines == [
        "plain",
        '{"task": 1, "done": null}',
        "42",
        '{"say": null}',
        "said \u2028 so",
        '{"task": "tr',
    ]
    assert len(live.epochs) == 2 and live.planned == 0.0
    empty = watch(tmp_path / "none", tmp_path / "none")
    assert (empty.task, empty.fraction, empty.left, empty.lines) == ("", 0.0, -1.0, [])


def test_of_a_long_log_the_end_is_read(tmp_path):
    log = tmp_path / "log.jsonl"
    log.write_text("".join(json.dumps({"say": f"line {k}"}) + "\n" for k in range(20_000)))
    live = watch(log, tmp_path)
    assert live.lines[-2:] == ["line 19999", ""] or live.lines[-1] == "line 19999"
    assert len(live.lines) < 20_000 and all(line.startswith("line") for line in live.lines[:-1])
    assert last_words(log) == "line 19999"


def test_what_is_done_again_counts_once(tmp_path):
    events = [
        ("epoch", {"epoch": 1}),
        ("epoch", {"epoch": 2}),
        ("stage", {"name": "top"}),
        ("epoch", {"epoch": 3}),
        ("epoch", {"epoch": 4}),
        ("stage", {"name": "all"}),
        ("resumed", {"stage": "all", "epochs": 3}),
        ("epoch", {"epoch": 4}),
    ]
    lines = [json.dumps({"event": kind} | fields) for kind, fields in events]
    (tmp_path / "events.jsonl").write_text("\n".join(lines) + "\n")
    live = watch(tmp_path / "log", tmp_path)
    assert [e["epoch"] for e in live.epochs] == [1, 2, 3, 4] and live.stages == ["top"]


# ---- Predicting


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    place = tmp_path_factory.mktemp("trained")
    return make_run(
        place,
        "--backbone",
        "toy",
        "--weights",
        "none",
        "--stages",
        "none",
        "--engine",
        "tensorflow",
    )[0]


class Counted(Heard):
    done = 0

    def advance(self, n=1, note=""):
        self.done += n


def test_photos_are_predicted_and_unreadable_ones_named(trained, tmp_path):
    photos = draw_photos(tmp_path / "new photos", 1, ("red", "blue"))
    (photos / "red" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    counted = Counted()
    answers = {a.path.name: a for a in predict(trained, photos, 3, counted)}
    assert counted.done == len(answers) == 3
    good, bad = answers["red00.png"], answers["broken.png"]
    assert good.label == good.top[0][0] and good.path.is_file() and not good.problem
    assert {label for label, _ in good.top} == {"blue", "green", "red"}
    assert sum(p for _, p in good.top) == pytest.approx(1, abs=1e-3) and good.probability > 0.3
    assert bad.problem and (bad.label, bad.probability, bad.top) == ("", 0.0, ())


def test_photos_none_of_which_can_be_read_have_their_problems(trained, tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"\xff\xd8\xff and no more")
    (answer,) = predict(trained, tmp_path, 1, Counted())
    assert answer.problem and answer.path == tmp_path / "a.jpg"


def test_what_cannot_predict_says_why(trained, tmp_path):
    photos = draw_photos(tmp_path / "photos", 1)
    damaged = Path(shutil.copytree(trained, tmp_path / "run"))
    (damaged / "model.keras").write_bytes(b"PK and no more")
    for run, folder, words in (
        (damaged, photos, "model.keras"),
        (tmp_path / "none", photos, "there is no run directory"),
        (trained, tmp_path / "nothing", "nothing"),
    ):
        with pytest.raises(RunError, match=words) as caught:
            predict(run, folder, 3, Counted())
        assert "\n" not in str(caught.value) and "Traceback" not in str(caught.value)


@POSIX
def test_a_process_that_is_killed_while_it_predicts_is_told(trained, tmp_path, monkeypatch):
    """As one is that takes too much memory: what it said before is not taken for all."""
    line = json.dumps({"path": str(tmp_path / "a.png"), "top": [["red", 0.9]], "problem": ""})
    script = tmp_path / "python"
    script.write_text(f"#!/bin/sh\necho '{line}'\necho '{line[:9]}'\nkill -9 $$\n")
    script.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(script))
    counted = Counted()
    with pytest.raises(RunError, match=r"^after 1 photos: it ended with code -9, without a word$"):
        predict(trained, tmp_path, 2, counted)
    assert counted.done == 1


def test_cells_of_a_table_are_harmless(tmp_path):
    top = (("=cmd|' /C calc'!A0", 0.5), ("+1", 0.25), ("plain", 0.25))
    answers = [
        Answer(tmp_path / "@SUM(A1).png", top),
        Answer(tmp_path / "b" / "-x.png", (), '=HYPERLINK("x"), "quoted"'),
        Answer(tmp_path / "\uff1dwide.png", (("\tred", 1.0),)),
        Answer(tmp_path / os.fsdecode(b"\xff.png"), (("r\u00f6te", 1.0),)),
    ]
    out = write_csv(answers, tmp_path, tmp_path / "out.csv")
    with out.open(encoding="utf-8-sig", newline="") as file:
        header, *rows = csv.reader(file)
    assert header[:3] == ["photo", "label_1", "probability_1"] and header[-1] == "problem"
    assert {len(row) for row in rows} == {len(header)} == {12}
    assert rows[0][:7] == [
        "'@SUM(A1).png",
        "'=cmd|' /C calc'!A0",
        "0.5",
        "'+1",
        "0.25",
        "plain",
        "0.25",
    ]
    assert rows[1][0] == "b/-x.png" and rows[1][-1] == '\'=HYPERLINK("x"), "quoted"'
    assert rows[2][:2] == ["'\uff1dwide.png", "'\tred"]
    assert rows[3][:2] == ["\\udcff.png", "r\u00f6te"]
    dangerous = tuple("=+-@\t\r\n\uff1d")
    assert not any(cell.startswith(dangerous) for row in rows for cell in row)


# ---- Planning


@pytest.fixture
def planner(tmp_path):
    made = []

    def make():
        made.append(Planner(tmp_path / "runs"))
        return made[-1]

    yield make
    for one in made:
        one.stop()
    kill_all(tmp_path)


def test_costs_are_measured_once_and_kept(planner, photos):
    first = planner()
    assert first.known(photos, "digest", CONFIG) == {} and not first.measuring
    first.ask(photos, "digest", CONFIG, ["toy"])
    assert first.measuring
    first.ask(photos, "digest", CONFIG, ["toy"])  # while it measures: nothing more
    until(lambda: not first.measuring)
    assert first.problem("digest", CONFIG) == ""
    (row,) = first.known(photos, "digest", CONFIG).values()
    assert row["backbone"] == "toy" and row["seconds"] > 0 and row["images_per_second"] > 0
    assert row["parameters"] > 0 and row["bytes"] > 0 and row["problem"] == ""
    again = planner()
    assert again.known(photos, "digest", CONFIG) == {"toy": row}
    again.ask(photos, "digest", CONFIG, ["toy"])
    assert not again.measuring
    assert again.known(photos, "other", CONFIG) == {}  # other photos
    assert again.known(photos, "digest", RunConfig(preset="best")) == {}  # another training
    other = CONFIG.model_copy(update={"backbone": "vgg19", "weights": "imagenet"})
    assert again.known(photos, "digest", other) == {"toy": row}  # the same, with another backbone
    # A line that was broken off costs that line alone.
    (file,) = again.folder.glob("*.jsonl")
    file.write_text('{"backbone": "toy"}\n[]\n' + json.dumps(row)[:20])
    assert again.known(photos, "digest", CONFIG) == {}
    again.ask(photos, "digest", CONFIG, ["toy"])
    until(lambda: not again.measuring)
    assert again.known(photos, "digest", CONFIG)["toy"]["parameters"] == row["parameters"]


def test_measuring_is_stopped_for_a_training(planner, photos):
    one = planner()
    one.stop()  # nothing to stop
    one.ask(photos, "digest", CONFIG, ["toy"])
    process = one._process
    one.stop()
    assert process.poll() is not None and not one.measuring
    assert one.problem("digest", CONFIG) == ""  # that is no failure
    one.ask(photos, "digest", CONFIG, ["toy"])
    until(lambda: not one.measuring)
    assert one.known(photos, "digest", CONFIG)["toy"]["seconds"] > 0


def test_why_nothing_could_be_measured_is_told_once(planner, tmp_path):
    one = planner()
    nowhere = tmp_path / "nowhere"
    one.ask(nowhere, "digest", CONFIG, ["toy"])
    until(lambda: not one.measuring)
    assert "nowhere" in one.problem("digest", CONFIG)
    assert one.problem("other", CONFIG) == ""
    one.ask(nowhere, "digest", CONFIG, ["toy"])
    assert not one.measuring  # it would fail again
    shutil.rmtree(one.folder)
    one.folder.write_text("in the way")
    other = planner()
    other.ask(nowhere, "digest", CONFIG, ["toy"])
    assert not other.measuring and str(one.folder) in other.problem("digest", CONFIG)
