"""What the README says works."""

import dataclasses
import importlib.metadata
import re
from pathlib import Path

import pytest
import yaml

import tlearn
from tlearn.backbones import (
    Backbone,
    Exporter,
    Preset,
    ReportSection,
    load_registry,
)
from tlearn.backbones.plugin_sources import use_folder
from tlearn.backbones.registry import HOOKS
from tlearn.cli import COMMANDS, load_command
from tlearn.config import RunConfig
from tlearn.features.built_backbone import load_backbone
from tlearn.settings import make_config
from tlearn.testing import CHECKS
from tlearn.training.stages import plan_stages

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
PLUGINS = (ROOT / "docs/plugins.md").read_text(encoding="utf-8")


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README, re.S)


def test_every_option_and_command_exists():
    known = {"--help", "--version"}
    for command in map(load_command, COMMANDS):
        for part in [command, *getattr(command, "commands", {}).values()]:
            known |= {option for parameter in part.params for option in parameter.opts}
    assert set(re.findall(r"(?<![\w-])--[a-z]+(?:-[a-z]+)*", README + PLUGINS)) <= known
    code = "\n".join([*blocks("sh"), *re.findall(r"`([^`\n]+)`", README)])
    commands = set(re.findall(r"(?:^|/)tlearn ([a-z-]+)", code, re.M))
    assert {"demo", "finetune", "predict", "evaluate", "backbones"} <= commands
    assert commands <= set(COMMANDS)


def test_the_recipe_is_a_configuration():
    (stages_for,) = blocks("yaml")
    values = yaml.safe_load(stages_for)
    config = RunConfig.model_validate(make_config(options=values).model_dump())
    assert [stage.unfreeze for stage in config.stages] == ["none", "mixed8"]
    assert config.head.hidden == (1024,)
    built = load_backbone(load_registry().get(config.backbone), 75, "none", 0)
    assert [p.boundary.name if p.boundary else None for p in plan_stages(config.stages, built)] == [
        None,
        "mixed8",
    ]


@pytest.mark.parametrize("text", re.findall(r"--stages ([\w:@.,-]+)`", README))
def test_stage_examples_are_understood(text):
    assert make_config(options={"stages": text}).stages


def test_the_backbone_example_is_a_backbone():
    (code,) = [block for block in blocks("python") if "hookimpl" in block]
    space = {}
    exec(compile(code, "README.md", "exec"), space)
    backbone = space["tlearn_backbones"]()
    built = load_backbone(backbone, backbone.min_size, "none", 0)
    assert built.base.output.shape[-1] == backbone.channels
    assert len(built.boundaries) == 4


def sections(title):
    """Return the hooks' entries in the guide for plugin authors: text by name."""
    found = re.split(
        r"^### `(\w+)`\n", PLUGINS.split(f"## {title}\n")[1].split("\n## ")[0], flags=re.M
    )
    return dict(zip(found[1::2], found[2::2], strict=True))


def test_every_hook_has_an_entry_that_works(tmp_path):
    entries = sections("The hooks")
    assert set(entries) == set(HOOKS)
    for hook, text in entries.items():
        (code,) = re.findall(r"```python\n(.*?)```", text, re.S)
        (tmp_path / f"{hook}.py").write_text(code)
    use_folder(tmp_path)
    found = {p.name: p for p in load_registry().plugins if str(tmp_path) in p.distribution}
    assert {name: p.problem for name, p in found.items()} == dict.fromkeys(HOOKS, "")
    assert all(plugin.implemented == (name,) for name, plugin in found.items())


def test_every_field_and_check_has_an_entry():
    entries = sections("The hooks")
    for offer, hook in [
        (Backbone, "tlearn_backbones"),
        (Preset, "tlearn_presets"),
        (Exporter, "tlearn_exporters"),
        (ReportSection, "tlearn_reports"),
    ]:
        for field in dataclasses.fields(offer):
            assert re.search(rf"`{field.name}[`(]", entries[hook]), field.name
    table = re.findall(r"^\| `(check_\w+)` \| (.*) \|$", PLUGINS, re.M)
    assert table == [(c.__name__, c.__doc__.splitlines()[0].rstrip(".")) for c in CHECKS]


def test_the_example_backbone_of_the_guide_is_correct():
    code = re.findall(r"```python\n(.*?)```", sections("The hooks")["tlearn_backbones"], re.S)[0]
    space = {}
    exec(compile(code, "plugins.md", "exec"), space)
    for check in CHECKS:
        if check.__name__ in ("check_smallest_size", "check_blocks", "check_preprocessing"):
            check(space["BACKBONE"])


def test_the_listed_run_files_are_those_a_run_has():
    table = README.split("### What you get")[1].split("###")[0]
    named = set(re.findall(r"`([\w.]+\.(?:yaml|csv|json|jsonl|txt|html|keras|npz))`", table))
    source = (ROOT / "tlearn/runs/directory.py").read_text(encoding="utf-8")
    assert named - {"tlearn.json"} == set(re.findall(r"^- ([\w.]+\.\w+):", source, re.M))


def test_the_version_is_stated_once_in_effect():
    assert importlib.metadata.version("tlearn") == tlearn.__version__
    assert f"## {tlearn.__version__}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
