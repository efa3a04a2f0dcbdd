"""Mending a data folder: what goes where, what is refused, and that nothing is ever lost."""

import json
import multiprocessing
import os
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import unicodedata
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image

from tlearn.data import journal
from tlearn.data.doctor import Action, Doctor
from tlearn.data.scan import scan
from tlearn.errors import DataError

NFD = unicodedata.normalize("NFD", "Käfer")
NFC = unicodedata.normalize("NFC", NFD)
CONTROL = {"journal.jsonl", ".lock", ".copying"}


class Crash(BaseException):
    """The end of the process, as far as the code under test can see."""


def fill(root, *names):
    """Write a file of its own content at each path."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"content of " + os.fsencode(name))
    return root


def tree(folder):
    """Return everything below a folder: contents of files, targets of links, ``None`` for folders.

    The files that the journal is kept in are left out.
    """
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink():
            found[name] = ("link", str(path.readlink()))
        elif path.is_dir():
            found[name] = None
        elif name not in CONTROL:
            found[name] = path.read_bytes()
    return found


def contents(doctor):
    """Return the contents of all files in the data and in the quarantine."""
    values = [*tree(doctor.root).values(), *tree(doctor.quarantine_folder).values()]
    return Counter(value for value in values if value is not None)


def files(folder):
    return [name for name, value in tree(folder).items() if value is not None]


def refusal(function, *arguments):
    with pytest.raises(DataError) as caught:
        function(*arguments)
    text = str(caught.value)
    assert "\n" not in text and text.isprintable()
    return text


@pytest.fixture
def root(tmp_path):
    names = ("roses/a.jpg", "roses/b.jpg", "roses/more/c.jpg", "tulips/a.jpg", "daisy/d.jpg")
    return fill(tmp_path / "photos", *names)


@pytest.fixture
def sides(tmp_path):
    names = [f"{side}/{label}/{side}.jpg" for side in ("train", "val") for label in ("ox", "cow")]
    return fill(tmp_path / "photos", *names, "test/cow/1.jpg")


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "elsewhere" / "new.png"
    path.parent.mkdir()
    Image.new("RGB", (8, 8), "red").save(path)
    return path


def test_a_doctor_needs_a_folder_and_changes_nothing_by_itself(root, tmp_path):
    assert "not there" in refusal(Doctor, tmp_path / "none")
    assert "a file" in refusal(Doctor, root / "roses/a.jpg")
    assert "whole disk" in refusal(Doctor, Path("/"))
    before = tree(tmp_path)
    doctor = Doctor(root)
    assert doctor.quarantine_folder == tmp_path / "photos-quarantine"
    assert doctor.history() == [] and doctor.undo() is None
    assert tree(tmp_path) == before


def test_quarantine_keeps_the_path_and_undo_brings_it_back(root):
    before = tree(root)
    doctor = Doctor(root)
    started = time.time()
    action = doctor.quarantine(["roses/a.jpg", "roses/more/c.jpg", "roses/a.jpg"])
    assert action == Action(
        1,
        "quarantine",
        action.time,
        (
            ("photos/roses/a.jpg", "photos-quarantine/roses/a.jpg"),
            ("photos/roses/more/c.jpg", "photos-quarantine/roses/more/c.jpg"),
        ),
        {},
        False,
    )
    assert started <= action.time <= time.time()
    assert files(doctor.quarantine_folder) == ["roses/a.jpg", "roses/more/c.jpg"]
    assert not (root / "roses/more").exists() and (root / "roses/b.jpg").exists()
    undone = doctor.undo()
    assert undone.undone and undone.number == 1 and undone.moves == action.moves
    assert tree(root) == before and tree(doctor.quarantine_folder) == {}
    assert doctor.undo() is None and doctor.history() == [undone]


def test_move_goes_to_a_class_there_or_new_and_overwrites_nothing(root):
    before = tree(root)
    doctor = Doctor(root)
    action = doctor.move(["roses/a.jpg", "roses/more/c.jpg"], "tulips")
    assert action.kind == "move" and action.detail == {"to": "tulips"}
    assert action.moves[0] == ("photos/roses/a.jpg", "photos/tulips/a-2.jpg")
    assert action.moves[1] == ("photos/roses/more/c.jpg", "photos/tulips/more/c.jpg")
    assert (root / "tulips/a.jpg").read_bytes() == b"content of tulips/a.jpg"
    assert (root / "tulips/a-2.jpg").read_bytes() == b"content of roses/a.jpg"
    doctor.move(["roses/b.jpg"], "薔薇")
    assert not (root / "roses").exists() and (root / "薔薇/b.jpg").exists()
    assert [action.number for action in doctor.history()] == [2, 1]
    doctor.undo()
    assert [action.undone for action in doctor.history()] == [True, False]
    doctor.undo()
    assert tree(root) == before


def test_what_is_in_its_class_already_stays(root):
    doctor = Doctor(root)
    action = doctor.move(["roses/a.jpg", "tulips/a.jpg"], "tulips")
    assert [source for source, _ in action.moves] == ["photos/roses/a.jpg"]
    assert "nothing to move" in refusal(doctor.move, ["tulips/a.jpg"], "tulips")
    assert "no photo is named" in refusal(doctor.move, [], "tulips")


def test_an_image_outside_any_class_can_be_put_into_one(sides):
    fill(sides, "stray.jpg", "train/lost.jpg")
    action = Doctor(sides).move(["stray.jpg", "train/lost.jpg"], "ox")
    targets = [target for _, target in action.moves]
    assert targets == ["photos/train/ox/stray.jpg", "photos/train/ox/lost.jpg"]


def test_names_that_are_taken_get_numbers(root):
    long = "n" * 251 + ".jpg"
    fill(root, "tulips/a-2.jpg", "roses/noending", "tulips/noending", f"roses/{long}")
    fill(root, f"tulips/{long}", "tulips/more")  # a file where a folder would be
    doctor = Doctor(root)
    moves = dict(doctor.merge(["roses"], "tulips").moves)
    assert moves["photos/roses/a.jpg"] == "photos/tulips/a-3.jpg"
    assert moves["photos/roses/noending"] == "photos/tulips/noending-2"
    assert moves["photos/roses/more/c.jpg"] == "photos/tulips/more-2/c.jpg"
    assert moves[f"photos/roses/{long}"] == f"photos/tulips/{'n' * 249}-2.jpg"
    fill(root, "roses/a.jpg")
    doctor.quarantine(["tulips/a.jpg"])
    fill(root, "tulips/a.jpg")
    action = doctor.quarantine(["tulips/a.jpg"])
    assert action.moves[0][1] == "photos-quarantine/tulips/a-2.jpg"


def test_rename_takes_the_whole_class_on_every_side(sides):
    fill(sides, "train/ox/.hidden", "train/ox/deep/x.jpg")
    before = tree(sides)
    doctor = Doctor(sides)
    action = doctor.rename("ox", "ثور")
    assert action.detail == {"label": "ox", "to": "ثور"}
    assert set(action.moves) == {
        ("photos/train/ox", "photos/train/ثور"),
        ("photos/val/ox", "photos/val/ثور"),
    }
    assert (sides / "train/ثور/.hidden").exists() and not (sides / "val/ox").exists()
    assert "already" in refusal(doctor.rename, "ثور", "cow")
    assert "already" in refusal(doctor.rename, "cow", "cow")
    assert "did you mean 'cow'" in refusal(doctor.rename, "cows", "bull")
    fill(sides, "train/bull")
    assert "is a file" in refusal(doctor.rename, "cow", "bull")
    (sides / "train/bull").unlink()
    fill(sides, "train/ثور/later.jpg")  # what came since goes along
    doctor.undo()
    assert (sides / "train/ox/later.jpg").exists()
    (sides / "train/ox/later.jpg").unlink()
    assert tree(sides) == before


def test_merge_joins_classes_on_every_side_and_removes_their_folders(sides):
    fill(sides, "train/ox/.hidden", "train/ox/@eaDir/preview.jpg", "train/cow/train-2.jpg")
    (sides / "train/ox/empty/deeper").mkdir(parents=True)
    (sides / "test/cow/empty").mkdir()
    before = tree(sides)
    doctor = Doctor(sides)
    everything = contents(doctor)
    action = doctor.merge(["ox", "cow"], "cow")
    assert action.detail == {"label": "ox, cow", "to": "cow"}
    assert not (sides / "train/ox").exists() and not (sides / "val/ox").exists()
    assert (sides / "train/cow/train-3.jpg").read_bytes() == b"content of train/ox/train.jpg"
    assert (sides / "test/cow/empty").is_dir()
    hidden = ["train/ox/.hidden", "train/ox/@eaDir/preview.jpg"]
    assert files(doctor.quarantine_folder) == hidden and contents(doctor) == everything
    assert "no class 'ox'" in refusal(doctor.merge, ["ox"], "cow")
    assert "nothing to move" in refusal(doctor.merge, ["cow"], "cow")
    doctor.undo()
    assert tree(sides) == before
    doctor.merge(["ox", "cow"], "cattle")
    assert {path.name for path in (sides / "train").iterdir()} == {"cattle"}
    doctor.undo()
    assert tree(sides) == before


def test_add_copies_a_photo_and_undo_keeps_the_copy(root, photo):
    before = tree(root)
    doctor = Doctor(root)
    action = doctor.add(photo, "tulips")
    assert action.detail == {"label": "tulips", "photo": str(photo)}
    assert (root / "tulips/new.png").read_bytes() == photo.read_bytes()
    assert tree(doctor.quarantine_folder) == {}
    doctor.add(photo, "tulips")
    doctor.add(photo, "lilies")
    assert (root / "tulips/new-2.png").exists() and (root / "lilies/new.png").exists()
    for _ in range(3):
        assert doctor.undo().kind == "add"
    assert tree(root) == before
    kept = ["lilies/new.png", "tulips/new-2.png", "tulips/new.png"]
    assert sorted(files(doctor.quarantine_folder)) == kept


def test_add_goes_to_training_where_there_are_sides(sides, photo):
    Doctor(sides).add(photo, "ox")
    assert (sides / "train/ox/new.png").exists()
    shutil.rmtree(sides / "train")
    doctor = Doctor(sides)
    doctor.add(photo, "ox")
    assert (sides / "train/ox/new.png").exists()
    doctor.undo()
    assert not (sides / "train").exists()


def test_add_takes_photos_only(root, photo, tmp_path):
    doctor = Doctor(root)
    before = tree(root)
    assert "no photo" in refusal(doctor.add, tmp_path / "none.jpg", "roses")
    assert "no photo" in refusal(doctor.add, tmp_path, "roses")
    assert "not an image" in refusal(doctor.add, root / "roses/a.jpg", "roses")
    hidden = photo.rename(photo.with_name(".new.png"))
    assert "no photo" in refusal(doctor.add, hidden, "roses")
    assert tree(root) == before


def test_half_a_copy_of_a_crash_is_no_obstacle(root, photo, tmp_path):
    doctor = Doctor(root)
    doctor.quarantine_folder.mkdir()
    (doctor.quarantine_folder / ".copying").symlink_to(tmp_path / "precious")
    fill(tmp_path, "precious")
    doctor.add(photo, "roses")
    assert (tmp_path / "precious").read_bytes() == b"content of precious"
    assert (root / "roses/new.png").read_bytes() == photo.read_bytes()


HOSTILE = [
    "",
    " ",
    ".",
    "..",
    "../x",
    "a/b",
    "a\\b",
    "/etc",
    ".hidden",
    "a\nb",
    "a\0b",
    "a\u202eb",
    "a\u200bb",
    "a\u2028b",
    "\ud800",
    "thumbs.db",
    "Thumbs.DB",
    "__MACOSX",
    "x.cache",
    " x",
    "x ",
    "x" * 101,
    "猫" * 90,
]


def refusals_of(name, doctor, photo):
    """Return what is said to a name for a class by everything that may make one."""
    return [
        refusal(doctor.move, ["roses/a.jpg"], name),
        refusal(doctor.rename, "roses", name),
        refusal(doctor.merge, ["roses"], name),
        refusal(doctor.add, photo, name),
    ]


@pytest.mark.parametrize("name", HOSTILE, ids=ascii)
def test_names_that_no_class_may_have_are_refused(root, photo, name):
    doctor = Doctor(root)
    before = tree(root)
    for refused in refusals_of(name, doctor, photo):
        assert "class name" in refused and len(refused) < 500
    assert tree(root) == before and doctor.history() == []


@pytest.mark.parametrize("name", ["猫", "قطة", "x" * 100, "a'b c", "100%", "train set", "console"])
def test_names_that_a_class_may_have_are_taken(root, name):
    before = tree(root)
    doctor = Doctor(root)
    doctor.rename("roses", name)
    doctor.merge([name], "tulips")
    doctor.move(["tulips/b.jpg"], name)
    assert (root / name / "b.jpg").exists()
    while doctor.undo():
        pass
    assert tree(root) == before


@pytest.mark.parametrize("name", ["train", "Val", "validation", "TEST", "training", "valid"])
def test_names_of_sides_are_refused_where_they_would_mean_sides(root, photo, name):
    doctor = Doctor(root)
    for refused in refusals_of(name, doctor, photo):
        assert "a side of the split" in refused


def test_names_of_sides_may_be_classes_below_sides(sides):
    Doctor(sides).rename("ox", "train")
    assert (sides / "train/train/train.jpg").exists()
    assert (sides / "val/train/val.jpg").exists()


def test_what_would_turn_classes_into_sides_is_taken_back(tmp_path):
    root = fill(tmp_path / "photos", "train/1.jpg", "train/steam/2.jpg", "bus/1.jpg")
    before = tree(root)
    doctor = Doctor(root)
    for refused in (
        refusal(doctor.merge, ["bus"], "train"),
        refusal(doctor.quarantine, ["bus/1.jpg"]),
        refusal(doctor.quarantine, ["train/1.jpg"]),
    ):
        assert "split" in refused
        assert tree(root) == before and doctor.history() == []
    doctor.rename("train", "tram")
    doctor.merge(["bus"], "tram")
    assert doctor.undo() and doctor.undo() and tree(root) == before


@pytest.mark.parametrize(
    "name",
    [
        "/etc/passwd",
        "../x.jpg",
        "roses/../../x.jpg",
        "roses/./a.jpg",
        "roses//a.jpg",
        "",
        ".",
        "a\0b",
        "roses/.hidden",
        "roses/none.jpg",
        "roses",
        "none/a.jpg",
        "roses/a.jpg/b",
        "roses/",
    ],
    ids=ascii,
)
def test_names_that_are_no_photo_of_the_folder_are_refused(root, tmp_path, name):
    fill(tmp_path, "x.jpg"), fill(root, "roses/.hidden")
    before = tree(root)
    doctor = Doctor(root)
    refusal(doctor.quarantine, ["roses/b.jpg", name])
    refusal(doctor.move, ["roses/b.jpg", name], "tulips")
    assert tree(root) == before and (tmp_path / "x.jpg").exists()


def test_what_is_behind_a_link_is_left_alone(root, tmp_path):
    outside = fill(tmp_path / "outside", "x.jpg", "more/y.jpg")
    (root / "linked").symlink_to(outside)
    (root / "roses/link").symlink_to(outside / "more")
    (root / "roses/inner").symlink_to(root / "tulips")
    before = tree(tmp_path)
    doctor = Doctor(root)
    for refused in (
        refusal(doctor.quarantine, ["linked/x.jpg"]),
        refusal(doctor.quarantine, ["roses/link/y.jpg"]),
        refusal(doctor.quarantine, ["roses/inner/a.jpg"]),
        refusal(doctor.move, ["roses/a.jpg"], "linked"),
        refusal(doctor.merge, ["linked"], "roses"),
        refusal(doctor.merge, ["roses"], "linked"),
    ):
        assert "link" in refused
    shutil.rmtree(doctor.quarantine_folder)
    assert tree(tmp_path) == before
    doctor.rename("linked", "flowers")
    assert (root / "flowers").is_symlink()
    doctor.quarantine(["roses/link"])
    assert (doctor.quarantine_folder / "roses/link").is_symlink()
    while doctor.undo():
        pass
    shutil.rmtree(doctor.quarantine_folder)
    assert tree(tmp_path) == before


def test_links_are_moved_as_links_even_if_they_lead_nowhere(root):
    (root / "roses/broken.jpg").symlink_to("nowhere.jpg")
    (root / "roses/a-link.jpg").symlink_to("a.jpg")
    before = tree(root)
    doctor = Doctor(root)
    doctor.merge(["roses"], "tulips")
    assert (root / "tulips/broken.jpg").readlink() == Path("nowhere.jpg")
    assert (root / "tulips/a-link.jpg").readlink() == Path("a.jpg")
    doctor.undo()
    assert tree(root) == before


def test_a_data_folder_behind_a_link_is_mended_where_it_is(root, tmp_path):
    (tmp_path / "short").symlink_to(root)
    doctor = Doctor(tmp_path / "short")
    doctor.quarantine(["roses/a.jpg"])
    assert doctor.quarantine_folder == tmp_path / "photos-quarantine"
    assert Doctor(root).undo().number == 1


def test_a_quarantine_folder_that_is_a_link_is_refused(root, tmp_path):
    (tmp_path / "target").mkdir()
    (tmp_path / "photos-quarantine").symlink_to(tmp_path / "target")
    assert "link" in refusal(Doctor(root).quarantine, ["roses/a.jpg"])
    assert tree(tmp_path / "target") == {} and (root / "roses/a.jpg").exists()


def test_a_photo_may_be_called_as_the_journal_is(root):
    fill(root, "journal.jsonl", "journal.jsonl.d/x.jpg")
    before = tree(root)
    doctor = Doctor(root)
    doctor.quarantine(["daisy/d.jpg"])
    doctor.quarantine(["journal.jsonl"])
    assert (doctor.quarantine_folder / "journal-2.jsonl").exists()
    doctor.undo(), doctor.undo()
    assert tree(root) == before


def test_folders_in_two_unicode_spellings_are_one_class(tmp_path):
    root = fill(tmp_path / "photos", f"{NFD}/1.jpg", "ox/1.jpg")
    doctor = Doctor(root)
    action = doctor.move(["ox/1.jpg"], NFC)
    assert action.moves[0][1] == f"photos/{NFD}/1-2.jpg"
    doctor.undo()
    doctor.rename(NFD, "beetle")
    doctor.undo()
    assert (root / NFD).is_dir()
    doctor.rename("ox", unicodedata.normalize("NFD", "Kühe"))
    assert (root / unicodedata.normalize("NFC", "Kühe")).is_dir()
    doctor.undo()
    fill(root, f"{NFC}/1.jpg")
    if len([path for path in root.iterdir() if path.name != "ox"]) < 2:
        pytest.skip("this file system takes both spellings for one")
    before = tree(root)
    assert "two Unicode spellings" in refusal(doctor.rename, NFC, "beetle")
    doctor.merge([NFC], NFC)
    assert len(list(root.iterdir())) == 2
    doctor.rename(NFC, "beetle")
    assert sorted(path.name for path in (root / "beetle").iterdir()) == ["1-2.jpg", "1.jpg"]
    doctor.undo(), doctor.undo()
    assert tree(root) == before


def test_names_that_are_not_utf8_are_found_as_a_manifest_has_them(root):
    odd = os.fsdecode(b"caf\xe9")
    try:
        fill(root, f"{odd}/{odd}.jpg")
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    fill(root, f"tulips/{odd}.jpg")
    before = tree(root)
    doctor = Doctor(root)
    action = doctor.move([r"caf\udce9/caf\udce9.jpg"], "tulips")
    assert action.moves[0][1] == r"photos/tulips/caf\udce9-2.jpg"
    assert Doctor(root).history() == [action]
    doctor.undo()
    doctor.merge([r"caf\udce9"], "tulips")
    doctor.undo()
    assert tree(root) == before


def test_a_manifest_names_what_can_be_moved(photos):
    manifest = scan(photos)
    doctor = Doctor(photos)
    doctor.move([file.name for file in manifest.files if file.label == "red"], "green")
    assert scan(photos).counts == {"blue": 12, "green": 24}
    doctor.undo()
    assert scan(photos) == manifest


def test_undo_refuses_what_has_changed_or_vanished(root):
    doctor = Doctor(root)
    doctor.move(["roses/a.jpg", "roses/b.jpg"], "lilies")
    moved = root / "lilies/b.jpg"
    state = moved.stat()
    moved.write_bytes(b"else")
    now = tree(root)
    assert f"'{moved}' has changed" in refusal(doctor.undo)
    moved.unlink()
    assert f"'{moved}' is gone" in refusal(doctor.undo)
    moved.write_bytes(b"content of roses/b.jpg")
    os.utime(moved, ns=(state.st_atime_ns, state.st_mtime_ns + 1))
    assert "has changed" in refusal(doctor.undo)
    os.utime(moved, ns=(state.st_atime_ns, state.st_mtime_ns))
    fill(root, "roses/a.jpg")
    assert "something else" in refusal(doctor.undo)
    (root / "roses/a.jpg").unlink()
    moved.write_bytes(b"else")
    assert tree(root) == now and [a.undone for a in doctor.history()] == [False]
    moved.write_bytes(b"content of roses/b.jpg")
    os.utime(moved, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert doctor.undo().undone


def test_undo_keeps_what_others_put_into_a_new_class(root):
    doctor = Doctor(root)
    doctor.move(["roses/a.jpg"], "lilies")
    fill(root, "lilies/other.jpg")
    doctor.undo()
    assert files(root / "lilies") == ["other.jpg"]


def test_a_folder_that_was_empty_before_stays_when_undone(root):
    (root / "lilies").mkdir()
    before = tree(root)
    doctor = Doctor(root)
    doctor.move(["roses/a.jpg"], "lilies")
    doctor.undo()
    assert tree(root) == before


def test_both_folders_may_be_renamed_together(root, tmp_path):
    before = tree(root)
    doctor = Doctor(root)
    doctor.quarantine(["roses/a.jpg"])
    renamed = root.rename(tmp_path / "flowers")
    doctor.quarantine_folder.rename(tmp_path / "flowers-quarantine")
    action = Doctor(renamed).undo()
    assert action.moves == (("flowers/roses/a.jpg", "flowers-quarantine/roses/a.jpg"),)
    assert tree(renamed) == before


def steps(photo):
    """Every kind of action, with the number of moves it makes in the folder ``crowd`` makes."""
    return {
        "quarantine": lambda doctor: doctor.quarantine(["roses/a.jpg", "roses/more/c.jpg"]),
        "move": lambda doctor: doctor.move(["roses/a.jpg", "roses/b.jpg", "daisy/d.jpg"], "new"),
        "rename": lambda doctor: doctor.rename("roses", "tea roses"),
        "merge": lambda doctor: doctor.merge(["roses", "daisy"], "tulips"),
        "add": lambda doctor: doctor.add(photo, "new"),
    }


def crashing(patch, k, error):
    """Let the k-th ``os.rename`` and all that follow raise; return how many were asked for."""
    real, asked = os.rename, []

    def rename(*arguments, **options):
        asked.append(arguments)
        if len(asked) > k:
            raise error
        return real(*arguments, **options)

    patch.setattr(os, "rename", rename)
    return asked


@pytest.mark.parametrize("error", [Crash(), OSError(5, "Input/output error")], ids=["end", "disk"])
@pytest.mark.parametrize("kind", ["quarantine", "move", "rename", "merge", "add"])
def test_a_crash_in_an_action_leaves_it_not_begun(root, photo, kind, error):
    before = tree(root)
    k = finished = 0
    while not finished:
        doctor = Doctor(root)
        everything = contents(doctor)
        with pytest.MonkeyPatch.context() as patch:
            crashing(patch, k, error)
            try:
                steps(photo)[kind](doctor)
                finished = True
            except (Crash, DataError):
                pass
        if finished:
            break
        doctor = Doctor(root)
        assert tree(root) == before and doctor.history() == []
        lost = everything - contents(doctor)
        assert not lost
        if kind != "add":  # whose copy is in the quarantine
            assert contents(doctor) == everything
        k += 1
    assert k >= 1 and tree(root) != before
    assert Doctor(root).undo().kind == kind and tree(root) == before


@pytest.mark.parametrize("error", [Crash(), OSError(5, "Input/output error")], ids=["end", "disk"])
@pytest.mark.parametrize("kind", ["quarantine", "move", "rename", "merge", "add"])
def test_a_crash_in_an_undo_leaves_it_not_begun(root, photo, kind, error):
    before = tree(root)
    action = steps(photo)[kind](Doctor(root))
    after = tree(root)
    for k in range(len(action.moves)):
        doctor = Doctor(root)
        everything = contents(doctor)
        with pytest.MonkeyPatch.context() as patch:
            crashing(patch, k, error)
            with pytest.raises((Crash, DataError)):
                doctor.undo()
        doctor = Doctor(root)
        assert tree(root) == after and contents(doctor) == everything
        assert doctor.history() == [action]
    assert doctor.undo().undone and tree(root) == before


def test_the_same_doctor_goes_on_after_a_crash(root):
    before = tree(root)
    doctor = Doctor(root)
    with pytest.MonkeyPatch.context() as patch:
        crashing(patch, 2, Crash())
        with pytest.raises(Crash):
            doctor.merge(["roses"], "tulips")
    assert tree(root) != before
    assert doctor.quarantine(["roses/a.jpg"]).number == 2
    doctor.undo()
    assert tree(root) == before


def test_a_crash_before_the_done_line_or_between_folders_is_taken_back(root, monkeypatch):
    before = tree(root)
    for name, at in (("fsync", 1), ("rmdir", 0), ("fsync", 0)):
        with monkeypatch.context() as patch:
            real, asked = getattr(os, name), []

            def stop(*arguments, real=real, asked=asked, at=at):
                asked.append(arguments)
                if len(asked) > at:
                    raise Crash
                return real(*arguments)

            patch.setattr(os, name, stop)
            with pytest.raises(Crash):
                Doctor(root).merge(["roses"], "tulips")
        # A line that was written but not surely kept counts as written.
        doctor = Doctor(root)
        done = [action for action in doctor.history() if not action.undone]
        assert (tree(root) == before) == (done == [])
        doctor.undo()
        assert tree(root) == before


def test_a_disk_without_room_for_the_journal_changes_nothing(root, monkeypatch):
    before = tree(root)
    doctor = Doctor(root)

    def full(_):
        raise OSError(28, "No space left on device")

    for at in (0, 1):
        with monkeypatch.context() as patch:
            real, asked = os.fsync, []

            def fsync(file, real=real, asked=asked, at=at):
                asked.append(file)
                return full(file) if len(asked) > at else real(file)

            patch.setattr(os, "fsync", fsync)
            assert "No space left" in refusal(doctor.merge, ["roses"], "tulips")
        assert tree(Doctor(root).root) == before and doctor.history() == []
    doctor.merge(["roses"], "tulips")
    after = tree(root)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        assert "No space left" in refusal(doctor.undo)
    assert tree(Doctor(root).root) == after
    assert doctor.undo().undone and tree(root) == before


@pytest.mark.parametrize("torn", ['{"event":"done","num', '{"event":"begin"', "\0\0\0", "\xff"])
def test_a_torn_last_line_is_no_obstacle(root, torn):
    before = tree(root)
    doctor = Doctor(root)
    first = doctor.quarantine(["roses/a.jpg"])
    with (doctor.quarantine_folder / "journal.jsonl").open("ab") as file:
        file.write(torn.encode("latin-1"))
    assert Doctor(root).history() == [first]
    second = Doctor(root).quarantine(["roses/b.jpg"])
    assert Doctor(root).history() == [second, first]
    doctor.undo(), doctor.undo()
    assert tree(root) == before


def test_every_tear_of_the_journal_leaves_a_state_from_before_or_after(root, tmp_path):
    doctor = Doctor(root)
    doctor.merge(["roses"], "tulips")
    doctor.quarantine(["tulips/b.jpg"])
    path = doctor.quarantine_folder / "journal.jsonl"
    whole = path.read_bytes()
    start = len(b"".join(whole.splitlines(keepends=True)[:3]))  # the last line: done
    everything = contents(doctor)
    for end in range(start, len(whole)):
        copy = tmp_path / f"copy{end}"
        shutil.copytree(root, copy / "photos")
        shutil.copytree(doctor.quarantine_folder, copy / "photos-quarantine")
        (copy / "photos-quarantine/journal.jsonl").write_bytes(whole[:end])
        other = Doctor(copy / "photos")
        assert [action.kind for action in other.history()] == ["merge"]
        assert (copy / "photos/tulips/b.jpg").exists() and contents(other) == everything


def test_a_damaged_journal_is_said_to_be_one(root):
    doctor = Doctor(root)
    doctor.quarantine(["roses/a.jpg"])
    path = doctor.quarantine_folder / "journal.jsonl"
    whole = path.read_text()
    outside = whole.replace("data/roses/a.jpg", "data/../../roses/a.jpg")
    for text in ("nonsense\n" + whole, "[]\n" + whole, outside, whole.splitlines()[1] + "\n"):
        path.write_text(text)
        assert "line 1 of the journal" in refusal(Doctor, root)
    path.write_text(whole)
    assert Doctor(root).undo().number == 1


def test_a_place_taken_after_a_crash_is_named_and_nothing_overwritten(root):
    before = tree(root)
    with pytest.MonkeyPatch.context() as patch:
        crashing(patch, 1, Crash())
        with pytest.raises(Crash):
            Doctor(root).quarantine(["roses/a.jpg", "roses/b.jpg"])
    (root / "roses/a.jpg").write_bytes(b"a stranger's")
    assert "roses/a.jpg" in refusal(Doctor, root)
    assert (root / "roses/a.jpg").read_bytes() == b"a stranger's"
    (root / "roses/a.jpg").unlink()
    assert Doctor(root).history() == [] and tree(root) == before


def test_another_disk_is_told_in_a_line(root, monkeypatch):
    before = tree(root)

    def rename(source, target):
        raise OSError(18, "Invalid cross-device link", source, None, target)

    monkeypatch.setattr(os, "rename", rename)
    assert "on another disk" in refusal(Doctor(root).quarantine, ["roses/a.jpg"])
    assert tree(root) == before


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="needs users as Unix has them")
@pytest.mark.parametrize("closed", ["parent", "data", "class"])
def test_without_permission_nothing_changes(root, photo, closed):
    place = Path(tempfile.mkdtemp(dir="/tmp"))
    try:
        shutil.copytree(root, place / "photos")
        photo = Path(shutil.copy(photo, place))
        folders = {"parent": place, "data": place / "photos", "class": place / "photos/roses"}
        before = tree(place / "photos")
        root_user = os.geteuid() == 0
        if root_user:
            for path in (place, *place.rglob("*")):
                os.chown(path, 65534, 65534)
        folders[closed].chmod(0o555)
        if root_user:
            os.seteuid(65534)
        doctor = Doctor(place / "photos")
        for refused in (
            refusal(doctor.merge, ["daisy", "roses"], "tulips"),
            refusal(doctor.move, ["daisy/d.jpg", "roses/a.jpg"], "new"),
            refusal(doctor.quarantine, ["daisy/d.jpg", "roses/a.jpg"]),
        ):
            assert "Permission denied" in refused
            assert tree(place / "photos") == before and doctor.history() == []
        if closed != "class":
            assert "Permission denied" in refusal(doctor.add, photo, "new")
    finally:
        if os.geteuid() != os.getuid():
            os.seteuid(os.getuid())
        for path in (place, place / "photos", place / "photos/roses"):
            path.chmod(0o755)
        shutil.rmtree(place)


@pytest.mark.skipif(not shutil.which("unshare"), reason="needs a mount of its own")
def test_on_a_read_only_disk_nothing_changes(root, tmp_path):
    fill(tmp_path / "photos-quarantine", "x.jpg")
    script = (
        f"mount --bind . . && mount -o remount,ro,bind . && cd . && exec {sys.executable} -c '"
        "from pathlib import Path; from tlearn.data.doctor import Doctor\n"
        "from tlearn.errors import DataError\n"
        f'doctor = Doctor(Path("{root}"))\n'
        'try: doctor.quarantine(["roses/a.jpg"])\nexcept DataError as error: print(error)\''
    )
    before = tree(tmp_path)
    command = ["unshare", "--mount", "--map-root-user", "sh", "-c", script]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    if "mount" in done.stderr or "unshare" in done.stderr:
        pytest.skip("mounts are not allowed here")
    assert "Read-only file system" in done.stdout, done.stderr
    assert done.stdout.count("\n") == 1 and tree(tmp_path) == before


def work(root, own, failed):
    try:
        doctor = Doctor(root)
        for i in range(10):
            doctor.move([f"roses/{own}{i}.jpg"], "tulips")
            doctor.quarantine([f"tulips/{own}{i}.jpg"])
    except BaseException as error:
        failed.put(repr(error))
        raise


@pytest.mark.parametrize("many", ["threads", "processes"])
def test_many_at_once_wait_for_each_other(root, many):
    fill(root, *(f"roses/{own}{i}.jpg" for own in "xyz" for i in range(10)))
    before = tree(root)
    context = multiprocessing.get_context("spawn")
    failed = context.Queue()
    make = threading.Thread if many == "threads" else context.Process
    workers = [make(target=work, args=(root, own, failed)) for own in "xyz"]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert failed.empty()
    doctor = Doctor(root)
    assert [action.number for action in doctor.history()] == list(range(60, 0, -1))
    while doctor.undo():
        pass
    assert tree(root) == before


def test_who_waits_too_long_is_told(root, monkeypatch):
    monkeypatch.setattr(journal, "LOCK_SECONDS", 0.01)
    doctor = Doctor(root)
    doctor.quarantine(["roses/a.jpg"])
    with doctor._journal.locked():
        assert "another process" in refusal(Doctor(root).quarantine, ["roses/b.jpg"])
        assert len(Doctor(root).history()) == 1  # to look needs no waiting
    doctor.undo()


def test_ten_thousand_photos_are_one_action(tmp_path, monkeypatch):
    root = tmp_path / "photos"
    names = [f"a/{i % 7}/{i}.jpg" for i in range(10_000)]
    fill(root, *names, "b/0/0.jpg")
    synced = []
    monkeypatch.setattr(os, "fsync", synced.append)
    doctor = Doctor(root)
    assert len(doctor.move(names, "b").moves) == 10_000
    assert len(synced) == 2 and not (root / "a").exists()  # not one for each file
    doctor.undo()
    assert len(synced) == 4 and len(files(root)) == 10_001


def test_the_journal_is_written_before_the_first_move(root, monkeypatch):
    doctor = Doctor(root)
    real, seen = os.rename, []

    def rename(source, target):
        lines = (doctor.quarantine_folder / "journal.jsonl").read_text().splitlines()
        seen.append(json.loads(lines[-1]))
        real(source, target)

    monkeypatch.setattr(os, "rename", rename)
    doctor.merge(["roses"], "tulips")
    assert len(seen) == 3
    assert all(line["event"] == "begin" and len(line["step"]["moves"]) == 3 for line in seen)


LABELS = ["roses", "tulips", "daisy", "猫", "قطة", NFC, "a b", "train"]


def draw_step(chance, doctor, photo):
    """Draw an action, sensible or not, and try it."""
    names = files(doctor.root)
    some = chance.sample(names, min(len(names), chance.randint(1, 4)))
    one, two, three = (chance.choice(LABELS) for _ in range(3))
    kind = chance.choice(["quarantine", "move", "move", "rename", "merge", "add", "undo", "undo"])
    if kind == "quarantine":
        doctor.quarantine(some)
    elif kind == "move":
        doctor.move(some, one)
    elif kind == "rename":
        doctor.rename(one, two)
    elif kind == "merge":
        doctor.merge([one, two], three)
    elif kind == "add":
        doctor.add(photo, one)
    else:
        doctor.undo()


@pytest.mark.parametrize("crash", [False, True], ids=["smooth", "crashing"])
@pytest.mark.parametrize("layout", ["classes", "sides"])
@pytest.mark.parametrize("seed", range(3))
def test_two_hundred_steps_lose_nothing_and_undo_to_the_start(tmp_path, photo, layout, seed, crash):
    chance = random.Random(f"{layout} {seed} {crash}")
    places = [""] if layout == "classes" else ["train/", "validation/", "test/"]
    names = [
        f"{place}{label}/{sub}{i}.jpg"
        for place in places
        for label in ("roses", "tulips", "猫", NFD)
        for sub in ("", "deep/")
        for i in range(3)
    ]
    root = fill(tmp_path / "photos", *names)
    (root / names[0]).with_name("link.jpg").symlink_to("0.jpg")
    (root / places[0] / "empty").mkdir()
    before, doctor = tree(root), Doctor(root)
    everything = contents(doctor)
    added, did = photo.read_bytes(), 0
    for _ in range(200):
        with pytest.MonkeyPatch.context() as patch:
            if crash and chance.random() < 0.5:
                crashing(patch, chance.randint(0, 3), chance.choice([Crash(), OSError(5, "disk")]))
            try:
                draw_step(chance, doctor, photo)
                did += 1
            except (DataError, Crash):
                pass
        doctor = Doctor(root)
        now = contents(doctor)
        now.pop(added, None)
        assert now == everything
    assert did > 40
    while doctor.undo():
        assert (contents(doctor) - Counter({added: 1000})) == everything
    assert tree(root) == before
