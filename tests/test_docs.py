"""What the README says works."""

import importlib.metadata
import re
from pathlib import Path

import pytest
import yaml

import tlearn
from tlearn.backbones import load_registry
from tlearn.cli import cli
from tlearn.config import RunConfig
from tlearn.frozen.trunk import load_trunk
from tlearn.settings import make_config, parse_stages
from tlearn.training.stages import plan

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README, re.S)


def test_every_option_and_command_exists():
    known = {"--help", "--version"}
    for command in cli.commands.values():
        for parameter in command.params:
            known |= set(parameter.opts)
    assert set(re.findall(r"(?<![\w-])--[a-z]+(?:-[a-z]+)*", README)) <= known
    code = "\n".join([*blocks("sh"), *re.findall(r"`([^`\n]+)`", README)])
    commands = set(re.findall(r"(?:^|/)tlearn ([a-z]+)", code, re.M))
    assert {"demo", "finetune", "predict", "evaluate", "backbones"} <= commands
    assert commands <= set(cli.commands)


def test_the_recipe_is_a_configuration():
    (recipe,) = blocks("yaml")
    values = yaml.safe_load(recipe)
    config = RunConfig.model_validate(make_config(options=values).model_dump())
    assert [stage.unfreeze for stage in config.stages] == ["none", "mixed8"]
    assert config.head.hidden == (1024,)
    trunk = load_trunk(load_registry().get(config.backbone), 75, "none", 0)
    assert [p.cut.name if p.cut else None for p in plan(config.stages, trunk)] == [None, "mixed8"]


@pytest.mark.parametrize("text", re.findall(r"--stages ([\w:@.,-]+)`", README))
def test_stage_examples_are_understood(text):
    assert parse_stages(text)


def test_the_backbone_example_is_a_backbone():
    (code,) = [block for block in blocks("python") if "hookimpl" in block]
    space = {}
    exec(compile(code, "README.md", "exec"), space)
    backbone = space["tlearn_backbones"]()
    trunk = load_trunk(backbone, backbone.min_size, "none", 0)
    assert trunk.base.output.shape[-1] == backbone.channels
    assert len(trunk.cuts) == 4


def test_the_listed_run_files_are_those_a_run_has():
    named = set(re.findall(r"`([\w.]+\.(?:yaml|csv|json|jsonl|txt|keras))`", README))
    source = (ROOT / "tlearn/runs/directory.py").read_text(encoding="utf-8")
    assert named - {"tlearn.json"} == set(re.findall(r"^- ([\w.]+\.\w+):", source, re.M))


def test_the_version_is_stated_once_in_effect():
    assert importlib.metadata.version("tlearn") == tlearn.__version__
    assert f"## {tlearn.__version__}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
