"""Every recipe of the documentation works."""

import json
import re
import shlex
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
import yaml
from conftest import ROOT

import tlearn
from tlearn.cli import main
from tlearn.config_schema import fields_of

PAGE = (ROOT / "docs" / "recipes.md").read_text(encoding="utf-8")
SPACE = re.search(r"```yaml space.yaml\n(.*?)```", PAGE, re.S).group(1)
HEAD, FILE, PYTHON, SAM = re.findall(r"```python\n(.*?)```", PAGE, re.S)
TOY = {"backbone": "toy", "weights": "none"}
NO_TRAINING = ("evaluate", "predict", "explain", "show", "ensemble", "tensorboard", "export")


@pytest.fixture
def here(photos, warm_cache, monkeypatch):
    """Work beside the photos."""
    monkeypatch.chdir(photos.parent)
    return photos.parent


@pytest.mark.parametrize("text", re.findall(r"```yaml\n(.*?)```", PAGE, re.S))
def test_a_configuration_trains(here, text):
    (here / "recipe.yaml").write_text(text)
    run = tlearn.finetune("photos", "run", config="recipe.yaml", quiet=True, **TOY)
    stages = yaml.safe_load(text)["stages"]
    assert len(run.metrics["stages"]) == 1 + len(stages)
    assert run.metrics["validation"]["accuracy"] > 0.3


def test_the_commands_work(here, capsys, monkeypatch):
    (here / "my_callbacks.py").write_text(FILE)
    (here / "my_step.py").write_text(SAM)
    (here / "space.yaml").write_text(SPACE.replace("efficientnet_lite0", "toy"))
    (here / "my_head.py").write_text(HEAD)
    commands = re.findall(r"^tlearn (.*)$", PAGE, re.M)
    assert len(commands) >= 18
    shown = []
    monkeypatch.setattr("tlearn.cli.tensorboard.serve", lambda folder, port: shown.append(folder))
    for command in commands:
        words = shlex.split(command.replace("10m", "1s"))
        trains = words[0] not in NO_TRAINING and "--from" not in words
        toy = ["--backbone", "toy"] if trains else []
        toy += ["--weights", "none"] if trains and "--weights" not in words else []
        assert main([*words, *toy]) == 0, command
    assert [path.parent for path in shown] == [here / "logs"]
    assert re.search(r"^\.+probe: ", capsys.readouterr().out, re.M)  # a dot for each epoch


def test_the_hook_is_called_once_at_the_end(here, monkeypatch):
    received = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            received.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *arguments):
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("HOOK", f"http://127.0.0.1:{server.server_port}")
        (here / "my_callbacks.py").write_text(FILE)
        stages = [{"unfreeze": "none", "epochs": 2}, {"unfreeze": 1, "epochs": 2}]
        tlearn.finetune(
            "photos", "run", callbacks="my_callbacks.py", stages=stages, quiet=True, **TOY
        )
        server.shutdown()
    (logs,) = received
    assert {"loss", "val_accuracy"} <= logs.keys()


def test_the_python_works(here, monkeypatch, capsys):
    real = tlearn.finetune
    monkeypatch.setattr(tlearn, "finetune", lambda *a, **k: real(*a, **k, **TOY, quiet=True))
    exec(compile(PYTHON, "recipes.md", "exec"), {})
    assert "val_accuracy" in capsys.readouterr().out
    assert {path.name for path in (here / "logs").iterdir()} == {"train", "validation"}
    lines = [
        (here / name).read_text().count("\n")
        for name in ("log.csv", "runs/tensorboard/history.csv")
    ]
    assert lines[0] == lines[1] > 9


def test_the_page_names_every_key_with_its_help():
    rows = PAGE.split("## Every key")[1]
    fields = {field.key: field for field in fields_of()}
    fields |= {f"stages[].{field.key}": field for field in fields["stages"].columns}
    assert re.findall(r"^\| `([\w.\[\]]+)` \|", rows, re.M) == sorted(
        fields, key=list(fields_in_order()).index
    )
    for field in fields.values():
        assert field.help in rows, field.key


def fields_in_order():
    """Yield the keys as the configuration has them, those of a stage after ``stages``."""
    for field in fields_of():
        yield field.key
        yield from (f"{field.key}[].{column.key}" for column in field.columns)


def test_links_to_sections_lead_somewhere():
    for anchor in re.findall(r"\]\(#([\w-]+)\)", PAGE):
        assert re.search(rf"^## {anchor.replace('-', ' ')}$", PAGE, re.M | re.I)
