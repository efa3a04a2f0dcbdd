"""All runs of a folder: listed, found, noted on, deleted, taken back."""

import json
import shutil
import time

import pytest
import yaml
from filelock import FileLock

from tlearn.config import RunConfig
from tlearn.errors import RunError
from tlearn.runs.directory import RunDirectory
from tlearn.runs.run_store import LONGEST_NOTE, RunStore


def fake(root, name, accuracy=0.5, stopped=False, backbone="toy", seconds=10.0, test=None):
    """Write the files that a list looks at."""
    path = root / name
    path.mkdir(parents=True)
    record = {"config": {"backbone": backbone, "preset": "quick"}, "data": {"path": "/d/photos"}}
    (path / "run.yaml").write_text(yaml.safe_dump(record))
    (path / "labels.json").write_text('["猫", "dog"]', encoding="utf-8")
    side = {"accuracy": accuracy, "accuracy_ci95": [0.4, 0.6], "n": 20}
    metrics = {"validation": side, "stopped": stopped, "seconds": {"total": seconds}}
    if test is not None:
        metrics["test"] = side | {"accuracy": test}
    (path / "metrics.json").write_text(json.dumps(metrics))
    (path / "model.keras").touch()
    return path


@pytest.fixture
def library(tmp_path):
    fake(tmp_path, "Flowers", 0.9, seconds=30)
    fake(tmp_path, "cats", 0.7, backbone="vgg19", test=0.6, seconds=5)
    fake(tmp_path, "dogs", 0.95, stopped=True, seconds=20)
    (tmp_path / ".trash").mkdir()
    (tmp_path / "no-run").mkdir()
    (tmp_path / "file").write_text("")
    return RunStore(tmp_path)


def names(runs):
    return [run.name for run in runs]


def test_runs_are_listed_in_every_order_and_found_by_words(library):
    assert sorted(names(library.runs())) == ["Flowers", "cats", "dogs"]
    assert names(library.runs(order="accuracy")) == ["dogs", "Flowers", "cats"]
    assert names(library.runs(order="name")) == ["cats", "dogs", "Flowers"]
    assert names(library.runs(order="seconds")) == ["cats", "dogs", "Flowers"]
    assert names(library.runs("VGG cat")) == ["cats"]
    assert names(library.runs("stopped")) == ["dogs"]
    assert not library.runs("nothing of this")
    (cats,) = library.runs("cats")
    assert (cats.accuracy, cats.images) == (0.6, 20)  # on test
    assert cats.labels == ("猫", "dog") and cats.data == "/d/photos"
    assert not RunStore(library.root / "not-there").runs()


def test_every_state_is_listed_and_what_is_damaged_is_said(library):
    (library.root / "cats" / "events.jsonl").write_text('{"event": "queued", "time": 7}\n')
    (library.root / "cats" / "metrics.json").unlink()
    failed = {"event": "failed", "time": 8, "error": "no photos"}
    (library.root / "dogs" / "events.jsonl").write_text(json.dumps(failed) + "\n")
    fake(library.root, "birds")
    (library.root / "birds" / "metrics.json").write_text("{")
    fake(library.root, "fish")
    (library.root / "fish" / "run.yaml").write_text("config: [")
    found = {run.name: run for run in library.runs()}
    assert {name: (run.state, run.usable) for name, run in found.items()} == {
        "Flowers": ("finished", True),
        "cats": ("queued", False),
        "dogs": ("failed", True),  # it was stopped before, and has the model of then
        "birds": ("interrupted", False),
        "fish": ("finished", False),
    }
    assert (found["dogs"].problem, found["dogs"].changed) == ("no photos", 8)
    assert found["cats"].backbone == "vgg19" and not found["cats"].over
    assert found["birds"].problem.startswith("metrics.json of the run 'birds' is damaged")
    assert found["fish"].problem.startswith("run.yaml of the run 'fish' is damaged")
    (library.root / "cats" / "stop").touch()
    assert {run.name: run.state for run in library.runs("cats")} == {"cats": "stopped"}


def test_a_request_that_has_not_begun_is_listed_with_what_was_asked_for(library):
    RunDirectory.create(library.root / "new", RunConfig(preset="best"), library.root / "photos")
    (run,) = library.runs("new")
    assert (run.state, run.preset, run.backbone) == ("interrupted", "best", RunConfig().backbone)
    assert run.data == str(library.root / "photos") and not run.usable


def test_a_list_notices_what_changes(library):
    library.runs()
    shutil.rmtree(library.root / "cats")
    fake(library.root, "new", 0.1)
    assert sorted(names(library.runs())) == ["Flowers", "dogs", "new"]


def test_notes_are_kept_and_found(library):
    library.write_note("cats", "  with 光 in the morning\n")
    assert library.runs("光")[0].note == "with 光 in the morning"
    library.write_note("cats", " ")
    assert not library.runs("光") and not (library.root / "cats" / "note.txt").exists()
    with pytest.raises(RunError, match="up to 2000 characters, not 2001"):
        library.write_note("cats", "x" * (LONGEST_NOTE + 1))


def test_what_is_deleted_can_be_taken_back(library):
    content = sorted(p.name for p in (library.root / "cats").iterdir())
    library.delete("cats")
    library.delete("dogs")
    assert names(library.runs()) == ["Flowers"] and library.trash() == ["dogs", "cats"]
    fake(library.root, "dogs")  # the name was given away meanwhile
    assert library.restore("dogs").name == "dogs-2"
    assert library.restore("cats") == library.root / "cats"
    assert sorted(p.name for p in (library.root / "cats").iterdir()) == content
    with pytest.raises(RunError, match="'cats' is not among the deleted ones"):
        library.restore("cats")


def test_a_deleted_run_is_gone_for_good_after_a_month(library, monkeypatch):
    now = time.time_ns()
    for name, days in (("cats", 31), ("dogs", 29), ("Flowers", 0)):
        monkeypatch.setattr("time.time_ns", lambda days=days: now - days * 86_400 * 10**9)
        library.delete(name)
    assert library.trash() == ["Flowers", "dogs"]


def test_what_a_training_works_on_stays(library):
    with FileLock(library.root / "dogs" / ".lock"):
        with pytest.raises(RunError, match="stop it first"):
            library.delete("dogs")
        (dogs,) = library.runs("dogs")
        assert dogs.state == "running" and not dogs.stopping
        (library.root / "dogs" / "stop").touch()
        assert [run.stopping for run in library.runs("dogs")] == [True]


@pytest.mark.parametrize("name", ["", ".", "..", ".trash", "../x", "nothing", "cats/../dogs"])
def test_only_runs_of_the_folder_are_touched(library, name):
    for do in (library.path_of, library.delete, lambda name: library.write_note(name, "x")):
        with pytest.raises(RunError, match="there is no run"):
            do(name)
