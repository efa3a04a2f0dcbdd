"""What the folders of a data set mean: classes, splits, or neither; and what is said of it."""

from collections import Counter
from pathlib import Path

import pytest
from conftest import Heard
from test_scan import found, problems, put, refusal, write

from tlearn.config import RunConfig
from tlearn.data.editing import merge
from tlearn.data.layouts import read_layout, split_of
from tlearn.data.scan import scan
from tlearn.data.splits import list_dataset, load_dataset
from tlearn.errors import DataError
from tlearn.progress import Silent


@pytest.fixture
def root(tmp_path):
    return tmp_path / "data"


def said(root):
    heard = Heard()
    scan(root, progress=heard)
    return heard.lines[0]


def test_folders_are_called_as_splits_usually_are():
    names = {
        "train": "train Training training_set TRAIN_SET train-images seg_train train2017 trainset "
        "train_data Training Images images_train trn",
        "validation": "val valid validation val_images dev Validation_Set valset",
        "test": "test testing test_set seg_test test1 testset Test-Data test.images",
        None: "trains trained cat retrain testament tests bird_train evaluation",
    }
    for split, group in names.items():
        for name in group.split():
            expected = None if name == "Images" else split
            assert split_of(name) == expected, name


SETS = [
    ("train", "val", "test"),
    ("Train", "Validation", "Testing"),
    ("training_set", None, "test_set"),
    ("seg_train", None, "seg_test"),
    ("train_images", "val_images", None),
    ("seg_train/seg_train", None, "seg_test/seg_test"),  # as the Intel set is unpacked
    ("training_set/training_set", None, "test_set/test_set"),  # cats and dogs
    ("pets_train/pets_train", None, "pets_test/pets_test"),
]


def test_split_folders_by_their_usual_names(tmp_path):
    for i, folders in enumerate(SETS):
        splits = {
            split: folder
            for split, folder in zip(("train", "validation", "test"), folders, strict=True)
            if folder
        }
        root = tmp_path / str(i)
        for folder in splits.values():
            write(root, f"{folder}/cat/{i}1.png", f"{folder}/dog/deep/{i}2.png")
        manifest = scan(root)
        given = Counter((file.given, file.label) for file in manifest.files)
        assert given == {(split, label): 1 for split in splits for label in ("cat", "dog")}
        assert manifest.problems == () or {p.kind for p in manifest.problems} == {"duplicate"}


def test_what_was_taken_as_what_is_said(tmp_path):
    write(tmp_path / "a", "dog/1.png", "cat/1.png", "class 10/1.png", "class 9/1.png")
    assert said(tmp_path / "a") == "class folders: cat, class 9, class 10, dog"
    write(tmp_path / "b", "test/cat/1.png", "train/cat/1.png", "train/dog/1.png")
    assert said(tmp_path / "b") == "split folders: train (cat, dog), test (cat)"
    write(tmp_path / "c", "training_set/cat/1.png", "training_set/dog/1.png")
    assert said(tmp_path / "c") == "split folder: training_set/ as train (cat, dog)"
    write(tmp_path / "d", "only/1.png")
    assert said(tmp_path / "d") == "class folder: only"
    write(tmp_path / "e", *(f"{i}/1.png" for i in range(1, 31)))
    listed = ", ".join(map(str, range(1, 13)))
    assert said(tmp_path / "e") == f"class folders: {listed} and 18 more"
    write(tmp_path / "f", "esc\x1b[31m/1.png", "b\n/1.png")
    assert "\x1b" not in said(tmp_path / "f") and "\n" not in said(tmp_path / "f")


def test_split_folders_without_class_folders_are_refused(tmp_path):
    for i, names in enumerate([("train", "test"), ("training_set", "test_set"), ("train",)]):
        text = refusal(write(tmp_path / str(i), *(f"{name}/1.png" for name in names)))
        assert "without class folders" in text and all(f"{name}/" in text for name in names)


