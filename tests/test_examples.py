"""The example packages, and a new one, as users have them: from wheels, in another process."""

import ast
import importlib
import json
import zipfile

import pytest
from conftest import ROOT
from packages import build_wheels, install, run_tests, tlearn

from tlearn.backbones.scaffold import new_plugin

EXAMPLES = ROOT / "examples"
OFFERED = {
    "tlearn-modern": {"efficientnet_v2", "convnext", "resnet_v2", "densenet"},
    "tlearn-kerashub": {"kerashub"},
    "tlearn-extras": {"gradual", "tflite", "calibration", "epochs", "sorting"},
    "tlearn-my-net2": {"my_net2"},
}


@pytest.mark.packaging
@pytest.mark.timeout(1800)
def test_they_install_and_pass_their_own_tests(tmp_path):
    new = new_plugin("my_net2", tmp_path / "tlearn-my-net2")
    sources = [*sorted(EXAMPLES.glob("tlearn-*")), new]
    wheels = build_wheels(tmp_path / "wheels", *sources)
    for wheel, source in zip(wheels, sources, strict=True):
        module = source.name.replace("-", "_")
        tops = {file.split("/")[0] for file in zipfile.ZipFile(wheel).namelist()}
        assert tops <= {module, f"{module}.py", f"{module}-0.1.0.dist-info"}
    env = install(tmp_path / "site", *wheels)
    plugins = json.loads(tlearn(env, "plugins", "--json"))
    assert [p["problem"] for p in plugins if p["problem"]] == []
    for source in sources:
        versions = {p["name"]: p["version"] for p in plugins if p["distribution"] == source.name}
        assert versions == dict.fromkeys(OFFERED[source.name], "0.1.0")
    report = run_tests(env, tmp_path, *(source / "tests" for source in sources))
    assert " passed" in report and " xfailed" not in report


def test_they_use_public_names_alone():
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
