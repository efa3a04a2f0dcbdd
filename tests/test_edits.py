"""Edits: what each line means, what is refused, and that photos are never touched."""

import csv
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from conftest import Heard, draw_photos
from hypothesis import given, settings, strategies as st

from tlearn.cli import main
from tlearn.config import RunConfig
from tlearn.data.editing import (
    AddedPhotos,
    add_photos,
    apply_changes,
    exclude,
    merge,
    move,
    rename,
    set_group,
)
from tlearn.data.edits import Change, Edit, Edits, append_edits, edits_path, undo_edits
from tlearn.data.file_table import FileTable
from tlearn.data.scan import scan
from tlearn.data.splits import draw_splits, load_dataset
from tlearn.errors import DataError

NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(lambda s: s.strip("/"))
LABELS = st.sampled_from(["roses", "tulips", "红色 é", 'a"b', "a,b", "a\rb", "a\r\nb\n"])
VALUES = st.one_of(
    st.just(("exclude", "")),
    LABELS.map(lambda label: ("class", label)),
    st.one_of(st.just(""), LABELS).map(lambda group: ("group", group)),
)


@pytest.fixture
def before(photos):
    """The photos as they were: no test may change them."""
    files = {path: path.read_bytes() for path in photos.rglob("*.png")}
    yield files
    assert {path: path.read_bytes() for path in files} == files


def labels(photos):
    return {file.name: file.label for file in scan(photos).files}


def refusal(do, *arguments):
    with pytest.raises(DataError) as refused:
        do(*arguments)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def no_room(*arguments):
    raise OSError(28, "No space left on device")


def as_changes(edits):
    return [Change(edit.path, edit.action, edit.value) for edit in edits]


# ---- The file


CHANGES = st.builds(lambda path, value: Change(path, *value), NAMES, VALUES)


@given(st.lists(st.lists(CHANGES, min_size=1, max_size=4), max_size=5))
@settings(max_examples=40)
def test_every_name_is_read_back_equal_and_undo_drops_one_action(tmp_path_factory, actions):
    data = tmp_path_factory.mktemp("place") / "data"
    for changes in actions:
        append_edits(data, changes)
    while actions:
        found = Edits.of(data)
        assert [as_changes(action) for action in found.actions()] == actions
        assert as_changes(undo_edits(data)) == actions.pop()
    assert undo_edits(data) == () == Edits.of(data).lines and not edits_path(data).exists()


def test_the_file_is_a_table_that_people_can_read_and_write(photos, before):
    move(photos, ["red/red00.png"], "blue")
    file = photos.with_name("photos.edits.csv")
    with file.open(newline="", encoding="utf-8") as opened:
        rows = list(csv.DictReader(opened))
    assert [(row["path"], row["action"], row["value"]) for row in rows] == [
        ("red/red00.png", "class", "blue")
    ]
    lines = "2026-01-01,red/,class,rouge\n\n2026-01-02,blue/blue00.png,exclude,"
    file.write_text(f"\ufefftime,path,action,value\n{lines}")
    assert Edits.of(photos).lines == (
        Edit("red/", "class", "rouge", "2026-01-01"),
        Edit("blue/blue00.png", "exclude", "", "2026-01-02"),
    )
    assert set(labels(photos).values()) == {"blue", "green", "rouge"}
    exclude(photos, ["blue/blue01.png"])
    assert len(Edits.of(photos).lines) == 3 and len(labels(photos)) == 34


def test_a_damaged_line_is_named(photos):
    file = photos.with_name("photos.edits.csv")
    for line in (
        "x,y",
        "1,red/a,class,../up",
        "1,red/a,class,",
        "1,red/a,exclude,red",
        "1,red/a,move,red",
        "1,red/a,red",
        "1,,class,red",
        "1,/,class,red",
        '1,"red/a,class,b',
        "1,red/a,class,a//b",
        "1,a,class,b,c",
        '1,"a"b,class,c',
    ):
        file.write_text(f"time,path,action,value\n{line}\n")
        assert "damaged" in refusal(scan, photos) and str(file) in refusal(scan, photos)
    file.write_bytes(b"time,path,action,value\n1,\xff,class,red\n")
    assert "line 2" in refusal(scan, photos)