def test_photos_without_class_folders_beside_split_folders_are_passed_over_and_said(tmp_path):
    root = write(tmp_path / "1", "train/cat/1.png", "train/dog/1.png", "test1/1.png", "test1/2.png")
    assert said(root) == "split folders: train (cat, dog), test1/ as test (none)"
    assert problems(scan(root)) == {"test1/1.png": "no class", "test1/2.png": "no class"}
    names = ["seg_train/cat/1.png", "seg_train/dog/1.png"]  # and photos to predict
    root = write(tmp_path / "2", *names, "seg_pred/seg_pred/1.png")
    assert set(found(scan(root))) == set(names) and problems(scan(root)) == {"seg_pred": "folder"}


def test_classes_may_be_called_as_split_folders_are(root):
    write(root, "train/1.png", "train/steam/2.png", "bus/1.png")
    assert scan(root).counts == {"bus": 1, "train": 2}
    (root / "train/steam/2.png").rename(root / "train/2.png")
    (root / "train/steam").rmdir()
    manifest = scan(write(root, "test/1.png", "val/1.png"))
    assert manifest.labels == ("bus", "test", "train", "val")
    assert {file.given for file in manifest.files} == {None}


def test_two_folders_for_one_split_are_refused(tmp_path):
    pairs = [("val", "valid"), ("validation", "val"), ("test", "testing"), ("test1", "test2")]
    for i, pair in enumerate(pairs):
        root = tmp_path / str(i)
        text = refusal(write(root, "train/cat/1.png", *(f"{name}/cat/1.png" for name in pair)))
        assert all(f"{name}/" in text for name in pair) and "same split" in text


def test_split_folders_beside_others_or_in_class_folders_are_refused(tmp_path):
    for i, splits in enumerate([["train"], ["train", "val"], ["train", "test_set", "valid"]]):
        root = tmp_path / str(i)
        write(root, *(f"{s}/{label}/1.png" for s in splits for label in "ab"), "unsorted/1.png")
        (root / "train/README.txt").write_text("how it was made")
        text = refusal(root)
        assert "unsorted" in text and all(split in text for split in splits)
    within = (f"{label}/{split}/1.png" for label in "ab" for split in ("train", "test"))
    text = refusal(write(tmp_path / "within", *within))
    assert "a/, b/, each with the split folders test/, train/" in text


def test_split_folders_without_train_are_read_for_evaluation(root):
    write(root, "val/a/1.png", "test/b/2.png")
    assert {f.name: (f.label, f.given) for f in scan(root).files} == {
        "val/a/1.png": ("a", "validation"),
        "test/b/2.png": ("b", "test"),
    }


def test_folders_that_all_hold_the_same_folders_are_said(root):
    write(root, *(f"{part}/{label}/1.png" for part in ("one", "two") for label in ("cat", "dog")))
    [problem] = [p for p in scan(root).problems if p.kind == "folder"]
    assert problem.name == "one" and "one/, two/" in problem.reason
    assert "cat/, dog/" in problem.reason
    write(root, "two/ape/1.png")  # no longer the same: folders of patients, say
    assert "folder" not in problems(scan(root)).values()


def test_a_data_set_inside_a_folder_of_its_own_name(tmp_path):
    root = tmp_path / "Plants"
    write(root, "rust/1.png", "scab/1.png", "healthy/1.png")
    write(root, "Plants/rust/1.png", "Plants/scab/1.png", "Plants/healthy/1.png")
    manifest = scan(root)
    assert manifest.labels == ("healthy", "rust", "scab") and len(manifest.files) == 3
    [problem] = manifest.problems
    assert (problem.name, problem.kind) == ("Plants", "folder")
    assert "healthy, rust, scab: ignored" in problem.reason


def test_a_folder_that_holds_nothing_but_the_data_set_is_opened(tmp_path):
    write(tmp_path / "Plants", "Plants/color/rust/1.png", "Plants/color/scab/1.png")
    (tmp_path / "Plants/README.md").write_text("words")
    write(tmp_path / "Plants", "Plants/photo", "photo")  # known as images by content alone
    unlabelled = scan(tmp_path / "Plants", unlabelled=True).counts
    assert unlabelled == {"": 2, "rust": 1, "scab": 1}
    assert said(tmp_path / "Plants") == "class folders in Plants/color/: rust, scab"
    files = scan(tmp_path / "Plants", group=r"^(\d)").files
    assert [(f.name, f.label, f.below, f.group) for f in files] == [
        ("Plants/color/rust/1.png", "rust", "1.png", "1"),
        ("Plants/color/scab/1.png", "scab", "1.png", "1"),
    ]
    write(tmp_path / "deep", "data/train/cat/1.png", "data/test/dog/1.png")
    assert (
        said(tmp_path / "deep")
        == "split folders: data/train/ as train (cat), data/test/ as test (dog)"
    )


