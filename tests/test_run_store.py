"""All runs of a folder: listed, found, noted on, deleted, taken back."""

import json
import shutil

import pytest
import yaml

from tlearn.errors import RunError
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
    return path


@pytest.fixture
def library(tmp_path):
    fake(tmp_path, "Flowers", 0.9, seconds=30)
    fake(tmp_path, "cats", 0.7, backbone="vgg19", test=0.6, seconds=5)
    fake(tmp_path, "dogs", 0.95, stopped=True, seconds=20)
    (tmp_path / ".queue").mkdir()
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
    assert (cats.side, cats.accuracy, cats.images) == ("test", 0.6, 20)
    assert cats.labels == ("猫", "dog") and cats.data == "/d/photos"
    assert not RunStore(library.root / "not-there").runs()


def test_unfinished_and_damaged_runs_are_listed_as_such(library):
    (library.root / "cats" / "UNFINISHED").write_text("")
    (library.root / "dogs" / "metrics.json").write_text("{")
    (library.root / "new").mkdir()
    (library.root / "new" / "UNFINISHED").write_text("")
    states = {run.name: run.state for run in library.runs()}
    assert states == {
        "Flowers": "finished",
        "cats": "unfinished",
        "dogs": "damaged",
        "new": "unfinished",
    }
    assert {run.backbone for run in library.runs("cats")} == {"vgg19"}


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
    assert library.undo().name == "dogs-2"
    assert library.undo() == library.root / "cats"
    assert sorted(p.name for p in (library.root / "cats").iterdir()) == content
    with pytest.raises(RunError, match="nothing to take back"):
        library.undo()
    library.delete("cats")
    library.empty_trash()
    assert not library.trash()


def test_what_a_training_works_on_stays(library):
    with pytest.raises(RunError, match="stop it first"):
        library.delete("cats", busy=[library.root / "cats"])


@pytest.mark.parametrize("name", ["", ".", "..", ".queue", "../x", "nothing", "cats/../dogs"])
def test_only_runs_of_the_folder_are_touched(library, name):
    for do in (library.path_of, library.delete, lambda name: library.write_note(name, "x")):
        with pytest.raises(RunError, match="there is no run"):
            do(name)
