"""One training on a folder with names of every kind, in the folder itself, and what comes after."""

import json
import os
import shutil
from xml.etree import ElementTree

import pytest

import tlearn
from tlearn.cli import main
from tlearn.csv_files import csv_rows
from tlearn.text import decode_name

pytestmark = pytest.mark.charts

TOY = ["--backbone", "toy", "--weights", "none", "--size", "32", "--preset", "quick", "--quiet"]
ODD = [
    b"Icon\r",
    b"two\nlines.png",
    b"esc\x1b[31m.png",
    b'"quoted", =1+1.png',
    b"=2.png",
    b"\xff.png",
]
GREEN = r"$\foo$ 50 % 赤 & <b>"


@pytest.fixture
def odd_photos(photos, monkeypatch):
    """Give photos and a class odd names, and make their folder the working one."""
    (photos / "blue").rename(photos / "a\nblue\x1b one")
    (photos / "green").rename(photos / GREEN)
    reds = sorted((photos / "red").iterdir())
    try:
        for path, name in zip(reds, ODD, strict=False):
            path.rename(path.with_name(os.fsdecode(name)))
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    monkeypatch.chdir(photos)
    return photos


def test_names_of_every_kind_get_through_and_runs_are_never_data(odd_photos, capsys):
    for number in ("", "-2"):
        name = f"runs/{odd_photos.name}{number}"
        assert main(["finetune", ".", *TOY, "--test", "0.2", "--out", name]) == 0
        run = tlearn.Run(name)
        assert run.labels == (GREEN, "a\nblue\x1b one", "red")
        splits = ("train", "validation", "test")
        files = [path for split in splits for path, _ in run.images(split)]
        assert len(files) == len(set(files)) == 36
        assert {os.fsencode(path.name) for path in files} >= set(ODD)
    first, second = (tlearn.Run(f"runs/{odd_photos.name}{number}") for number in ("", "-2"))
    assert first.record["data"]["digest"] == second.record["data"]["digest"]
    assert [(p["file"], p["kind"]) for p in second.problems()] == [("runs", "folder")]
    assert run.evaluate(".").metrics["n"] == 36 - len(run.images("train"))
    assert len(run.contents()) == 36 == len({*run.contents()})
    assert not {"\x1b", "\r"} & set("".join(capsys.readouterr()))
    for picture in (run.path / "figures").glob("*.svg"):
        ElementTree.parse(picture)
    escaped = GREEN.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    assert escaped in (run.path / "figures/confusion.svg").read_text(encoding="utf-8")
    page = tlearn.report(run).read_text(encoding="utf-8")
    assert "& <b>" not in page and escaped in page
    said = {}
    for form in ("table", "csv", "json"):
        assert main(["predict", str(run.path), "red", "--format", form]) == 0
        said[form] = capsys.readouterr().out
    assert "\x1b" not in said["table"] + said["json"]
    named = {os.fsencode(decode_name(row["path"])) for row in csv_rows(said["csv"])}
    assert named == {os.fsencode(json.loads(line)["path"]) for line in said["json"].splitlines()}
    assert named >= {b"red/" + name for name in ODD} and len(said["table"].splitlines()) == 12
    shutil.rmtree("runs")
