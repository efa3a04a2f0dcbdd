"""Files and folders that come whole, and those that go with their process."""

import os
import subprocess
import sys

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
def test_permissions_are_the_usual_ones_and_other_threads_keep_theirs(tmp_path, monkeypatch):
    set_mask = os.umask  # of the whole process
    before = set_mask(0o022)
    try:
        for mask in (0o077, 0o022):
            set_mask(mask)
            with monkeypatch.context() as patch:
                patch.setattr(os, "umask", None)
                with atomic_file(tmp_path / f"a{mask}"), atomic_directory(tmp_path / f"b{mask}"):
                    pass
            assert (tmp_path / f"a{mask}").stat().st_mode & 0o777 == 0o666 & ~mask
            assert (tmp_path / f"b{mask}").stat().st_mode & 0o777 == 0o777 & ~mask
    finally:
        set_mask(before)


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