def test_many_at_once_lose_nothing(photos, before):
    names = sorted(labels(photos))
    with ThreadPoolExecutor(12) as pool:
        list(pool.map(lambda name: exclude(photos, [name]), names[:12]))
    assert sorted(edit.path for edit in Edits.of(photos).lines) == names[:12]
    assert len({edit.time for edit in Edits.of(photos).lines}) == 12
    assert {path.name for path in photos.parent.iterdir()} == {"photos", "photos.edits.csv"}


def test_an_undo_that_means_another_action_is_refused(photos):
    exclude(photos, ["red/red00.png"])
    shown = Edits.of(photos).lines[-1].time
    exclude(photos, ["red/red01.png"])
    with pytest.raises(DataError, match="another change"):
        undo_edits(photos, time=shown)
    assert len(Edits.of(photos).lines) == 2 and len(undo_edits(photos)) == 1
    assert len(undo_edits(photos, time=shown)) == 1


def test_a_full_disk_leaves_the_edits_as_they_were(photos, monkeypatch):
    exclude(photos, ["red/red00.png"])
    content = edits_path(photos).read_bytes()

    monkeypatch.setattr(os, "fsync", no_room)
    assert "No space left" in refusal(exclude, photos, ["red/red01.png"])
    assert edits_path(photos).read_bytes() == content


def test_edits_beside_a_read_only_place_are_in_the_folder_of_runs(photos, tmp_path, monkeypatch):
    monkeypatch.setenv("TLEARN_RUNS_ROOT", str(tmp_path / "runs"))
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    exclude(photos, ["red/red00.png"])
    monkeypatch.undo()
    monkeypatch.setenv("TLEARN_RUNS_ROOT", str(tmp_path / "runs"))
    assert edits_path(photos).parent == tmp_path / "runs" / ".edits"
    assert "red/red00.png" not in labels(photos)
    shutil.copy(edits_path(photos), photos.with_name("photos.edits.csv"))
    assert "delete one" in refusal(scan, photos)


# ---- What edits mean


def test_photos_are_moved_and_excluded(photos, before):
    move(photos, ["red/red00.png", "red/red01.png"], "blue")
    exclude(photos, ["red/red02.png"])
    found = labels(photos)
    assert found["red/red00.png"] == "blue" and "red/red02.png" not in found and len(found) == 35
    move(photos, ["red/red00.png"], "👨‍👩‍👧 12:30?")
    assert labels(photos)["red/red00.png"] == "👨‍👩‍👧 12:30?"
    assert len(undo_edits(photos)) == 1 and len(undo_edits(photos, everything=True)) == 3
    assert labels(photos) == {name: name.split("/")[0] for name in labels(photos)}


def test_a_renamed_class_takes_its_photos_along_and_may_change_places(photos, before):
    move(photos, ["red/red00.png"], "blue")
    rename(photos, "blue", "azul")
    assert labels(photos)["red/red00.png"] == labels(photos)["blue/blue00.png"] == "azul"
    rename(photos, "green", "blue")
    assert scan(photos).counts == {"azul": 13, "blue": 12, "red": 11}
    merge(photos, ["azul", "blue"], "both")
    assert scan(photos).counts == {"both": 25, "red": 11}
    assert not scan(photos).problems
    assert len(Edits.of(photos).lines) == 5  # a line for a class, however many photos it has


def test_a_stray_image_gets_a_class_and_a_broken_file_is_excluded(photos):
    (photos / "red/red00.png").rename(photos / "stray.png")
    (photos / "red/broken.jpg").write_bytes(b"\xff\xd8\xffno")
    assert {p.kind for p in scan(photos).problems} == {"no class", "unreadable"}
    move(photos, ["stray.png"], "red")
    exclude(photos, ["red/broken.jpg"])
    manifest = scan(photos)
    assert not manifest.problems and manifest.counts["red"] == 12


