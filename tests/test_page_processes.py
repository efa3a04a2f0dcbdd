"""The processes of the page's server that predict."""

import csv
import io
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from conftest import Counted, draw_photos
from serving import until

from tlearn.errors import RunError
from tlearn.runs.predictions import Prediction
from tlearn.web.prediction_process import predict, predictions_csv

POSIX = pytest.mark.skipif(os.name != "posix", reason="Windows has no signals")


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
    line = Prediction(tmp_path / "a.png", (("red", 0.9),)).to_json()
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
    assert {len(row) for row in rows} == {len(header)} == {14}
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


CHILD = """
import sys
from tlearn.web.child import start_child
process = start_child("predict", *sys.argv[1:3], stdout=-3, stderr=-3)
"""
LIVE = """
import sys, threading, time
from pathlib import Path
from tlearn.web.live_process import LiveClassifier
live = LiveClassifier(Path(sys.argv[1]))
threading.Thread(target=live.answer, args=(b"no picture",), daemon=True).start()
while not live._process:
    time.sleep(0.01)
process = live._process
"""
WAIT = "print(process.pid, flush=True); import time; time.sleep(600)"


@POSIX
@pytest.mark.parametrize("code", [CHILD, LIVE], ids=["child", "live"])
def test_what_predicts_ends_with_the_server(toy_run, photos, code):
    command = [sys.executable, "-c", code + WAIT, str(toy_run.run), str(photos)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as server:
        child = psutil.Process(int(server.stdout.readline()))
        os.kill(server.pid, signal.SIGKILL)
    until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE)
