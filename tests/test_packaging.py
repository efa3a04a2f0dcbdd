"""What is installed is whole: the page too."""

import os
import shutil
import subprocess
import sys
import urllib.request
import zipfile
from pathlib import Path

import pytest
from browser import Site

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder, source = tmp_path_factory.mktemp("wheel"), tmp_path_factory.mktemp("source")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for name in ("tlearn", "plugins"):  # a copy: building leaves files beside the sources
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    subprocess.run(
        [
            sys.executable,
            "-m",
            "pip",
            "wheel",
            "--quiet",
            "--disable-pip-version-check",
            "--no-deps",
            "--no-build-isolation",
            "--wheel-dir",
            folder,
            source,
        ],
        check=True,
    )
    (found,) = folder.glob("tlearn-*.whl")
    return found


def test_the_wheel_holds_every_file_of_the_packages(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    kept = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "tlearn").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {name for name in names if name.startswith("tlearn/")} == kept
    assert "tlearn_plugins/mobilenet_v2.py" in names


def test_the_page_works_from_the_wheel(wheel, tmp_path):
    site_packages = tmp_path / "installed"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site_packages)
    paths = os.pathsep.join([str(site_packages), os.environ.get("PYTHONPATH", "")])
    env = {"PYTHONPATH": paths, "TLEARN_CONFIG": str(tmp_path), "PYTHONSAFEPATH": "1"}
    site = Site(tmp_path, env)
    try:
        site.start()
        with urllib.request.urlopen(site.url, timeout=30) as page:
            assert b"<title>" in page.read()
    finally:
        site.close()