def make_outputs(root, *names):
    for name, file in zip(names, ("run.yaml", "comparison.json", "predict.py"), strict=False):
        (root / name).mkdir(parents=True)
        (root / name / file).write_text("made by tlearn")
        write(root / name, "curves.png")


def test_what_tlearn_made_in_the_data_folder_is_no_class(root):
    write(root, "cat/1.png", "dog/1.png")
    make_outputs(root, "runs/data", "comparisons/data", "exported")
    (root / "runs/.trash").mkdir()
    manifest = scan(root)
    assert manifest.labels == ("cat", "dog")
    assert problems(manifest) == dict.fromkeys(["comparisons", "exported", "runs"], "folder")
    assert all("ignored" in p.reason for p in manifest.problems)
    assert "runs" in scan(write(root, "runs/1.png")).labels  # a class that is called so


def test_links_in_a_circle_end(root):
    write(root, "cat/1.png", "dog/1.png")
    (root / "loop").symlink_to(root)
    (root / "self").mkdir()
    (root / "self" / "self").symlink_to(root / "self")
    assert set(found(scan(root))) >= {"cat/1.png", "dog/1.png"}


def test_a_class_without_images_in_a_split_is_said(root):
    write(root, *(f"{s}/{label}/{s}.png" for s in ("train", "test") for label in ("a", "b")))
    write(root, "train/c/1.png", "train/d/1.png")
    (root / "test/c").mkdir()
    named = {p.name: p.reason for p in scan(root).problems if p.kind == "empty class"}
    assert set(named) == {"test/c", "test/d"} and "no images in the test split" in named["test/c"]


def test_what_is_listed_is_refused_only_if_no_image_can_help(root):
    write(root, *(f"{label}/{i}.png" for label in "ab" for i in "12"))
    put(root, "c/notes.txt", b"not a class")
    put(root, "d/1.png", b"damaged")
    assert load_dataset(list_dataset(root, "", Silent()), RunConfig(), Silent())[0].labels == (
        "a",
        "b",
    )
    for data, words in ((root / "a", "no class folders"), (root / "gone", "is not there")):
        with pytest.raises(DataError, match=words):
            list_dataset(data, "", Silent())
    merge(root, ["b", "c", "d"], "a")
    with pytest.raises(DataError, match="has only one class, 'a'"):
        list_dataset(root, "", Silent())


def test_options_without_effect_are_said(root):
    splits = ("train", "val")
    write(root, *(f"{s}/{label}/{s}{i}.png" for s in splits for label in "ab" for i in "12"))

    def lines(**options):
        heard = Heard()
        load_dataset(root, RunConfig(**options), heard)
        return [line for line in heard.lines if "no effect" in line]

    assert lines() == lines(test=0.3) == []
    [line] = lines(val=0.3)
    assert line == "val 0.3 has no effect: the validation split is given by the data"


def test_what_is_wrong_is_said_before_the_training(root):
    labels = ("Cat", "cat", "dog", "dog ")
    write(root, *(f"{label}/{i}.png" for label in labels for i in "1234"))
    (root / "empty").mkdir()
    heard = Heard()
    load_dataset(root, RunConfig(), heard)
    assert heard.lines[0] == "class folders: Cat, cat, dog, dog , empty"
    for beginning in (
        "cat: differs from 'Cat' in capital letters or spaces",
        "dog : differs from 'dog' in capital letters or spaces",
        "empty: a class folder without",
    ):
        assert any(line.startswith(beginning) for line in heard.lines)
    assert heard.lines[-1].startswith("4 classes, 16 images: ")


def test_the_layout_of_a_relative_root(root, monkeypatch):
    write(root, "cat/1.png", "dog/1.png", "data/cat/1.png", "data/dog/1.png")
    monkeypatch.chdir(root)
    assert read_layout(Path()).classes == ((Path("cat"), None), (Path("dog"), None))
