"""Which photos are worth labelling: unsure, unlike each other, and new to the run."""

import csv
import json
import shutil

import numpy as np
import pytest
from conftest import draw_photos
from PIL import Image

import tlearn
from tlearn.cli import main
from tlearn.errors import DataError
from tlearn.runs.photo_selection import Candidate, least_sure, select


def candidates(margins, features, path):
    return [
        Candidate(path / str(i), np.array([(1 + m) / 2, (1 - m) / 2]), np.asarray(f, float))
        for i, (m, f) in enumerate(zip(margins, features, strict=True))
    ]


def test_the_least_sure_stay_in_bounded_memory(tmp_path):
    margins = np.random.default_rng(0).random(200)
    every = candidates(margins, np.zeros((200, 2)), tmp_path)
    least = least_sure(iter(every), 10)
    assert [one.margin for one in least] == pytest.approx(sorted(margins)[:10])


def test_photos_that_are_chosen_are_unlike_each_other(tmp_path):
    rng = np.random.default_rng(0)
    middles = 5 * np.eye(6)[np.repeat(np.arange(6), [25, 1, 1, 1, 1, 1])]  # one kind is common
    every = candidates(np.full(30, 0.1), middles + 0.01 * rng.normal(size=(30, 6)), tmp_path)
    order = rng.permutation(30)
    for seed in range(5):
        chosen = select([every[i] for i in order], 10, seed)
        assert len({one.path for one in chosen}) == 10
        assert {int(one.features.argmax()) for one in chosen[:6]} == set(range(6))
    # Where all are alike, there are as many as wanted all the same.
    alike = candidates(np.full(30, 0.1), np.ones((30, 6)), tmp_path)
    assert len({one.path for one in select(alike, 10, 0)}) == 10
    assert select(alike[:5], 10, 0) == alike[:5]


@pytest.fixture
def folder(toy_run, tmp_path):
    """New photos, some that the run knows, copies, and a file that is no image."""
    folder = draw_photos(tmp_path / "new", 4, seed=7)
    shutil.copy(toy_run.photos / "red/red00.png", folder / "known under another name.png")
    shutil.copy(folder / "red/red01.png", folder / "the same.png")
    Image.open(folder / "blue/blue02.png").resize((80, 72)).save(folder / "larger.jpg", quality=95)
    (folder / "broken.jpg").write_bytes(b"no image")
    return folder


def test_the_command_chooses_copies_and_writes_a_table(toy_run, folder, tmp_path, capsys):
    table, out = tmp_path / "next.csv", tmp_path / "out"
    arguments = ["label-next", str(toy_run.run), str(folder), "-n", "5", "--quiet"]
    assert main([*arguments, "--copy", str(out), "--csv", str(table)]) == 0
    text = capsys.readouterr().out
    assert "5 of 16 photos" in text and "1 that the run knows" in text and "1 unreadable" in text
    assert f"fill in the column label of {table}; then add the photos to" in text
    assert f"tlearn finetune {table} --from {toy_run.run}" in text
    with (out / "labels.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["path"] for row in rows} == {p.name for p in out.iterdir()} - {"labels.csv"}
    assert all(row["label"] == "" and float(row["probability"]) <= 1 for row in rows)
    assert main([*arguments, "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["photos"] == 16 and len(record["next"]) == 5
    again = tlearn.label_next(toy_run.run, folder, 5, quiet=True)
    assert [row["path"] for row in record["next"]] == [row["path"] for row in again.rows()]
    assert main([*arguments, "--copy", str(out)]) == 2
    assert "--copy takes a folder that does not exist yet" in capsys.readouterr().err


def test_copies_and_what_the_run_knows_are_left_out(toy_run, folder, tmp_path):
    every = tlearn.label_next(toy_run.run, folder, 50, quiet=True)
    assert every.known == 1 and every.copies == 2 and len(every.candidates) == 12
    assert [reason for name, reason in every.unreadable if name.endswith("broken.jpg")]
    names = [one.path.name for one in every.candidates]
    assert ("larger.jpg" in names) != ("blue02.png" in names)
    with pytest.raises(DataError, match=r"none of the 36 files in .* \(36 it knows\)"):
        tlearn.label_next(toy_run.run, toy_run.photos, quiet=True)
