"""The form of all options, the YAML, the command: all made from the configuration itself."""

import re
import shlex

import pytest

from tlearn.cli.finetune import finetune
from tlearn.config import RunConfig
from tlearn.config_schema import fields_of
from tlearn.errors import ConfigError
from tlearn.settings import make_config, to_command, to_yaml
from tlearn.web.components.config_options import config_from

OTHERS = {
    "choice": lambda field: next(c for c in field.choices if c != field.default),
    "bool": lambda field: not field.default,
    "int": lambda field: int(re.search(r">=(\d+)", field.bounds)[1]) + 3,
    "float": lambda field: 0.5,
}
TEXTS = {
    "backbone": "vgg19",
    "weights": "none",
    "from_run": "runs/photos",
    "views": "fresh",
    "group": r"p(\d)",
    "preset": "quick",
    "head.hidden": "[8, 4]",
    "head.module": "mine.py:build",
    "callbacks": "mine.py",
    "train_step": "mine.py:Mine",
    "tensorboard": "my logs",
    "time_budget": "5m",
    "disk_budget": "10G",
    "activation_store": "s3://bucket/activations",
    "cluster": "ray://head:10001",
}


def leaves(value, key=""):
    if isinstance(value, dict):
        return [leaf for k, v in value.items() for leaf in leaves(v, f"{key}.{k}")]
    return [key.lstrip(".")]


def other(field):
    """Return a value that differs from the default."""
    if field.kind == "table":
        return [{"unfreeze": "2", "epochs": 3, "learning_rate": None, "name": ""}]
    return TEXTS[field.key] if field.kind == "text" else OTHERS[field.kind](field)


def test_the_form_has_every_option_and_says_what_it_is():
    fields = {field.key: field for field in fields_of()}
    assert list(fields) == leaves(RunConfig().model_dump())
    for field in [*fields.values(), *fields["stages"].columns]:
        assert field.help, field.key
    assert fields["resize"].choices == ("crop", "squash", "pad")
    assert (fields["head.dropout"].kind, fields["head.dropout"].bounds) == ("float", ">=0, <1")
    assert fields["stages"].columns[0].key == "unfreeze"


def test_what_is_left_alone_is_not_asked_for():
    values = {field.key: field.default for field in fields_of()}
    assert config_from(values) == RunConfig()
    assert not config_from(values).model_fields_set


@pytest.mark.parametrize("field", fields_of(), ids=lambda field: field.key)
def test_every_option_arrives_and_the_command_asks_for_the_same(field, tmp_path):
    config = config_from({field.key: other(field)})
    assert config != RunConfig()
    file = tmp_path / "config.yaml"
    file.write_text(to_yaml(config), encoding="utf-8")
    assert make_config(file) == config
    words = shlex.split(to_command(config, "my photos", "a run"))
    assert words[:3] == ["tlearn", "finetune", "my photos"] and words[-2:] == ["--out", "a run"]
    asked = dict(finetune.make_context("finetune", words[2:]).params)
    for name in ("data", "out", "quiet", "as_json", "progress", "resume"):
        asked.pop(name, None)
    assert make_config(asked.pop("config"), asked.pop("settings"), asked) == config


def test_what_is_not_allowed_is_told():
    with pytest.raises(ConfigError, match=r"head\.dropout"):
        config_from({"head.dropout": 2.0})
    with pytest.raises(ConfigError, match="unfreeze"):
        config_from({"stages": [{"epochs": 3, "unfreeze": None}]})
    with pytest.raises(ConfigError, match="views"):
        config_from({"views": "many"})
    with pytest.raises(ConfigError, match=r"seed: must be less than 2147483648"):
        config_from({"seed": float("9" * 20)})


def test_a_table_has_records_without_what_is_empty():
    rows = [
        {"unfreeze": "all", "epochs": 3.0, "learning_rate": None, "name": ""},
        {"unfreeze": None, "epochs": None, "learning_rate": None, "name": None},
        {"unfreeze": "2", "epochs": None, "learning_rate": 0.1, "name": "last"},
    ]
    first, second = config_from({"stages": rows}).stages
    assert (first.unfreeze, first.epochs, first.title) == ("all", 3, "all blocks")
    assert (second.unfreeze, second.learning_rate, second.name) == (2, 0.1, "last")


def test_cells_of_stages_take_names_with_arguments():
    row = {"unfreeze": "1", "optimizer": "{name: sgd, momentum: 0.9}", "schedule": "constant"}
    values = {field.key: field.default for field in fields_of()}
    (stage,) = config_from(values | {"stages": [row | {"loss": None}]}).stages
    assert (stage.optimizer.name, stage.optimizer.arguments) == ("sgd", {"momentum": 0.9})
    assert stage.schedule.name == "constant" and stage.loss.name == "crossentropy"
    with pytest.raises(ConfigError, match="broken YAML in stages, optimizer"):
        config_from(values | {"stages": [row | {"optimizer": "{name: sgd"}]})
