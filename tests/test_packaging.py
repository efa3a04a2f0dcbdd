"""What is installed from wheels is whole: tlearn with its page, the examples, a new package."""

import ast
import importlib
import json
import os
import shutil
import subprocess
import sys
import zipfile

import pytest
from conftest import ROOT
from serving import Server, http

from tlearn.backbones.scaffold import new_plugin

EXAMPLES = ROOT / "examples"
OFFERED = {  # plugins by distribution
    "tlearn-modern": {"efficientnet_v2", "convnext", "resnet_v2", "densenet"},
    "tlearn-kerashub": {"kerashub"},
    "tlearn-extras": {"gradual", "half", "calibration", "epochs", "sorting"},
    "tlearn-my-net2": {"my_net2"},
}
PIP = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check")
# Of Keras's and TensorFlow's own making, as in our own tests; any other warning is an error.
WARNINGS = """filterwarnings=
  error
  ignore::DeprecationWarning:keras.*
  ignore::DeprecationWarning:tensorflow.*"""
packaging = pytest.mark.packaging


def build_wheels(folder, *sources):
    """Build wheels of copies of source folders, which leaves nothing beside the sources."""
    ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
    copies = [
        shutil.copytree(source, folder / "sources" / source.name, ignore=ignored)
        for source in sources
    ]
    options = ("--no-deps", "--no-build-isolation", "--wheel-dir", folder)
    subprocess.run([*PIP, "wheel", *options, *copies], check=True)
    return sorted(folder.glob("*.whl"))


def found_in(folder):
    """Return an environment in which what is installed in a folder is found."""
    return {"PYTHONPATH": os.pathsep.join([str(folder), os.environ["PYTHONPATH"]])}


@packaging
def test_the_wheel_holds_every_file_and_its_page_works(tmp_path):
    source, installed = tmp_path / "checkout", tmp_path / "installed"
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for name in ("tlearn", "plugins"):
        shutil.copytree(ROOT / name, source / name)
    (wheel,) = build_wheels(tmp_path / "wheels", source)
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        archive.extractall(installed)
    sources = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "tlearn").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {name for name in names if name.startswith("tlearn/")} == sources
    assert "tlearn_plugins/mobilenet_v2.py" in names
    with Server.ui(tmp_path, env={**found_in(installed), "PYTHONSAFEPATH": "1"}) as server:
        status, page = http(server.port, Cookie=server.cookie())
        assert status == 200 and "<title>" in page


@packaging
@pytest.mark.timeout(1800)
def test_examples_and_a_new_package_install_and_pass_their_own_tests(tmp_path):
    new = new_plugin("my_net2", tmp_path / "tlearn-my-net2")
    sources = [*sorted(EXAMPLES.glob("tlearn-*")), new]
    wheels = build_wheels(tmp_path / "wheels", *sources)
    for wheel, source in zip(wheels, sources, strict=True):
        module = source.name.replace("-", "_")
        tops = {file.split("/")[0] for file in zipfile.ZipFile(wheel).namelist()}
        assert tops <= {module, f"{module}.py", f"{module}-0.1.0.dist-info"}
    site = tmp_path / "site"
    subprocess.run([*PIP, "install", "--no-deps", "--target", site, *wheels], check=True)
    apart = {"env": os.environ | found_in(site), "cwd": tmp_path, "capture_output": True}
    command = [sys.executable, "-m", "tlearn", "plugins", "--json"]
    plugins = json.loads(subprocess.run(command, check=True, **apart).stdout)
    assert [p["problem"] for p in plugins if p["problem"]] == []
    for source in sources:
        versions = {p["name"]: p["version"] for p in plugins if p["distribution"] == source.name}
        assert versions == dict.fromkeys(OFFERED[source.name], "0.1.0")
    options = ("-o", WARNINGS, "-p", "no:cacheprovider", "-p", "no:xdist", "-c", os.devnull)
    tests = [source / "tests" for source in sources]
    command = [sys.executable, "-m", "pytest", *options, "--rootdir", tmp_path, *tests]
    done = subprocess.run(command, check=False, text=True, **apart)
    assert done.returncode == 0, done.stdout[-5000:]
    assert " passed" in done.stdout and " xfailed" not in done.stdout


def test_examples_use_public_names_alone():
    allowed = {"tlearn", "tlearn.backbones", "tlearn.testing", "tlearn.config"}
    for path in sorted(EXAMPLES.rglob("*.py")):
        text = path.read_text("utf-8")
        tests = "tests" in path.parts
        assert tests or "Backbone(" not in text or len(text.splitlines()) < 60, path
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "tlearn":
                module = importlib.import_module(node.module)
                public = getattr(module, "__all__", None) or [
                    n for n in vars(module) if n[0] != "_"
                ]
                assert {alias.name for alias in node.names} <= set(public), path
                assert node.module in allowed | ({"tlearn.cli"} if tests else set()), path
