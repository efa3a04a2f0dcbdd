"""``tlearn plugins new``: a complete package; ``test_packaging.py`` installs and tests one."""

import subprocess
import sys
import tomllib

from conftest import ROOT

from tlearn import __version__
from tlearn.cli import main


def test_the_package_is_complete(tmp_path, capsys):
    source = tmp_path / "source"
    assert main(["plugins", "new", "my_net2", "--out", str(source)]) == 0
    out = capsys.readouterr().out
    assert f"pip install -e '{source}[test]'" in out and "tlearn plugins check my_net2" in out
    assert sorted(p.relative_to(source).as_posix() for p in source.rglob("*") if p.is_file()) == [
        "README.md",
        "pyproject.toml",
        "tests/test_my_net2.py",
        "tlearn_my_net2.py",
    ]
    project = tomllib.loads((source / "pyproject.toml").read_text())["project"]
    assert project["name"] == "tlearn-my-net2"
    assert project["dependencies"] == [f"tlearn>={__version__}"]
    readme = (source / "README.md").read_text()
    for words in (
        "# tlearn-my-net2",
        "pip install tlearn-my-net2",
        "--backbone my_net2",
        "tlearn plugins check my_net2",
    ):
        assert words in readme
    for tool in (["check", "--no-cache"], ["format", "--check"]):
        command = [sys.executable, "-m", "ruff", *tool, "--config", ROOT / "pyproject.toml", "."]
        subprocess.run(command, check=True, cwd=source)


def test_without_out_the_folder_is_named_after_the_backbone(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["plugins", "new", "tiny"]) == 0
    assert (tmp_path / "tlearn-tiny/tlearn_tiny.py").exists()
    assert "# tlearn-tiny" in (tmp_path / "tlearn-tiny/README.md").read_text()


def test_names_that_will_not_do_are_refused(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, words in {
        "My-Net": "lower case letters, digits and underscores",
        "2net": "begins with a letter",
        "../net": "lower case letters",
        "net_": "does not end with an underscore",
        "": "lower case letters",
        "plugins": "there is a module called 'tlearn_plugins' already",
        "vgg19": "'vgg19' is taken by tlearn",
    }.items():
        assert main(["plugins", "new", name]) == 2
        err = capsys.readouterr().err
        assert words in err and err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_what_exists_is_not_touched(tmp_path, capsys):
    (tmp_path / "mine").write_text("x")
    assert main(["plugins", "new", "net", "--out", str(tmp_path)]) == 2
    assert "cannot be made" in capsys.readouterr().err
    assert [p.name for p in tmp_path.iterdir()] == ["mine"]


def test_what_cannot_be_written_whole_is_removed(tmp_path, capsys):
    place = tmp_path / "place"
    assert main(["plugins", "new", "a" * 250, "--out", str(place)]) == 2  # too long for a file
    err = capsys.readouterr().err
    assert "cannot be written: File name too long" in err and err.count("\n") == 1
    assert not place.exists()
