"""Files and folders that come whole, and those that go with their process."""

import os
import subprocess
import sys
import threading

import pytest

from tlearn.atomic import atomic_directory, atomic_file
from tlearn.data.process_folder import process_folder


def test_what_fails_leaves_nothing_and_what_was_there(tmp_path):
    (tmp_path / "a.csv").write_text("old")
    for change in (atomic_file(tmp_path / "a.csv"), atomic_directory(tmp_path / "x" / "b")):
        with pytest.raises(KeyError), change as temporary:
            assert temporary.exists() and temporary.name[0] == "."
            raise KeyError
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["a.csv", "x"]
    assert (tmp_path / "a.csv").read_text() == "old"


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
def test_permissions_are_the_usual_ones_and_other_threads_keep_theirs(tmp_path):
    loose, stop = [], threading.Event()

    def watch():
        for number in range(10**9):
            if stop.is_set():
                return
            path = tmp_path / f"other-{number}"
            path.touch()
            if path.stat().st_mode & 0o077:
                loose.append(path)
            path.unlink()

    before = os.umask(0o077)
    watcher = threading.Thread(target=watch)
    try:
        watcher.start()
        for _ in range(300):
            with atomic_file(tmp_path / "a") as file:
                file.write_text("x")
            with atomic_directory(tmp_path / "b"):
                pass
            (tmp_path / "b").rmdir()
        assert (tmp_path / "a").stat().st_mode & 0o777 == 0o600
        stop.set()
        watcher.join()
        os.umask(0o022)
        with atomic_file(tmp_path / "a"), atomic_directory(tmp_path / "b"):
            pass
        assert (tmp_path / "a").stat().st_mode & 0o777 == 0o644
        assert (tmp_path / "b").stat().st_mode & 0o777 == 0o755
    finally:
        stop.set()
        os.umask(before)
    assert not loose


def test_folders_of_processes_that_have_ended_are_removed(tmp_path):
    code = (
        "import sys; from pathlib import Path; from tlearn.data.process_folder import *\n"
        "print(process_folder(Path(sys.argv[1])), flush=True); sys.stdin.read()"
    )
    others = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    folders = [tmp_path / other.stdout.readline().strip() for other in others]
    for folder in folders:
        (folder / "photo").write_text("x")
    others[0].kill()
    others[0].wait()
    own = process_folder(tmp_path)
    assert process_folder(tmp_path) == own
    assert not folders[0].exists() and (folders[1] / "photo").exists()
    own.joinpath(".lock").unlink()
    own.rmdir()
    assert process_folder(tmp_path).is_dir()  # where somebody has removed it
    others[1].communicate("")
    others[0].communicate()
