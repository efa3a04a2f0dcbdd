"""The file that a training is continued from: when it is written, and what if it is damaged."""

import zipfile

import numpy as np

from tlearn.training import state
from tlearn.training.costs import Costs
from tlearn.training.state import (
    Checkpoint,
    StageResult,
    TrainingPlan,
    TrainingState,
    load,
    save,
)


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)


def age(path):
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    old = members["content.npy"].replace(
        f'"format": {state.FORMAT}'.encode("utf-32-le"), '"format": 3'.encode("utf-32-le")
    )
    assert old != members["content.npy"]
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in (members | {"content.npy": old}).items():
            archive.writestr(name, content)


def test_a_damaged_checkpoint_is_said_to_be(tmp_path):
    path, costs = tmp_path / "checkpoint.npz", Costs(True, 1.0, 2)
    decided = TrainingPlan((), 2, ("top",), StageResult("probe", "head"), {}, costs)
    saved = TrainingState(decided, arrays={"network": [np.arange(3.0)], "seeds": []})
    save(path, saved)
    assert load(path).plan == decided
    whole = path.read_bytes()
    for damage, reason in (
        (flip, ""),
        (age, f"it is of format 3, not {state.FORMAT}"),
        (lambda path: path.write_bytes(b"cut off"), ""),
    ):
        path.write_bytes(whole)
        damage(path)
        said = []
        assert Checkpoint(path, said.append).read() is None
        (line,) = said
        assert f"is damaged ({reason}" in line and line.endswith("): restarting from the probe")


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
