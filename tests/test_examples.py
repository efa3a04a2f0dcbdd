"""The example packages as their users have them: from a wheel, in a process of their own."""

import ast
import importlib
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"
PACKAGES = {
    "tlearn-modern": {"efficientnet_v2", "convnext", "resnet_v2", "densenet"},
    "tlearn-kerashub": {"kerashub"},
    "tlearn-extras": {"gradual", "tflite", "calibration", "epochs", "sorting"},
}


@pytest.fixture(scope="module", params=PACKAGES)
def installed(request, tmp_path_factory):
    """Build a wheel of a package and install it; return name, wheel and environment."""
    place = tmp_path_factory.mktemp("built")
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    source = place / "source"
    # A copy, because building leaves things beside the source.
    subprocess.run(["cp", "-r", EXAMPLES / request.param, source], check=True)
    subprocess.run(
        [*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", place, source],
        check=True,
    )
    (wheel,) = place.glob("*.whl")
    subprocess.run([*pip, "install", "--no-deps", "--target", place / "site", wheel], check=True)
    paths = [str(place / "site"), os.environ["PYTHONPATH"]]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    return request.param, wheel, env


def test_the_wheel_is_found_and_holds_its_modules_alone(installed):
    name, wheel, env = installed
    tops = {file.split("/")[0] for file in zipfile.ZipFile(wheel).namelist()}
    module = name.replace("-", "_")
    assert tops <= {module, f"{module}.py", f"{module}-0.1.0.dist-info"}
    listed = subprocess.run(
        [sys.executable, "-m", "tlearn", "plugins", "--json"],
        env=env,
        capture_output=True,
        text=True,
        check=True,
    )
    plugins = json.loads(listed.stdout)
    assert [p["problem"] for p in plugins if p["problem"]] == []
    found = {p["name"]: p["version"] for p in plugins if p["distribution"] == name}
    assert found == dict.fromkeys(PACKAGES[name], "0.1.0")


def test_its_own_tests_pass_with_what_was_installed(installed, tmp_path):
    name, _, env = installed
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-W",
            "error",
            "-W",
            "ignore::DeprecationWarning",
            "-p",
            "no:cacheprovider",
            "-c",
            os.devnull,
            "--rootdir",
            tmp_path,
            EXAMPLES / name / "tests",
        ],
        env=env,
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stdout[-5000:]
    assert " passed" in done.stdout and " xfailed" not in done.stdout


@pytest.mark.parametrize(
    "path", sorted(EXAMPLES.rglob("*.py")), ids=lambda p: p.relative_to(EXAMPLES).as_posix()
)
def test_they_use_public_names_alone(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "tlearn":
            offered = importlib.import_module(node.module)
            public = getattr(offered, "__all__", None) or [n for n in vars(offered) if n[0] != "_"]
            assert {alias.name for alias in node.names} <= set(public)
            allowed = {"tlearn", "tlearn.backbones", "tlearn.testing", "tlearn.config"}
            assert node.module in allowed | ({"tlearn.cli"} if "tests" in path.parts else set())
    if "Backbone(" in path.read_text(encoding="utf-8"):
        assert len(path.read_text(encoding="utf-8").splitlines()) < 60
