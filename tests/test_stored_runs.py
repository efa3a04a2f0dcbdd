"""Runs in a store: trained, resumed, opened and reported on as on a disk."""

import json
import shutil
import time
import uuid

import fsspec
import pytest
from conftest import TOY, Heard

import tlearn
from tlearn.cli import main
from tlearn.errors import RunError
from tlearn.object_stores import as_path
from tlearn.runs import stored_runs
from tlearn.runs.run_state import state_of
from tlearn.runs.stored_runs import local_run, new_mirror, upload_changes, uploading, url_of


@pytest.fixture
def place(s3):
    return f"{s3()}/runs"


@pytest.fixture
def memory():
    return f"memory://{uuid.uuid4().hex}"


def stored(url):
    files, root = fsspec.url_to_fs(url)
    files.invalidate_cache()
    return {path.removeprefix(f"{root}/"): files.cat(path) for path in files.find(root)}


def local(folder):
    files = (f for f in folder.rglob("*") if f.is_file() and not f.name.startswith("."))
    return {f.relative_to(folder).as_posix(): f.read_bytes() for f in files}


@pytest.fixture
def toy_url(toy_run, memory):
    """The toy run in a store, put there by another program."""
    url = f"{memory}/toy"
    files, root = fsspec.url_to_fs(url)
    for name, content in local(toy_run.run).items():
        files.pipe_file(f"{root}/{name}", content)
    return url


