"""``tlearn plugins new``: a package that is complete and correct as it stands."""

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tlearn import __version__
from tlearn.cli import main

ROOT = Path(__file__).parent.parent


def test_the_package_builds_installs_and_passes_its_test(tmp_path, capsys):
    source = tmp_path / "source"
    assert main(["plugins", "new", "my_net2", "--out", str(source)]) == 0
    out = capsys.readouterr().out
    assert f"pip install -e '{source}[test]'" in out and "tlearn plugins check my_net2" in out
    assert sorted(p.relative_to(source).as_posix() for p in source.rglob("*") if p.is_file()) == [
        "README.md", "pyproject.toml", "tests/test_my_net2.py", "tlearn_my_net2.py",
    ]  # fmt: skip
    project = tomllib.loads((source / "pyproject.toml").read_text())["project"]
    assert project["name"] == "tlearn-my-net2"
    assert project["dependencies"] == [f"tlearn>={__version__}"]
    for tool in (["ruff", "check"], ["ruff", "format", "--check"]):
        config = ["--config", ROOT / "pyproject.toml", "--ignore", "D103,I001"]
        options = config if tool[1] == "check" else config[:2]
        subprocess.run([sys.executable, "-m", *tool, *options, source], check=True)

    site = tmp_path / "site"
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation",
         "--disable-pip-version-check", "--target", site, source],
        check=True,
    )  # fmt: skip
    paths = os.pathsep.join([str(site), os.environ["PYTHONPATH"]])
    env = {**os.environ, "PYTHONPATH": paths}
    listed = subprocess.run(
        [sys.executable, "-m", "tlearn", "plugins", "--json"],
        env=env, capture_output=True, text=True, check=True,
    )  # fmt: skip
    (plugin,) = [p for p in json.loads(listed.stdout) if p["name"] == "my_net2"]
    assert plugin["distribution"] == "tlearn-my-net2" and plugin["backbones"] == ["my_net2"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-W", "error", "-W", "ignore::DeprecationWarning",
         "-p", "no:cacheprovider", "-c", os.devnull, "--rootdir", tmp_path, source / "tests"],
        env=env, capture_output=True, text=True, check=False, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:]
    assert " passed" in done.stdout and "skipped" not in done.stdout


def test_without_out_the_folder_is_named_after_the_backbone(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["plugins", "new", "tiny"]) == 0
    assert (tmp_path / "tlearn-tiny/tlearn_tiny.py").exists()
    assert "# tlearn-tiny" in (tmp_path / "tlearn-tiny/README.md").read_text()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("My-Net", "lower case letters, digits and underscores"),
        ("2net", "begins with a letter"),
        ("../net", "lower case letters"),
        ("vgg19", "'vgg19' is taken by tlearn"),
    ],
)
def test_names_that_will_not_do_are_refused(tmp_path, capsys, monkeypatch, name, words):
    monkeypatch.chdir(tmp_path)
    assert main(["plugins", "new", name]) == 2
    err = capsys.readouterr().err
    assert words in err and err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_what_exists_is_not_touched(tmp_path, capsys):
    (tmp_path / "mine").write_text("x")
    assert main(["plugins", "new", "net", "--out", str(tmp_path)]) == 2
    assert "cannot be made" in capsys.readouterr().err
    assert [p.name for p in tmp_path.iterdir()] == ["mine"]
