"""A copy of a data set with its edits, for other tools."""

import shutil

import pytest

from tlearn.data.corrected_copy import write_corrected
from tlearn.data.editing import exclude, move, rename, set_group
from tlearn.data.edits import undo_edits
from tlearn.data.scan import scan
from tlearn.errors import DataError


def refused(data, out, words):
    with pytest.raises(DataError, match=words):
        write_corrected(data, out)


def test_a_corrected_copy_has_the_edited_classes(photos, tmp_path):
    rename(photos, "green", "verde")
    move(photos, ["red/red00.png"], "blue")
    exclude(photos, ["red/red01.png"])
    (photos / "blue/red00.png").write_bytes((photos / "red/red02.png").read_bytes())
    for link in (False, True):
        out = tmp_path / f"out {link}"
        write_corrected(photos, out, link)
        assert scan(out).counts == scan(photos).counts == {"blue": 14, "red": 10, "verde": 12}
        assert scan(out).digest == scan(photos).digest
        assert (out / "blue/red00.png").exists() and (out / "blue/red00-2.png").exists()
        assert (out / "verde/green00.png").samefile(photos / "green/green00.png") is link


def test_a_corrected_copy_has_the_groups(photos, tmp_path):
    set_group(photos, ["red/red00.png", "blue/blue00.png"], "garden")
    write_corrected(photos, tmp_path / "out")
    assert [f.name for f in scan(tmp_path / "out").files if f.group == "garden"] == [
        "blue/blue00.png",
        "red/red00.png",
    ]


def test_a_corrected_copy_keeps_split_folders_and_folders_in_classes(parts, tmp_path):
    (parts / "train/red/deep").mkdir()
    (parts / "train/red/red00.png").rename(parts / "train/red/deep/red00.png")
    move(parts, ["train/red/deep/red00.png"], "blue")
    write_corrected(parts, tmp_path / "out")
    assert (tmp_path / "out/train/blue/deep/red00.png").is_file()
    assert {file.given for file in scan(tmp_path / "out").files} == {"train", "validation"}


def test_a_corrected_copy_of_a_table_above_its_splits_names_each_once(parts, tmp_path):
    (parts / "table.csv").write_text(
        "path,label,split\n"
        + "".join(
            f"{file.relative_to(parts)},{file.parent.name},{file.parent.parent.name}\n"
            for file in sorted(parts.rglob("*.png"))
        )
    )
    write_corrected(parts / "table.csv", tmp_path / "out")
    assert (tmp_path / "out/train/red/red/red00.png").is_file()
    assert not (tmp_path / "out/train/red/train").exists()


def test_a_corrected_copy_is_whole_or_not_there(photos, tmp_path, monkeypatch):
    out = tmp_path / "out"
    refused(photos, photos / "out", "outside")
    refused(photos, photos, "exists already")
    for label, new in (("red", "train"), ("blue", "val"), ("green", "test")):
        (photos / label / "deep").mkdir()
        (photos / label / f"{label}00.png").rename(photos / label / "deep/0.png")
        rename(photos, label, new)
    refused(photos, out, "rename these classes")
    undo_edits(photos, everything=True)

    def no_room(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copy2", no_room)
    refused(photos, out, "No space left")
    assert {path.name for path in tmp_path.iterdir()} == {"photos"}
