"""Live pictures of a camera: the process that answers them, and the route that they come by."""

import io
import json
import shutil

import numpy as np
import pytest
from conftest import COLOURS, picture
from serving import ask, until
from starlette.applications import Starlette
from starlette.routing import Route

import tlearn
from tlearn.errors import RunError
from tlearn.web import live, live_process
from tlearn.web.live import LIVE, live_url, receive_picture
from tlearn.web.live_process import LiveClassifier, live_classifier

APP = Starlette(routes=[Route(LIVE, receive_picture, methods=["POST"])])


def frame(label, seed=0):
    """Return a picture as a camera sends it."""
    out = io.BytesIO()
    picture(COLOURS[label], np.random.default_rng(seed)).save(out, "JPEG", quality=95)
    return out.getvalue()


@pytest.fixture
def classifier(toy_run, monkeypatch):
    monkeypatch.setenv("TLEARN_CACHE", str(toy_run.cache))
    made = []

    def make(run=toy_run.run, **options):
        made.append(LiveClassifier(run, **options))
        return made[-1]

    yield make
    for one in made:
        one.close()


def test_pictures_are_answered_as_files_are_and_by_one_process(classifier, toy_run, tmp_path):
    one = classifier()
    one.start()
    begun = one._process
    one.start()
    assert one._process is begun and begun.poll() is None
    answers = {label: one.answer(frame(label)) for label in COLOURS}
    process = one._process
    for label, answer in answers.items():
        file = tmp_path / f"{label}.jpg"
        file.write_bytes(frame(label))
        (expected,) = tlearn.Run(toy_run.run).predict(file, top=live_process.TOP)
        assert answer["label"] == expected.label and len(answer["top"]) == len(COLOURS)
        assert answer["probability"] == pytest.approx(expected.probability, abs=1e-3)
    assert one.answer(b"no picture")["problem"] and one._process is process
    process.kill()  # as one that takes too much memory
    assert one.answer(frame("red"))["label"] == answers["red"]["label"]
    assert one._process is not process


def test_one_that_nobody_asks_ends_and_begins_again(classifier, tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    one = classifier(idle=0.5)
    first = one.answer(frame("red"))
    process = one._process
    until(lambda: process.poll() is not None)
    assert not [*tmp_path.rglob("*.jpg")]  # nobody else sees the last picture
    assert one.answer(frame("red"))["top"] == first["top"]


def test_a_run_that_cannot_be_used_says_why(classifier, toy_run, tmp_path):
    damaged = shutil.copytree(toy_run.run, tmp_path / "damaged")
    (damaged / "model.keras").write_bytes(b"PK and no more")
    with pytest.raises(RunError, match=r"model\.keras"):
        classifier(damaged).answer(frame("red"))


def test_few_stay_in_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(live_process, "_classifiers", {})
    ended = []
    monkeypatch.setattr(LiveClassifier, "close", lambda self: ended.append(self))
    runs = [tmp_path / name for name in "abc"]
    for run in runs:
        run.mkdir()
        (run / "model.keras").write_text("a model")
    first, second = live_classifier(runs[0]), live_classifier(runs[1])
    assert live_classifier(runs[0]) is first and not ended
    live_classifier(runs[2])
    assert ended == [second] and live_classifier(runs[0]) is first
    with pytest.raises(RunError, match="has no model"):
        live_classifier(tmp_path)


def test_the_route_answers_keeps_and_refuses(here, monkeypatch):
    run = here.runs / "a b"
    run.mkdir(parents=True)
    asked = []

    class Stub:
        def answer(self, picture):
            asked.append(picture)
            return {"top": [["red", 0.9]], "path": "/secret"}

    monkeypatch.setattr(live, "live_classifier", lambda run: Stub())
    answer = ask(APP, "/tlearn/live/a b", "POST", parts=[b"one ", b"picture"])
    assert json.loads(answer.body) == {"top": [["red", 0.9]], "path": ""}
    assert asked == [b"one picture"] and live_url("a b") == "/tlearn/live/a%20b"
    kept = ask(APP, "/tlearn/live/a b", "POST", parts=[b"kept"], query_string=b"keep=1")
    folder = here.scratch / json.loads(kept.body)["folder"]
    assert (folder / "camera.jpg").read_bytes() == b"kept" and len(asked) == 1
    monkeypatch.setattr(live, "LARGEST", 3)
    chinese = {"accept-language": "zh-CN"}
    for path, headers, words in (
        ("/tlearn/live/a b", {}, "is larger than"),
        ("/tlearn/live/none", {}, "there is no run 'none'"),
        ("/tlearn/live/none", chinese, "没有"),
    ):
        refused = ask(APP, path, "POST", headers, parts=[b"four"])
        assert refused.status == 400 and words in json.loads(refused.body)["error"], words
