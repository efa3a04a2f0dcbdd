"""Two runs compared: on the same photos, who is right where, and what differs."""

import csv
import json
import shutil

import pytest
import yaml

import tlearn
from tlearn.cli import main
from tlearn.errors import DataError


def rewrite(path, change):
    """Change the rows of a table of a run."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    rows = [row for row in map(change, rows) if row]
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


@pytest.fixture
def pair(toy_run, tmp_path):
    """A run and its copy, in which three predictions and some settings are others."""
    other = shutil.copytree(toy_run.run, tmp_path / "other")
    right = [p.file for p in tlearn.Run(toy_run.run).held_out_predictions() if p.correct]

    def change(row):
        if row["file"] in right[:3]:
            row["predicted"] = "red" if row["label"] == "blue" else "blue"
            row["probability"] = f"0.{9 - right.index(row['file'])}"
        return row

    rewrite(other / "predictions.csv", change)
    record = yaml.safe_load((other / "run.yaml").read_text())
    record["config"]["head"]["dropout"] = 0.5
    record["config"]["stages"] = []
    (other / "run.yaml").write_text(yaml.safe_dump(record))
    return toy_run.run, other, right


def test_who_is_right_where_and_what_differs(pair, capsys):
    one, other, right = pair
    comparison = tlearn.diff(one, other)
    n = len(tlearn.Run(one).held_out_predictions())
    assert comparison.held_out == (n, n) and comparison.common == n
    assert comparison.right == (len(right), len(right) - 3)
    assert comparison.gain.share == pytest.approx(-3 / n) and comparison.p_value == 0.25
    assert [d.predictions[0].file for d in comparison.disagreements] == right[:3]  # surest first
    assert comparison.trained_on == (comparison.trained_on_both,) * 2
    assert main(["diff", str(one), str(other)]) == 0
    out = capsys.readouterr().out
    assert "other against run: -" in out and "could be chance" in out
    assert f", on {n} validation photos\n" in out
    assert "head.dropout: 0.2 in run, 0.5 in other" in out
    assert "stages: top 1 block for 1 epoch at 0.0005 in run, the probe alone in other" in out
    assert "photos that only run is right about, the surest mistakes first: 3" in out
    assert "photos trained on" not in out
    page = other.parent / "page.html"
    assert main(["diff", str(one), str(other), "--json", "--html", str(page)]) == 0
    html = page.read_text(encoding="utf-8")
    assert html.count("<img src=") == 3 and "only run is right about" in html
    assert "<td>head.dropout<td>0.2<td>0.5" in html and "http" not in html
    record = json.loads(capsys.readouterr().out)
    assert {photo["right"] for photo in record["photos"]} == {"first"}
    assert record["settings"]["head.dropout"] == [0.2, 0.5] and record["gain"]["images"] == n


def test_photos_of_two_splits_are_counted_apart(pair, capsys):
    one, other, right = pair
    for run in (one, other):
        again = shutil.copytree(run, other.parent / "again" / run.name)
        rewrite(
            again / "predictions.csv",
            lambda row: row | {"split": "test"} if row["file"] == right[0] else row,
        )
    n = len(tlearn.Run(one).held_out_predictions())
    folder = other.parent / "again"
    assert main(["diff", *(str(folder / run.name) for run in (one, other))]) == 0
    assert f", on {n} photos ({n - 1} validation and 1 test)\n" in capsys.readouterr().out


def test_other_held_out_photos_are_refused_with_numbers(pair, capsys):
    one, other, right = pair
    rewrite(other / "predictions.csv", lambda row: None if row["file"] in right[:2] else row)
    n = len(tlearn.Run(one).held_out_predictions())
    assert main(["diff", str(one), str(other)]) == 2
    message = capsys.readouterr().err
    assert f"{n} and '{other}' {n - 2}, of which {n - 2} are the same" in message
    assert "--common" in message
    assert tlearn.diff(one, other, common=True).common == n - 2
    rewrite(other / "splits.csv", lambda row: row | {"content": row["content"][::-1]})
    for common in (False, True):
        with pytest.raises(DataError, match="of which none are the same; train both"):
            tlearn.diff(one, other, common=common)


def test_photos_of_another_class_in_each_do_not_count(pair, capsys):
    one, other, right = pair

    def move(row):
        return row | {"label": "moved"} if row["file"] == right[-1] else row

    rewrite(other / "predictions.csv", move)
    comparison = tlearn.diff(one, other)
    assert comparison.relabelled == 1 and comparison.common == comparison.held_out[0] - 1
    assert main(["diff", str(one), str(other)]) == 0
    assert "1 more does not count" in capsys.readouterr().out
