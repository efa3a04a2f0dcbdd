"""A study: trainings side by side, on the same splits."""

import json

import pytest

import tlearn
from tlearn.cli import main
from tlearn.errors import ConfigError
from tlearn.experiments.trials import study

TOY = ["--backbone", "toy", "--weights", "none", "--quiet"]


def test_each_combination_is_trained_and_compared(photos, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("TLEARN_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    vary = ["--vary", "head.hidden=[],[8]", "--vary", "head.dropout=0,0.5"]
    assert main(["study", str(photos), *TOY, "--stages", "none:2", *vary]) == 0
    out = capsys.readouterr().out
    folder = tmp_path / "studies" / "photos"
    rows = json.loads((folder / "study.json").read_text())
    runs = {row["run"]: tlearn.Run(folder / row["run"]) for row in rows}
    assert sorted(runs) == ["01", "02", "03", "04"]
    heads = [runs[name].record["config"]["head"] for name in sorted(runs)]
    given = [(head["hidden"], head["dropout"]) for head in heads]
    assert given == [([], 0.0), ([], 0.5), ([8], 0.0), ([8], 0.5)]
    splits = {(run.path / "splits.csv").read_text() for run in runs.values()}
    assert len(splits) == 1
    accuracies = [row["accuracy"] for row in rows]
    assert accuracies == sorted(accuracies, reverse=True)
    assert [row["p_value"] is None for row in rows] == [True, False, False, False]
    assert "head.hidden=[8], head.dropout=0.5 " in out and "noise (p = 1)" in out
    assert {"study.svg", "study.png"} <= {path.name for path in folder.iterdir()}
    assert list(runs["03"].history["val_loss"]) and len(runs["03"].history) == 2


@pytest.mark.parametrize(
    ("vary", "words"),
    [
        ({"head.dropout": [0.1]}, "2 to 100 trainings, and these values are 1"),
        ({"seed": range(101)}, "these values are 101"),
        ({"head.x": [1, 2]}, "unknown configuration key 'head.x'"),
        ({"head.dropout": [0.1, 7]}, "head.dropout: must be"),
    ],
)
def test_values_that_cannot_be_tried_are_refused_before_anything_is_trained(
    photos, tmp_path, vary, words
):
    with pytest.raises(ConfigError, match=words):
        study(photos, tmp_path / "study", vary=vary, quiet=True)
    assert not (tmp_path / "study").exists()


@pytest.mark.parametrize("text", ["head.dropout", "=1,2", "head.dropout="])
def test_the_option_takes_a_key_and_values(photos, text, capsys):
    assert main(["study", str(photos), "--vary", text]) == 2
    assert "--vary takes KEY=VALUE,VALUE,..." in capsys.readouterr().err
