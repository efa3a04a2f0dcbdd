"""A run directory: who makes it and trains it, the state it is in, how far its training is."""

import json
import threading
import time

import pytest
from conftest import Heard

from tlearn.config import RunConfig
from tlearn.errors import RunError
from tlearn.runs.directory import RunDirectory
from tlearn.runs.progress_log import (
    LAST_SECONDS,
    UNPLANNED,
    LoggedProgress,
    StoppableProgress,
    read_progress,
)
from tlearn.runs.run_state import EVENTS, LOCK, STOP, state_of


def test_many_that_ask_at_once_get_a_place_each(tmp_path):
    together, made = threading.Barrier(8), []

    def make():
        together.wait()
        made.append(RunDirectory.create(tmp_path / "a" / "run", RunConfig(), tmp_path, True).path)

    threads = [threading.Thread(target=make) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    names = {"run", *(f"run-{k}" for k in range(2, 9))}
    assert {path.name for path in made} == names == {p.name for p in (tmp_path / "a").iterdir()}


def test_of_many_that_train_a_run_at_once_one_does(tmp_path):
    run = RunDirectory.create(tmp_path / "run", RunConfig(), tmp_path)
    together, outcomes, over = threading.Barrier(4), [], threading.Event()

    def take():
        together.wait()
        try:
            with run.training():
                outcomes.append(state_of(run.path))
                over.wait(60)
        except RunError as error:
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


def test_files_are_written_whole_or_not_at_all(tmp_path):
    run = RunDirectory(tmp_path)
    run.write("a.txt", "first")
    with pytest.raises(RuntimeError), run.replacing("a.txt") as path:
        path.write_text("half")
        raise RuntimeError
    assert (run / "a.txt").read_text() == "first"
    assert {p.name for p in run.path.iterdir()} == {"a.txt"}


def test_a_log_that_cannot_be_written_is_no_reason_to_stop(tmp_path):
    (tmp_path / "events.jsonl").symlink_to("/dev/full")
    RunDirectory(tmp_path).event("epoch", loss=1.0)


STATES = [  # events, whether the metrics say stopped (None: there are none), the state
    ((), None, "interrupted"),
    (("queued",), None, "queued"),
    (("queued", "started"), None, "interrupted"),
    (("queued", "started", "scanned", "epoch"), None, "interrupted"),
    (("started", "failed"), None, "failed"),
    (("started", "stopped"), None, "stopped"),
    (("started", "stopped"), True, "stopped"),
    (("started", "finished"), False, "finished"),
    (("started", "finished"), None, "interrupted"),  # a file was lost
    (("started",), False, "finished"),  # the disk was full, or it was killed thereafter
    ((), True, "stopped"),
    (("started", "stopped", "queued"), True, "queued"),
    (("started", "stopped", "started"), True, "interrupted"),
    (("started", "stopped", "started", "failed"), True, "failed"),
]


def test_the_state_follows_from_events_and_metrics(tmp_path):
    for number, (events, stopped, state) in enumerate(STATES):
        run = RunDirectory.create(tmp_path / str(number), RunConfig(), tmp_path)
        for event in events:
            run.event(event)
        if stopped is not None:
            run.write_json("metrics.json", {"stopped": stopped})
        assert state_of(run.path) == state, (events, stopped)
        (run / LOCK).touch()  # held by nobody
        assert state_of(run.path) == state, (events, stopped)


def test_who_holds_the_lock_trains_and_how_it_ended_is_noted(tmp_path):
    run = RunDirectory.create(tmp_path / "run", RunConfig(), tmp_path)
    for error, state in ((RunError("no more"), "failed"), (KeyboardInterrupt(), "stopped")):
        error.add_note("put it back")
        with pytest.raises(type(error)), run.training():
            assert state_of(run.path) == "running"
            raise error
        assert state_of(run.path) == state
    failed = [json.loads(line) for line in (run / EVENTS).read_text().splitlines()][1]
    assert (failed["error"], failed["hint"]) == ("no more", "put it back")
    (run / EVENTS).write_text('{"event": "fin\n[1]\n\x00\n')
    assert state_of(run.path) == "interrupted"


# ---- How far a training is


def test_progress_is_written_and_read_and_stops_on_request(tmp_path):
    (tmp_path / "progress.jsonl").write_text('{"say": "of an earlier training"}\n')
    RunDirectory(tmp_path).event("step", step="training")
    logged = LoggedProgress(tmp_path, Heard())
    progress = StoppableProgress(logged, tmp_path / STOP)
    progress.say("beginning \u2028 now")
    with progress.task("training", 6, "steps") as task:
        task.advance(3, "validation 0.5")
    at = read_progress(tmp_path)
    assert (at.task, at.done, at.total, at.step) == ("training", 3, 6, "training")
    assert at.fraction == 2.5 / 4
    assert at.lines == ["beginning \u2028 now"]
    (tmp_path / STOP).touch()
    with pytest.raises(KeyboardInterrupt), progress.task("training", 6, "steps"):
        pass
    with pytest.raises(KeyboardInterrupt):
        task.advance()
    with logged.task("saving", 1, "files") as task:
        task.advance()  # what is saved is not broken off


def test_the_steps_of_a_training_follow_each_other(tmp_path):
    moments = [
        {"event": "started", "time": 1},
        {"task": "reading images", "start": 1, "done": 4, "total": 4},
        {"event": "step", "step": "computing", "time": 2},
        {"task": "computing activations", "start": 2, "done": 2, "total": 4},
        {"event": "planned", "seconds": 9, "epochs": 2},
        {"event": "step", "step": "training", "time": 3},
        {"event": "probe", "accuracy": 0.5, "best": 0.5},
        {"event": "epoch", "val_accuracy": 0.75, "best": 0.5},
        {"task": "computing activations", "start": 4, "done": 0, "total": 4},  # streamed
        {"event": "epoch", "val_accuracy": 0.6, "best": 0.6},
        {"event": "step", "step": "measuring", "time": 5},
        {"task": "evaluating", "start": 6, "done": 2, "total": 4},
    ]
    seen = []
    for moment in moments:
        with (tmp_path / (EVENTS if "event" in moment else "progress.jsonl")).open("a") as file:
            file.write(json.dumps(moment) + "\n")
        seen.append(read_progress(tmp_path))
    steps = {at.step: at.step_number for at in seen}
    assert steps == {"reading": 1, "computing": 2, "training": 3, "measuring": 4}
    assert [at.step for at in seen[3:10]] == ["computing"] * 2 + ["training"] * 5
    assert [at.best for at in seen[5:10]] == [None, 0.5, 0.5, 0.5, 0.6]
    fractions = [4 * at.fraction for at in seen]
    assert fractions == [0, 1, 1, 1.5, 1.5, 2, 2, 2.5, 2.5, 3, 3, 3.5]
    with (tmp_path / EVENTS).open("a") as file:  # resumed, it computes before it trains
        file.write('{"event": "started", "time": 8}\n{"event": "resumed", "epochs": 1}\n')
        file.write('{"event": "step", "step": "computing", "time": 9}\n')
    at = read_progress(tmp_path)
    assert (at.step, at.task, len(at.epochs)) == ("computing", "", 1)


def test_how_long_it_still_takes_follows_from_the_plan_and_then_from_the_epochs(tmp_path):
    def after(now, *events):
        with (tmp_path / EVENTS).open("a") as file:
            file.writelines(json.dumps(event) + "\n" for event in events)
        at = read_progress(tmp_path)
        return at.seconds_remaining(now), at.part_done(now)

    left, part = after(102, {"event": "started", "time": 100})
    assert left is None and part == 0
    computing = {"event": "step", "step": "computing", "time": 103}
    assert after(104, computing)[1] == pytest.approx(UNPLANNED / 4)
    left, part = after(110, {"event": "planned", "seconds": 50, "epochs": 10})
    assert (left, part) == (40, pytest.approx(10 / 50))
    assert after(149)[1] == 0.5  # at most, before the first epoch
    assert after(900) == (None, pytest.approx(1 / 4))  # it was planned too short
    epochs = [{"event": "epoch", "time": 120 + 10 * k} for k in range(3)]
    left, _ = after(145, {"event": "step", "step": "training", "time": 115}, *epochs)
    assert left == 7 * 10 - 5 + LAST_SECONDS
    resumed = [{"event": "started", "time": 500}, {"event": "resumed", "epochs": 2}]
    assert after(505, *resumed, {"event": "planned", "seconds": 80, "epochs": 8})[0] == 75
    training = {"event": "step", "step": "training", "time": 506}
    assert after(510, training, {"event": "epoch", "time": 510})[0] == 7 * 4 + LAST_SECONDS
    left, _ = after(530, {"event": "epoch", "time": 530})
    assert left == 6 * 20 + LAST_SECONDS  # of its own epochs alone
    assert after(560, {"event": "step", "step": "measuring", "time": 559})[0] == 20
    assert after(900) == (None, pytest.approx(3 / 4))


def test_files_of_progress_may_hold_anything(tmp_path):
    lines = ['{"task": 1, "done": null, "total": "x"}', "42", "plain", '{"task": "tr']
    (tmp_path / "progress.jsonl").write_text("\n".join(lines))
    events = [
        {"event": "planned", "seconds": 9},
        {"event": "probe", "accuracy": 0.5},
        {"event": "epoch", "epoch": 1},
        {"event": "planned", "seconds": None},
        {"event": "step", "step": ["no"]},
        {"event": "step", "step": "training"},
        {"event": "epoch", "note": "a\u2028b"},
        {"event": "epoch"},
        {"event": "resumed", "epochs": 2},
    ]
    text = "\n".join(json.dumps(event, ensure_ascii=False) for event in events) + '\n[1]\n{"e": "ü'
    (tmp_path / EVENTS).write_bytes(text.encode()[:-1])
    at = read_progress(tmp_path)
    assert (at.task, at.done, at.fraction, at.lines) == ("1", 0, 3 / 4, [])
    assert len(at.epochs) == 2 and at.planned == 0.0  # what is done again counts once
    assert at.probe == {"event": "probe", "accuracy": 0.5}
    empty = read_progress(tmp_path / "nothing")
    assert empty.probe is None
    assert (empty.task, empty.fraction, empty.lines, empty.epochs) == ("", 0.0, [], [])