def test_edits_and_those_of_what_is_gone_are_reported(photos):
    exclude(photos, ["red/red00.png"])
    rename(photos, "blue", "azul")
    (photos / "red/red00.png").unlink()
    shutil.rmtree(photos / "blue")
    problems = [problem for problem in scan(photos).problems if problem.kind == "edit"]
    assert [problem.name for problem in problems] == ["red/red00.png", "blue/"]
    assert "no longer exists" in problems[0].reason
    heard = Heard()
    load_dataset(photos, RunConfig(), heard)
    assert f"2 edits applied, listed by: tlearn data show {photos}" in heard.lines
    assert any("without effect: red/red00.png" in line for line in heard.lines)
    heard, renamed = Heard(), photos.rename(photos.with_name("flowers"))
    load_dataset(renamed, RunConfig(), heard)
    assert any("rename it to 'flowers.edits.csv'" in line for line in heard.lines)


def test_splits_and_digest_follow_edits_and_photos_stay_in_their_split_folder(parts):
    before = scan(parts)
    move(parts, ["val/red/red00.png"], "blue")
    rename(parts, "green", "verde")
    after = scan(parts)
    assert after.digest != before.digest and after.edits.lines == Edits.of(parts).lines
    (moved,) = [file for file in after.files if file.name == "val/red/red00.png"]
    assert (moved.label, moved.given) == ("blue", "validation")
    assert sum(file.label == "verde" for file in after.files) == 8
    splits, _ = draw_splits(after, 0.2, 0, 0)
    assert splits.labels == ("blue", "red", "verde")


def test_what_cannot_be_edited_is_refused_and_changes_nothing(photos):
    first = ["red/red00.png"]
    for do, words in (
        (lambda: exclude(photos, ["red/none.png"]), "scan the folder again"),
        (lambda: move(photos, ["../x.png"], "blue"), "scan the folder again"),
        (lambda: move(photos, first, "red"), "already"),
        (lambda: move(photos, first, "a\\b"), "class name"),
        (lambda: rename(photos, "rde", "rouge"), "did you mean 'red'"),
        (lambda: rename(photos, "red", "blue"), "merge"),
        (lambda: merge(photos, ["red"], "red"), "nothing to merge"),
        (lambda: exclude(photos / "none", first), "not there"),
    ):
        assert words in refusal(do)
    assert not edits_path(photos).exists()
    exclude(photos, list(labels(photos)))
    assert "tlearn data undo" in refusal(scan, photos)


PATHS = st.sampled_from(["a/1", "a/2", "b/1", "a/", "b/", "c/"])


def after_edits(lines, listed):
    """Return the classes and the groups of photos after edits, by name, and edits of others."""
    files = FileTable.of_columns(Path("data"), [*listed], label=[*listed.values()])
    after = Edits(lines).apply(files)
    groups = {
        name: after.groups.texts[number]
        for name, number in zip(listed, after.groups.numbers, strict=True)
        if number >= 0
    }
    return {name: after.label_of(name) for name in listed}, groups, after.missing


@given(st.lists(st.builds(lambda path, value: Edit(path, *value), PATHS, VALUES)))
def test_no_photo_comes_or_goes_by_edits_and_the_order_of_actions_counts(edits):
    listed = {"a/1": "a", "a/2": "a", "b/1": "b"}
    lines = tuple(edits)
    labels, groups, missing = after_edits(lines, listed)
    assert labels.keys() == listed.keys() and set(missing) <= set(lines)
    for cut in range(len(lines) + 1):
        half, groups_of_half, _ = after_edits(lines[:cut], listed)
        known = {name: label for name, label in half.items() if label is not None}
        rest, groups_of_rest, _ = after_edits(lines[cut:], known)
        assert all(labels[name] == rest[name] for name in rest)
        both = groups_of_half | groups_of_rest
        assert all(groups.get(name) == both.get(name) for name in rest)


