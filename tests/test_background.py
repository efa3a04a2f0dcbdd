"""Work in the background, small pictures, and charts: what the pages are made of."""

import io
import json
import subprocess
import sys
import threading

import numpy as np
import pytest
from PIL import Image

from tlearn.data.thumbnails import thumbnail, thumbnail_row, thumbnail_url
from tlearn.errors import DataError
from tlearn.runs.progress_log import read_progress
from tlearn.web import background, child


def done(found):
    assert found.over.wait(30)
    return found


def test_work_counts_and_gives_what_it_found():
    def do(progress):
        progress.say("beginning")
        with progress.task("reading", 4, "files") as task:
            task.advance(3)
        return 42

    found = done(background.start(do))
    assert (found.result, found.problem, found.done, found.total) == (42, "", 3, 4)
    assert found.fraction == 0.75


def test_a_task_that_is_replaced_ends_at_its_next_unit():
    begun, replaced, steps = threading.Event(), threading.Event(), []

    def do(progress):
        with progress.task("reading", 2, "files") as task:
            task.advance()
            begun.set()
            replaced.wait(30)
            task.advance()
            steps.append("goes on")

    first = background.start(do)
    begun.wait(30)
    first.replaced = True
    replaced.set()
    assert (done(first).problem, first.result, steps) == ("", None, [])


def test_the_entries_that_were_set_last_stay():
    dropped = []
    recent = background.Recent[str, int](2, dropped.append)
    for key, value in (("a", 1), ("b", 2), ("a", 1), ("c", 3), ("c", 4)):
        recent[key] = value
    assert (recent, dropped) == ({"a": 1, "c": 4}, [2])


@pytest.mark.parametrize(
    ("error", "said"),
    [(DataError("no photos"), "no photos"), (OSError(28, "No space left"), "No space left")],
)
def test_what_a_user_can_mend_is_told(error, said):
    def do(progress):
        raise error

    assert said in done(background.start(do)).problem


def test_a_defect_is_told_as_one_and_logged(caplog):
    found = done(background.start(lambda progress: 1 / 0))
    assert found.problem.startswith("ZeroDivisionError") and "background" in caplog.text


def test_a_thumbnail_is_a_small_square_and_follows_the_file(tmp_path):
    path = tmp_path / "a.png"
    Image.new("RGB", (400, 100), (250, 0, 0)).save(path)
    with Image.open(io.BytesIO(thumbnail(path, 64))) as small:
        assert small.size == (64, 64) and np.asarray(small)[32, 32, 0] > 200
    assert thumbnail_url(path).startswith("data:image/jpeg;base64,")
    Image.new("RGB", (100, 400), (0, 0, 250)).save(path)
    with Image.open(io.BytesIO(thumbnail(path, 64))) as small:
        assert np.asarray(small)[32, 32, 2] > 200
    (tmp_path / "bad.jpg").write_bytes(b"no")
    for name in ("bad.jpg", "gone.jpg"):
        assert thumbnail(tmp_path / name) is None and thumbnail_url(tmp_path / name) == ""


def test_a_row_of_thumbnails_leaves_a_gap_for_what_cannot_be_read(tmp_path):
    Image.new("RGB", (50, 50), (250, 0, 0)).save(tmp_path / "a.png")
    (tmp_path / "bad.jpg").write_bytes(b"no")
    row = thumbnail_row([tmp_path / "a.png", tmp_path / "bad.jpg"], pixels=20, gap=4)
    with Image.open(io.BytesIO(row)) as image:
        assert image.size == (44, 20)
        alpha = np.asarray(image)[..., 3]
    assert alpha[:, :20].min() > 250 and alpha[:, 24:].max() == 0


def test_epochs_that_are_done_again_after_a_resume_count_once(tmp_path):
    events = [("epoch", 1), ("epoch", 2), ("resumed", 1), ("epoch", 2), ("epoch", 3)]
    lines = [json.dumps({"event": kind, "epoch": n, "epochs": n}) for kind, n in events]
    (tmp_path / "events.jsonl").write_text("\n".join(lines))
    assert [event["epoch"] for event in read_progress(tmp_path).epochs] == [1, 2, 3]


COMMAND = """
import json, sys
assert sys.argv[1:] == ["export", "a run", "--progress", "json"]
say = lambda **fields: print(json.dumps(fields), file=sys.stderr, flush=True)
print("not an object", file=sys.stderr)
for done in (0, 3, 4):
    say(task="comparing", total=4, unit="images", done=done)
print("written")
if {code}:
    say(error="the disk is full", hint="make room")
sys.exit({code})
"""


@pytest.mark.parametrize("code", [0, 2])
def test_a_command_shows_its_progress_and_its_error(monkeypatch, code):
    def start_child(*arguments, **files):
        command = [sys.executable, "-c", COMMAND.format(code=code), *arguments]
        return subprocess.Popen(command, stdin=subprocess.PIPE, **files)

    monkeypatch.setattr(child, "start_child", start_child)
    found = done(background.start(lambda progress: child.run_command(progress, "export", "a run")))
    assert (found.done, found.total, found.unit) == (4, 4, "images")
    assert found.problem == ("the disk is full; make room" if code else "")
    assert found.result == (None if code else b"written\n")
