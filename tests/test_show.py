"""What ``tlearn show`` says of a run."""

import re
import shutil

import pytest

from tlearn.cli import main
from tlearn.csv_files import csv_text
from tlearn.runs.run_records import PROBLEM_COLUMNS
from tlearn.training.description import curve


def test_a_run_is_shown_with_what_each_stage_trained(toy_run, capsys):
    assert main(["show", str(toy_run.run)]) == 0
    out = capsys.readouterr().out
    parts = re.findall(r"^(\S.*):$", out, re.M)
    assert [part.partition(",")[0] for part in parts] == [
        "configuration",
        "blocks",
        "epochs",
        "result",
    ]
    assert "  backbone: toy\n" in out and "dropout" not in out
    assert re.search(r"^  0 before pixels: 5 layers, 256 parameters; frozen$", out, re.M)
    assert re.search(r"2 before block3_conv: .* trained: 3,5\d\d in top 1 block$", out, re.M)
    assert re.search(r"^  val_accuracy +[▁-█] [\d.]+ to [\d.]+$", out, re.M)
    assert "  next: tlearn predict" in out


def test_what_is_no_run_is_refused(tmp_path, capsys):
    assert main(["show", str(tmp_path)]) == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ([0.0, 0.5, 1.0], "▁▅█ 0 to 1"),
        ([2.0, 2.0], "▁▁ 2 to 2"),
        ([1.0, float("nan"), 3.0], "▁?█ 1 to 3"),
    ],
)
def test_a_curve_is_a_row_of_bars(values, words):
    assert curve(values) == words


def test_files_left_out_are_named_by_reason(toy_run, tmp_path, capsys):
    run = shutil.copytree(toy_run.run, tmp_path / "run")
    rows = [("a.tif", "pixels", "16 bits"), ("b.jpg", "unreadable", "cut off")]
    rows += [(f"{k}.tif", "pixels", "16 bits") for k in range(20)]
    (run / "problems.csv").write_text(csv_text(PROBLEM_COLUMNS, rows))
    assert main(["show", str(run)]) == 0
    out = capsys.readouterr().out
    assert "problems (22), all in " in out
    assert "a.tif and 20 more: 16 bits\n" in out and "b.jpg: cut off\n" in out
