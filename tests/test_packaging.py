"""What is installed is whole: the page too."""

import os
import shutil
import zipfile

import pytest
from conftest import ROOT
from packages import build_wheels
from serving import Server, http

pytestmark = pytest.mark.packaging


@pytest.fixture(scope="module")
def tlearn_wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "checkout"
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for name in ("tlearn", "plugins"):
        shutil.copytree(ROOT / name, source / name)
    (wheel,) = build_wheels(folder, source)
    return wheel


def test_the_wheel_holds_every_file_of_the_packages(tlearn_wheel):
    with zipfile.ZipFile(tlearn_wheel) as archive:
        names = set(archive.namelist())
    sources = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "tlearn").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {name for name in names if name.startswith("tlearn/")} == sources
    assert "tlearn_plugins/mobilenet_v2.py" in names


def test_the_page_works_from_the_wheel(tlearn_wheel, tmp_path):
    site_packages = tmp_path / "installed"
    with zipfile.ZipFile(tlearn_wheel) as archive:
        archive.extractall(site_packages)
    paths = os.pathsep.join([str(site_packages), os.environ["PYTHONPATH"]])
    environment = {"PYTHONPATH": paths, "PYTHONSAFEPATH": "1"}
    with Server.ui(tmp_path, env=environment) as server:
        status, page = http(server.port, Cookie=server.cookie())
        assert status == 200 and "<title>" in page