def test_a_group_puts_photos_into_one_split_whatever_the_pattern_says(photos):
    names = [f"{label}/{label}{i:02d}.png" for label in ("red", "blue") for i in range(6)]
    set_group(photos, names, "garden")
    manifest = scan(photos)
    assert {f.group for f in manifest.files if f.name in names} == {"garden"}
    splits, _ = draw_splits(manifest, 0.4, 0.0, 0)
    assert len({split for split, files in splits.items() for f in files if f.name in names}) == 1
    by_pattern = {f.name: f.group for f in scan(photos, r"(\d)\.png").files}
    assert by_pattern["red/red00.png"] == "garden" and by_pattern["red/red07.png"] == "7"
    set_group(photos, names[:1], "")
    assert {f.group for f in scan(photos).files if f.name in names[:2]} == {"", "garden"}
    apply_changes(photos, [Change("green/", "group", "wood")])
    assert sum(f.group == "wood" for f in scan(photos).files) == 12
    assert len(undo_edits(photos)) == 1 and len(undo_edits(photos)) == 1
    assert sum(f.group == "garden" for f in scan(photos).files) == 12


def test_changes_of_several_kinds_are_one_action(photos):
    changes = (
        Change("red/red00.png", "exclude"),
        Change("red/red01.png", "class", "blue"),
        Change("red/red02.png", "class", "red"),  # which it is
        Change("green/", "class", "verde"),
    )
    assert apply_changes(photos, changes) == (*changes[:2], changes[3])
    assert scan(photos).counts == {"blue": 13, "red": 10, "verde": 12}
    assert "not in" in refusal(apply_changes, photos, [changes[0], Change("red/x", "exclude")])
    assert len(Edits.of(photos).lines) == len(undo_edits(photos)) == 3


def test_what_a_photo_has_already_is_no_change(photos):
    red, green = "red/red00.png", "green/green00.png"
    garden, own = Change(red, "group", "garden"), Change(red, "class", "blue")
    merged = Change("red/", "class", "blue")
    assert apply_changes(photos, [merged, own, garden, garden]) == (merged, garden)
    assert apply_changes(photos, [garden, own, Change("blue/", "class", "blue")]) == ()
    assert apply_changes(photos, [Change("blue/", "group", "garden")])  # others have none
    assert apply_changes(photos, [garden, Change("blue/", "group", "garden")]) == ()
    none = Change(green, "group")  # of the group that a pattern gives
    assert apply_changes(photos, [none]) == (none,) and apply_changes(photos, [none]) == ()
    assert len(undo_edits(photos, everything=True)) == 4


# ---- Adding photos


def photo(seed, tmp_path):
    return draw_photos(tmp_path / f"more{seed}", 1, ("red",), seed) / "red/red00.png"


def test_added_photos_are_files_of_their_class(photos, tmp_path, before):
    one, two = photo(7, tmp_path), photo(8, tmp_path)
    added = add_photos(photos, "red", [("red00.png", one), ("x.png", two.read_bytes())])
    assert added == AddedPhotos(("red/red00-2.png", "red/x.png"), (), ())
    assert (photos / "red/x.png").read_bytes() == two.read_bytes()
    assert add_photos(photos, "红色", [("x.png", photo(9, tmp_path))]).new == ("红色/x.png",)
    assert scan(photos).counts == {"blue": 12, "green": 12, "red": 14, "红色": 1}
    assert not edits_path(photos).exists()


def test_names_of_clients_lead_nowhere(photos, tmp_path):
    """No name that a client gives is joined to a path."""
    names = ("../../out.png", "/etc/out.png", "..\\out.png", "..", "", ".hidden.png", "a\nb.png")
    names += ("x" * 300 + ".png", "x.png\0", "~/.ssh/out.png")
    for i, name in enumerate(names):
        (new,) = add_photos(photos, "red", [(name, photo(20 + i, tmp_path))]).new
        assert (photos / new).parent == photos / "red"
    assert scan(photos).counts["red"] == 12 + len(names)
    assert not [path for path in tmp_path.iterdir() if not path.name.startswith(("more", "photos"))]