def test_a_training_into_a_store(place, photos, toy_run, monkeypatch, tmp_path, capsys):
    url = f"{place}/toy"
    assert main(["finetune", str(photos), *TOY, "--quiet", "--out", url]) == 0
    assert f"the run is in {url}" in capsys.readouterr().out
    assert stored(url) == local(local_run(url))
    assert stored(url).keys() == local(toy_run.run).keys()
    assert main(["finetune", str(photos), *TOY, "--quiet", "--out", url]) == 2
    assert f"{url!r} exists already" in capsys.readouterr().err
    monkeypatch.setenv("TLEARN_CACHE", str(tmp_path / "another machine"))
    assert main(["predict", url, str(photos / "blue"), "--format", "json"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert {json.loads(line)["label"] for line in lines} == {"blue"}
    assert str(tlearn.Run(url).place) == url
    assert state_of(local_run(url)) == "finished"
    assert main(["report", url]) == 0
    assert stored(url)["report.html"] == (local_run(url) / "report.html").read_bytes()
    assert main(["cache", "clear"]) == 0
    assert not local(tmp_path / "another machine" / "runs")


def test_a_training_goes_on_on_another_machine(memory, photos, monkeypatch, tmp_path, capsys):
    url = f"{memory}/toy"
    monkeypatch.setattr(stored_runs, "SECONDS", 0.01)

    class Stop(tlearn.keras_import.keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            raise OSError("the machine ends")

    toy = {"backbone": "toy", "weights": "none", "seed": 5, "stages": "1:3", "quiet": True}
    with pytest.raises(OSError, match="the machine ends"):
        tlearn.finetune(photos, url, callbacks=[Stop()], **toy)
    assert "checkpoint.npz" in stored(url) and "model.keras" not in stored(url)
    monkeypatch.setenv("TLEARN_CACHE", str(tmp_path / "another machine"))
    run = tlearn.resume(url, quiet=True)
    whole = tlearn.finetune(photos, tmp_path / "whole", **toy)
    assert run.metrics["validation"] == whole.metrics["validation"]
    assert "checkpoint.npz" not in stored(url) and "model.keras" in stored(url)


def test_what_changes_in_the_store_is_downloaded(toy_url, toy_run):
    run = tlearn.Run(toy_url)
    assert local(run.path) == local(toy_run.run)
    assert run.path.name == "toy"
    before = (run.path / "model.keras").stat().st_mtime_ns
    (as_path(toy_url) / "labels.json").write_bytes(b'["x"]')
    (as_path(toy_url) / "history.csv").unlink()
    again = local_run(toy_url)
    assert (again / "labels.json").read_text() == '["x"]'
    assert not (again / "history.csv").exists()
    assert (again / "model.keras").stat().st_mtime_ns == before


def test_what_changes_here_is_uploaded_and_what_goes_goes(toy_url, toy_run):
    path = local_run(toy_url)
    assert url_of(path) == as_path(toy_url) and url_of(toy_run.run) is None
    (path / "note.txt").write_text("a note")
    (path / ".hidden").write_text("of this machine")
    (path / "history.csv").unlink()
    upload_changes(path)
    assert stored(toy_url).keys() == {*local(toy_run.run), "note.txt"} - {"history.csv"}
    assert local(local_run(toy_url)) == stored(toy_url)


def test_what_cannot_be_uploaded_meanwhile_is_tried_again(memory, monkeypatch):
    path, heard = new_mirror(as_path(f"{memory}/run")), Heard()
    path.mkdir()
    (path / "run.yaml").write_text("{}")
    monkeypatch.setattr(stored_runs, "SECONDS", 0.01)
    put_file = type(fsspec.filesystem("memory")).put_file

    def refuse(*args, **options):
        raise PermissionError("Access Denied")

    with uploading(path, heard.say):
        monkeypatch.setattr(type(fsspec.filesystem("memory")), "put_file", refuse)
        (path / "a.txt").write_text("a")
        for _ in range(1000):
            if heard.lines:
                break
            time.sleep(0.01)
        monkeypatch.setattr(type(fsspec.filesystem("memory")), "put_file", put_file)
    assert stored(f"{memory}/run") == {"run.yaml": b"{}", "a.txt": b"a"}
    assert len(heard.lines) == 1 and "no permission (Access Denied)" in heard.lines[0]


def test_wrong_places_are_refused_and_nothing_is_left(memory, photos, monkeypatch, capsys, cache):
    def refused(*words):
        assert main([*words, "--quiet"]) == 2
        error = capsys.readouterr().err.strip()
        assert "\n" not in error
        return error

    assert "is no run directory" in refused("predict", f"{memory}/none", str(photos))
    assert "is no run directory" in refused("finetune", "--resume", f"{memory}/none")
    missing = ["finetune", str(photos), *TOY, "--out", "nothing://x/y"]
    assert "'nothing://x/y' cannot be opened" in refused(*missing)

    def refuse(*args, **options):
        raise PermissionError("Access Denied")

    monkeypatch.setattr(type(fsspec.filesystem("memory")), "put_file", refuse)
    url = f"{memory}/run"
    error = refused("finetune", str(photos), *TOY, "--out", url)
    assert "no permission (Access Denied)" in error and url in error
    assert not stored(url)
    monkeypatch.undo()
    monkeypatch.setenv("TLEARN_CACHE", str(cache))
    error = refused("finetune", str(photos / "blue"), *TOY, "--out", url)
    assert "class" in error
    assert not stored(url)


def test_mirrors_that_are_not_uploaded_stay(toy_url, cache):
    path = local_run(toy_url)
    (path / "note.txt").write_text("a note")
    assert stored_runs.remove_mirrors() == 0
    upload_changes(path)
    assert stored_runs.remove_mirrors() > 0
    assert not list((cache / "runs").iterdir())
    shutil.rmtree(cache)
    with pytest.raises(RunError, match="is no run directory"):
        local_run(toy_url + "/figures")


def test_what_a_killed_process_did_not_upload_stays(memory, monkeypatch):
    url = as_path(f"{memory}/run")
    path = new_mirror(url)
    path.mkdir()
    for name in ("run.yaml", "checkpoint.npz", "events.jsonl"):
        (path / name).write_text("1")
    upload_changes(path)
    upload = type(url).upload

    def killed(self, source):
        if self.name == "run.yaml":
            raise KeyboardInterrupt
        return upload(self, source)

    for name in ("run.yaml", "checkpoint.npz"):
        (path / name).write_text("epoch 2")
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(type(url), "upload", killed)
        upload_changes(path)
    (path / "checkpoint.npz").write_text("epoch 3")
    assert (local_run(url) / "checkpoint.npz").read_text() == "epoch 3"
    upload_changes(path)
    assert stored(str(url))["checkpoint.npz"] == b"epoch 3"


def test_one_machine_trains_a_run(memory, monkeypatch):
    url, heard = as_path(f"{memory}/run"), Heard()
    path = new_mirror(url)
    path.mkdir()
    (path / "run.yaml").write_text("{}")
    now = time.time()
    with uploading(path, heard.say):
        (path / "a.txt").write_text("a")
        (path / ".writing").mkdir()
        (path / ".writing" / "b.txt").write_text("of this machine")
        other = uploading(path, heard.say)
        with monkeypatch.context() as patch:
            patch.setattr(stored_runs.socket, "gethostname", lambda: "other")
            with pytest.raises(RunError, match=r"another machine, '.+', trains the run"), other:
                pytest.fail("two train it")
            patch.setattr(stored_runs.time, "time", lambda: now + 1000)
            with uploading(path, heard.say):  # the first one is gone
                pass
    assert stored(str(url)) == {"run.yaml": b"{}", "a.txt": b"a"}


def test_errors_name_the_url_of_a_run(toy_url, photos, capsys):
    (local_run(toy_url) / "model.keras").write_bytes(b"damaged")
    assert main(["predict", toy_url, str(photos)]) == 2
    assert f"the model '{toy_url}/model.keras' cannot be loaded" in capsys.readouterr().err
