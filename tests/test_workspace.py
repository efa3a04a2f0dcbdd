"""Where the pages look for data sets."""

import os

import pytest

from tlearn.errors import DataError, RunError
from tlearn.web.workspace import Workspace


@pytest.fixture
def here(tmp_path):
    for name in (
        "flowers/daisy",
        "flowers/rose/more",
        ".uploads/x/y",
        "archive/pets/cat",
        "archive/pets/dog",
        "archive/cars/red",
        "split/train/a",
        "split/test/a",
        "no-classes",
        "名/猫",
    ):
        (tmp_path / "data" / name).mkdir(parents=True)
    return Workspace(tmp_path / "data", tmp_path / "runs")


def test_folders_of_class_folders_are_found_at_any_depth(here):
    assert here.data_sets() == ["archive/cars", "archive/pets", "flowers", "split", "名"]
    (here.data / "no-classes" / "a.csv").write_text("month,price\n1,2\n")
    assert "no-classes" not in here.data_sets()
    (here.data / "no-classes" / "a.csv").write_text("path,label\na.jpg,cat\n")
    assert "no-classes" in here.data_sets()
    assert not Workspace(here.data / "nothing", here.runs).data_sets()


def test_what_cannot_be_listed_is_passed_over(here, monkeypatch):
    scan = os.scandir

    def refuse(path):
        if path.name == "split":
            raise PermissionError(13, "denied")
        return scan(path)

    monkeypatch.setattr("os.scandir", refuse)
    assert "split" not in here.data_sets()


def test_only_folders_below_the_root_are_given(here, tmp_path):
    (tmp_path / "elsewhere" / "a").mkdir(parents=True)
    (here.data / "link").symlink_to(tmp_path / "elsewhere")
    assert "link" not in here.data_sets()
    for name in ("../runs", "/etc", "nothing", "flowers/../../x", "link"):
        with pytest.raises(DataError):
            here.data_set(name)


def test_what_is_predicted_lasts_as_long_as_its_server(here):
    scratch = here.scratch
    (scratch / "photos").mkdir()
    assert here.scratch == scratch and scratch.parent == here.predictions.resolve()
    assert scratch.stat().st_mode & 0o077 == 0


def test_a_folder_knows_its_name(here, tmp_path):
    assert here.name_of(here.data / "archive" / "pets") == "archive/pets"
    assert here.name_of(tmp_path) is None
    own, others = str(here.data / "pets"), ("/one/far/pets", "/two/far/pets", "/one/cars", "")
    assert here.titles_of([own, *others]) == {
        own: "data/pets",
        **dict(zip(others, ("one/far/pets", "two/far/pets", "cars", ""), strict=True)),
    }
    assert here.titles_of([own, *others[2:]])[own] == "pets"


def test_the_roots_come_from_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("TLEARN_DATA_ROOT", str(tmp_path / "d"))
    monkeypatch.delenv("TLEARN_RUNS_ROOT", raising=False)
    monkeypatch.chdir(tmp_path)
    assert Workspace.from_environment() == Workspace(tmp_path / "d", tmp_path / "runs")


def test_names_that_would_not_be_seen_or_lead_away_are_refused(here):
    for name in ("", ".hidden", "a/b", "a\\b", "..", "CON"):
        for new in (here.new_data_set, here.new_run):
            with pytest.raises(DataError, match="choose another name"):
                new(name)


def test_new_places_are_free(here):
    assert here.new_data_set("new") == here.data / "new"
    assert here.new_data_set("flowers") == here.data / "flowers-2"
    (here.data / "flowers-2.edits.csv").touch()  # of a data set that is gone
    assert here.new_data_set("flowers") == here.data / "flowers-3"
    assert here.new_run("光") == here.runs / "光"
    (here.runs / "one").mkdir(parents=True)
    with pytest.raises(RunError, match="there is a run 'one' already"):
        here.new_run("one")