def test_the_same_photo_is_not_added_twice_but_may_change_its_class(photos, tmp_path, before):
    there = photos / "red/red00.png"
    one = photo(7, tmp_path)
    added = add_photos(photos, "red", [("new.png", there), ("a.png", one), ("b.png", one)])
    assert added.new == ("red/a.png",) and not added.moved
    assert [problem.kind for problem in added.left_out] == ["duplicate", "duplicate"]
    assert "red/red00.png" in added.left_out[0].reason
    assert add_photos(photos, "blue", [("new.png", there)]).moved == ("red/red00.png",)
    exclude(photos, ["red/red01.png"])
    assert add_photos(photos, "red", [("n.png", photos / "red/red01.png")]).moved
    assert labels(photos)["red/red00.png"] == "blue" and labels(photos)["red/red01.png"] == "red"
    assert len(labels(photos)) == 37
    shutil.copy(there, photos / "green/copy.png")
    assert add_photos(photos, "green", [("n.png", there)]).left_out[0].kind == "duplicate"
    assert len(add_photos(photos, "violet", [("n.png", there)]).moved) == 2


def test_a_photo_added_to_a_class_that_was_renamed_is_of_that_class(photos, tmp_path):
    rename(photos, "red", "rouge")
    rename(photos, "blue", "red")
    added = add_photos(photos, "red", [("red00.png", photo(7, tmp_path))])
    added = added.new + add_photos(photos, "rouge", [("red00.png", photo(8, tmp_path))]).new
    assert [labels(photos)[name] for name in added] == ["red", "rouge"]


def test_what_cannot_be_added_is_said_and_leaves_nothing(photos, tmp_path, monkeypatch):
    """A photo that fails does not stop those after it."""
    (tmp_path / "bad.jpg").write_bytes(b"\xff\xd8\xffno")
    several = [("bad.jpg", tmp_path / "bad.jpg"), ("x.png", photo(7, tmp_path))]
    added = add_photos(photos, "red", [*several, ("gone.jpg", tmp_path / "gone.jpg")])
    assert added.new == ("red/x.png",)
    assert [problem.name for problem in added.left_out] == ["bad.jpg", "gone.jpg"]

    there = {path.name for path in (photos / "red").iterdir()}
    other = photo(8, tmp_path)
    monkeypatch.setattr(Path, "write_bytes", no_room)
    for label in ("red", "violet"):
        (problem,) = add_photos(photos, label, [("y.png", other)]).left_out
        assert "No space left" in problem.reason
    assert {path.name for path in (photos / "red").iterdir()} == there
    assert not (photos / "violet").exists()


def test_photos_go_to_training_and_never_through_a_link(parts, photos, tmp_path):
    assert add_photos(parts, "red", [("x.png", photo(7, tmp_path))]).new == ("train/red/x.png",)
    (tmp_path / "elsewhere").mkdir()
    (photos / "linked").symlink_to(tmp_path / "elsewhere")
    assert "does not lie in" in refusal(add_photos, photos, "linked", [])
    (photos / "plain").write_text("a file")
    assert "is a file" in refusal(add_photos, photos, "plain", [])


# ---- The command line


def test_edits_on_the_command_line(photos, tmp_path, capsys):
    def run(*arguments):
        code = main(["data", *arguments])
        found = capsys.readouterr()
        return code, found.out + found.err

    assert run("show", str(photos)) == (0, f"no edits of {photos}\n")
    exclude(photos, ["red/red00.png", "red/red01.png"])
    rename(photos, "blue", "azul")
    code, out = run("show", str(photos))
    assert (
        code == 0
        and "red/red00.png" in out
        and "class blue" in out
        and "excluded" in out
        and str(photos) in out
    )
    (photos / "green/broken.jpg").write_bytes(b"\xff\xd8\xffno")
    shutil.copy(photos / "green/green00.png", photos / "green/copy.png")
    out = run("apply", str(photos), str(tmp_path / "out"))[1]
    assert "left out: green/broken.jpg (" in out and "copy.png" not in out
    assert "35 images of 3 classes" in out and scan(tmp_path / "out").counts["azul"] == 12
    assert run("apply", str(photos), str(tmp_path / "out"))[0] == 2
    assert "1 edit" in run("undo", str(photos))[1] and "blue" in scan(photos).labels
    assert "2 edits" in run("undo", str(photos), "--all")[1] and not Edits.of(photos).lines
    assert run("undo", str(photos)) == (0, f"no edits of {photos}\n")
    for command in ("show", "undo"):
        assert run(command, str(tmp_path / "none"))[0] == 2
