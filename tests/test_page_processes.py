"""The processes of the page's server: what predicts, and what measures."""

import csv
import io
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from conftest import Heard, draw_photos
from serving import until

from tlearn.config import RunConfig
from tlearn.errors import RunError
from tlearn.runs.predictions import Prediction
from tlearn.web.planner import Planner
from tlearn.web.prediction_process import predict, predictions_csv

CONFIG = RunConfig(
    backbone="toy", weights="none", engine="tensorflow", stages=[{"unfreeze": 1, "epochs": 2}]
)
POSIX = pytest.mark.skipif(os.name != "posix", reason="Windows has no signals")


class Counted(Heard):
    done = 0

    def advance(self, n=1, note=""):
        self.done += n


def test_photos_are_predicted_and_unreadable_ones_named(toy_run, tmp_path, monkeypatch):
    monkeypatch.setenv("TLEARN_CACHE", str(toy_run.cache))
    photos = draw_photos(tmp_path / "new photos", 1, ("red", "blue"))
    (photos / "red" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    counted = Counted()
    answers = {a.path.name: a for a in predict(toy_run.run, photos, 3, counted)}
    assert counted.done == len(answers) == 3
    good, bad = answers["red00.png"], answers["broken.png"]
    assert good.label == good.top[0][0] and good.path.is_file() and not good.problem
    assert {label for label, _ in good.top} == {"blue", "green", "red"}
    assert sum(p for _, p in good.top) == pytest.approx(1, abs=1e-3) and good.probability > 0.3
    assert bad.problem and (bad.label, bad.probability, bad.top) == ("", 0.0, ())
    for path in (photos / "blue" / "blue00.png", photos / "red" / "red00.png"):
        path.unlink()
    (alone,) = predict(toy_run.run, photos, 1, Counted())
    assert alone == bad


def test_what_cannot_predict_says_why(toy_run, tmp_path):
    photos = draw_photos(tmp_path / "photos", 1)
    damaged = Path(shutil.copytree(toy_run.run, tmp_path / "run"))
    (damaged / "model.keras").write_bytes(b"PK and no more")
    for run, folder, words in (
        (damaged, photos, "model.keras"),
        (tmp_path / "none", photos, "there is no run directory"),
        (toy_run.run, tmp_path / "nothing", "nothing"),
    ):
        with pytest.raises(RunError, match=words) as caught:
            predict(run, folder, 3, Counted())
        assert "\n" not in str(caught.value) and "Traceback" not in str(caught.value)


@POSIX
def test_a_process_that_is_killed_while_it_predicts_is_told(toy_run, tmp_path, monkeypatch):
    """As one is that takes too much memory: what it said before is not taken for all."""
    line = json.dumps({"path": str(tmp_path / "a.png"), "top": [["red", 0.9]], "problem": ""})
    script = tmp_path / "python"
    script.write_text(f"#!/bin/sh\necho '{line}'\necho '{line[:9]}'\nkill -9 $$\n")
    script.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(script))
    counted = Counted()
    with pytest.raises(
        RunError, match=r"^after 1 photos: the process ended with code -9 and no message$"
    ):
        predict(toy_run.run, tmp_path, 2, counted)
    assert counted.done == 1


def answer(path, *top, problem=""):
    return Prediction(path, top, problem)


def test_cells_of_a_table_are_harmless(tmp_path):
    top = (("=cmd|' /C calc'!A0", 0.5), ("+1", 0.25), ("plain", 0.25))
    answers = [
        answer(tmp_path / "@SUM(A1).png", *top),
        answer(tmp_path / "b" / "-x.png", problem='=HYPERLINK("x"), "quoted"'),
        answer(tmp_path / "\uff1dwide.png", ("\tred", 1.0)),
        answer(tmp_path / os.fsdecode(b"\xff.png"), ("r\u00f6te", 1.0)),
    ]
    text = predictions_csv(answers, tmp_path).decode("utf-8-sig")
    header, *rows = csv.reader(io.StringIO(text, newline=""))
    assert header[:3] == ["path", "label_1", "probability_1"] and header[-1] == "problem"
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


def test_costs_are_measured_once_and_kept(planner, photos):
    first = planner()
    first.stop()  # nothing to stop
    assert first.known("digest", CONFIG) == {} and not first.measuring
    first.ask(photos, "digest", CONFIG, ["toy"])
    process = first._process
    first.stop()  # for a training
    assert process.poll() is not None and not first.measuring
    assert first.problem("digest", CONFIG) == ""  # that is no failure
    first.ask(photos, "digest", CONFIG, ["toy"])
    assert first.measuring
    first.ask(photos, "digest", CONFIG, ["toy"])  # while it measures: nothing more
    until(lambda: not first.measuring)
    assert first.problem("digest", CONFIG) == ""
    (row,) = first.known("digest", CONFIG).values()
    assert row["backbone"] == "toy" and row["seconds"] > 0 and row["images_per_second"] > 0
    assert row["parameters"] > 0 and row["bytes"] > 0 and row["problem"] == ""
    again = planner()
    assert again.known("digest", CONFIG) == {"toy": row}
    (file,) = again.folder.glob("*.jsonl")
    for sure in (True, False):  # what a busy machine made unsure is measured again
        file.write_text(json.dumps(row | {"sure": sure}))
        again.ask(photos, "digest", CONFIG, ["toy"])
        assert again.measuring is not sure
    again.stop()
    file.write_text(json.dumps(row))
    assert again.known("other", CONFIG) == {}  # other photos
    assert again.known("digest", RunConfig(preset="best")) == {}  # another training
    other = CONFIG.model_copy(update={"backbone": "vgg19", "weights": "imagenet"})
    assert again.known("digest", other) == {"toy": row}  # the same, with another backbone
    # A line that was broken off costs that line alone.
    file.write_text('{"backbone": "toy"}\n[]\n' + json.dumps(row)[:20])
    assert again.known("digest", CONFIG) == {}
    with file.open("a") as lines:
        lines.write("\n" + json.dumps(row))
    assert again.known("digest", CONFIG) == {"toy": row}


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


@POSIX
def test_what_measures_ends_with_the_server(tmp_path, photos):
    code = (
        "import sys, time; from pathlib import Path; from tlearn.config import RunConfig\n"
        "from tlearn.web.planner import Planner\n"
        "planner = Planner(Path(sys.argv[1]))\n"
        "config = RunConfig(backbone='toy', weights='none')\n"
        "planner.ask(Path(sys.argv[2]), 'digest', config, ['toy'])\n"
        "print(planner._process.pid, flush=True); time.sleep(600)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "runs"), str(photos)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as server:
        child = psutil.Process(int(server.stdout.readline()))
        os.kill(server.pid, signal.SIGKILL)
    until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE)
