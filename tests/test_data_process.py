"""The process in which the page has data sets read."""

import os
import time
from pathlib import Path

import psutil
import pytest
from conftest import TESTS, Counted, draw_photos
from serving import until

from tlearn.data import editing
from tlearn.data.editing import exclude, move, rename
from tlearn.data.edits import undo_edits
from tlearn.data.scan import scan
from tlearn.errors import DataError
from tlearn.priority import AWAITED
from tlearn.web import background, data_process, data_work
from tlearn.web.data_work import change, look

POSIX = pytest.mark.skipif(os.name != "posix", reason="Windows has no signals")


def slow(progress, count, ready):
    """Work of a test in the process for data, which ends when it is not wanted any more."""
    with progress.task("counting", count, "files") as task:
        for _ in range(count):
            Path(ready).touch()
            time.sleep(0.02)
            task.advance()
    return os.getpid()


def stopped(path):
    path.unlink(missing_ok=True)
    time.sleep(0.3)
    return not path.exists()


def crash(progress):
    os.abort()


@pytest.fixture
def client(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", f"{TESTS}{os.pathsep}{os.environ['PYTHONPATH']}")
    monkeypatch.setattr(data_process, "_CLIENT", client := data_process._Client())
    yield client
    client.close()


def test_data_are_read_in_a_process_of_their_own(tmp_path, client):
    folder = draw_photos(tmp_path / "colours")
    progress = Counted()
    token, manifest = data_process.run(progress, look, folder, "")
    assert manifest == scan(folder) and progress.done == 36
    assert data_process.run(progress, look, folder, token) == (token, None)
    (folder / "red" / "red00.png").unlink()
    changed, change = data_process.run(progress, look, folder, token)
    after = change.apply(manifest)
    assert changed != token and not change.new and len(change.stay) == 35
    assert after == scan(folder) and after.counts["red"] == 11
    assert data_process.run(progress, look, folder, "another token") == (changed, after)
    with pytest.raises(DataError, match="is not there"):
        data_process.run(progress, look, tmp_path / "gone", "")
    (folder := tmp_path / "new" / "cup").mkdir(parents=True)
    _, manifest = data_process.run(progress, look, folder.parent, "")
    assert not manifest.files and manifest.empty == ("cup",)


def test_after_an_edit_files_are_not_listed_again(tmp_path, monkeypatch):
    """What was seen is edited, and only what has changed is sent."""
    folder, progress = draw_photos(tmp_path / "colours"), Counted()
    token, before = look(progress, folder, "")
    with monkeypatch.context() as patch:
        patch.setattr(data_work, "read_source", None)
        patch.setattr(editing, "read_source", None)
        for do, *values in (
            (move, ["green/green03.png", "blue/blue01.png"], "red"),
            (exclude, ["blue/blue00.png"]),
            (rename, "red", "a red"),
        ):
            change(progress, folder, do, *values)
            token, changed = look(progress, folder, token, edited=True)
            assert len(changed.new) in (0, 2, 14)
            before = changed.apply(before)
    assert before == scan(folder) and before.counts == {"a red": 14, "blue": 10, "green": 11}
    undo_edits(folder, everything=True)
    (folder / "red" / "red00.png").unlink()
    _, changed = look(progress, folder, token)
    assert changed.apply(before) == scan(folder)


@POSIX
def test_the_process_for_data_goes_on_after_a_crash_and_ends_what_is_replaced(tmp_path, client):
    first = data_process.run(Counted(), slow, 1, tmp_path / "ready")
    assert first != os.getpid()
    assert psutil.Process(first).nice() >= AWAITED and os.getsid(first) == first
    if (autogroup := Path(f"/proc/{first}/autogroup")).exists():
        assert f"nice {AWAITED}" in autogroup.read_text()
    task = background.start(
        lambda progress: data_process.run(progress, slow, 10_000, tmp_path / "second")
    )
    until((tmp_path / "second").exists)
    task.replaced = True
    assert task.over.wait(60) and (task.result, task.problem) == (None, "")
    until(lambda: stopped(tmp_path / "second"))
    with pytest.raises(DataError, match="was ended"):
        data_process.run(Counted(), crash)
    assert data_process.run(Counted(), slow, 1, tmp_path / "ready") != first
