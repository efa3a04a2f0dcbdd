"""A backbone from somebody else's package, installed by pip, is found and trains."""

import json
import os
import subprocess
import sys
from pathlib import Path

from conftest import PLUGINS

PYPROJECT = """
[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"

[project]
name = "tlearn-stranger"
version = "0.7"
dependencies = ["tlearn"]

[project.entry-points.tlearn]
stranger = "tlearn_stranger"

[tool.setuptools]
py-modules = ["tlearn_stranger"]
"""


def test_a_strangers_package_is_found_and_trains(photos, tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    (source / "pyproject.toml").write_text(PYPROJECT)
    module = (PLUGINS / "tlearn_toy.py").read_text().replace('name="toy",', 'name="stranger",')
    (source / "tlearn_stranger.py").write_text(module)
    site = tmp_path / "site"
    subprocess.run(
        [
            sys.executable,
            "-m",
            "pip",
            "install",
            "--quiet",
            "--no-deps",
            "--no-build-isolation",
            "--disable-pip-version-check",
            "--target",
            site,
            source,
        ],
        check=True,
    )
    env = {**os.environ, "PYTHONPATH": str(site)}
    tlearn = [sys.executable, "-m", "tlearn"]
    listed = subprocess.run(
        [*tlearn, "backbones"], env=env, capture_output=True, text=True, check=True
    )
    assert "stranger" in listed.stdout and "from tlearn-stranger 0.7" in listed.stdout
    done = subprocess.run(
        [
            *tlearn,
            "finetune",
            photos,
            "--backbone",
            "stranger",
            "--weights",
            "none",
            "--stages",
            "1:1",
            "--out",
            tmp_path / "run",
            "--json",
            "--quiet",
        ],
        env=env,
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout)["validation"]["accuracy"] > 0.5
    assert "distribution: tlearn-stranger" in Path(tmp_path / "run/run.yaml").read_text()
