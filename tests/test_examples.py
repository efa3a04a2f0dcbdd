"""The example packages as their users have them: from wheels, in a process of their own."""

import ast
import importlib
import json
import zipfile

import pytest
from conftest import ROOT
from packages import build_wheels, install, run_tests, tlearn

EXAMPLES = ROOT / "examples"
PACKAGES = {
    "tlearn-modern": {"efficientnet_v2", "convnext", "resnet_v2", "densenet"},
    "tlearn-kerashub": {"kerashub"},
    "tlearn-extras": {"gradual", "tflite", "calibration", "epochs", "sorting"},
}


@pytest.mark.packaging
@pytest.mark.timeout(1800)
def test_they_install_and_pass_their_own_tests(tmp_path):
    wheels = build_wheels(tmp_path, *(EXAMPLES / name for name in PACKAGES))
    assert len(wheels) == len(PACKAGES)
    for wheel in wheels:
        module = wheel.name.split("-")[0]
        tops = {file.split("/")[0] for file in zipfile.ZipFile(wheel).namelist()}
        assert tops <= {module, f"{module}.py", f"{module}-0.1.0.dist-info"}
    env = install(tmp_path / "site", *wheels)
    plugins = json.loads(tlearn(env, "plugins", "--json"))
    assert [p["problem"] for p in plugins if p["problem"]] == []
    for name, offered in PACKAGES.items():
        versions = {p["name"]: p["version"] for p in plugins if p["distribution"] == name}
        assert versions == dict.fromkeys(offered, "0.1.0")
    report = run_tests(env, tmp_path, *(EXAMPLES / name / "tests" for name in PACKAGES))
    assert " passed" in report and " xfailed" not in report


def test_they_use_public_names_alone():
    allowed = {"tlearn", "tlearn.backbones", "tlearn.testing", "tlearn.config"}
    for path in sorted(EXAMPLES.rglob("*.py")):
        text = path.read_text("utf-8")
        assert "Backbone(" not in text or len(text.splitlines()) < 60, path
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "tlearn":
                module = importlib.import_module(node.module)
                public = getattr(module, "__all__", None) or [
                    n for n in vars(module) if n[0] != "_"
                ]
                assert {alias.name for alias in node.names} <= set(public), path
                inner = {"tlearn.cli"} if "tests" in path.parts else set()
                assert node.module in allowed | inner, path
