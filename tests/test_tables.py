"""Tables of photos: which columns are what, how files are found, and what is refused."""

import json
import re
import unicodedata

import pytest
from conftest import TOY, Heard
from test_scan import found, problems, put, refusal, write

from tlearn.cli import main
from tlearn.config import RunConfig
from tlearn.data.corrected_copy import write_corrected
from tlearn.data.editing import add_photos, exclude, move, rename
from tlearn.data.edits import Edits, edits_path
from tlearn.data.scan import scan
from tlearn.data.splits import load_dataset
from tlearn.data.tables import known_columns
from tlearn.errors import DataError
from tlearn.runs.run import Run
from tlearn.text import encode_name


@pytest.fixture
def root(tmp_path):
    """A folder of four photos, and one that no table here names."""
    return write(tmp_path / "set", *(f"images/{n}.png" for n in (1, 2, 10, 11)), "images/rest.png")


def table(root, text, name="labels.csv", encoding="utf-8"):
    path = root / name
    path.write_bytes(text.encode(encoding))
    return path


TEXT = "path,label\nimages/10.png,cat\nimages/2.png, dog \nimages/1.png,cat\nimages/11.png,dog\n"
FOUND = {
    f"images/{n}.png": label for n, label in ((1, "cat"), (2, "dog"), (10, "cat"), (11, "dog"))
}


def test_columns_are_known_by_their_usual_names():
    for names, expected in {
        "path,label": ("path", "label", "", ""),
        "Image ID;Breed": ("Image ID", "Breed", "", ""),
        "Unnamed: 0,label,FileName,extra": ("FileName", "label", "", ""),
        "class id,filepaths,labels,data set": ("filepaths", "labels", "data set", ""),
        "label,class_name,image_path,patient_id,subset": (
            "image_path",
            "class_name",
            "subset",
            "patient_id",
        ),
        "image,dx": ("image", "dx", "", ""),  # nothing else can be the class
        "image,age,sex": "classes",
        "cat/1.jpg,cat": "paths",
        "label": "paths",
    }.items():
        columns = known_columns(re.split("[,;]", names))
        known = (columns.path, columns.label, columns.split, columns.group)
        assert (columns.missing or known) == expected, names


def test_a_table_names_photos_and_classes_in_the_order_of_the_names(root):
    for name, text, encoding in (
        ("a.csv", TEXT, "utf-8"),
        ("b.CSV", TEXT.replace(",", ";").replace("\n", "\r\n\r\n"), "utf-8-sig"),
        ("c.tsv", TEXT.replace(",", "\t").replace("images/", "./images/"), "utf-16"),
        ("d.csv", TEXT.replace("images/", str(root / "images") + "/"), "utf-8"),
        ("e.csv", TEXT.replace("images/", "images\\"), "utf-8"),
        ("f.csv", 'id,label,"a, b"\n' + TEXT.split("\n", 1)[1].replace("\n", ',"x, y"\n'), "utf-8"),
    ):
        manifest = scan(table(root, text, name, encoding))
        assert list(found(manifest).items()) == list(FOUND.items()), name
        assert manifest.folder == root and manifest.data == root / name
    rows = [map(str.strip, line.split(",")) for line in TEXT.splitlines()[1:]]
    objects = [dict(zip(("file_name", "label"), row, strict=True)) for row in rows]
    objects[0] |= {"objects": [1], "size": None}
    text = "\n\n".join(map(json.dumps, objects))
    assert list(found(scan(table(root, text, "g.jsonl"))).items()) == list(FOUND.items())


def test_files_are_searched_below_the_folder_and_their_endings_completed(root):
    write(root, "train/x/1.png", "test/x/1.png", "more/deep/er/4.jpg")
    heard = Heard()
    manifest = scan(table(root, "id,breed\n10,a\n11.png,b\n4,b\n2,1\n"), progress=heard)
    assert found(manifest) == {
        "images/10.png": "a",
        "images/11.png": "b",
        "images/2.png": "1",
        "more/deep/er/4.jpg": "b",
    }
    assert heard.lines == [
        "4 photos named by labels.csv: paths from 'id', classes from 'breed'",
        "3 of them are in images/, not beside labels.csv",
        "1 of them are in more/deep/er/, not beside labels.csv",
        "3 have no file ending in labels.csv: '10' is '10.png'",
        "images/rest.png: an image that is not in labels.csv, as are 1 more: ignored",
    ]
    for name in ("train.csv", "labels.csv"):  # a table called as a split means that folder
        path = table(root, "id,label\nx/1,a\n2,b", name)
        if name == "train.csv":
            assert set(found(scan(path))) == {"train/x/1.png", "images/2.png"}
        else:
            assert "may be 'test/x/1.png' or 'train/x/1.png'" in refusal(path)
    path = table(root, "id,label,split\nx/1,a,test\n2,b,train")
    assert set(found(scan(path))) == {"test/x/1.png", "images/2.png"}
    path = table(root, "id,label\nimages/2,b\nr/4,a")  # where one is there, nothing is guessed
    assert "but 1 of them cannot be found; the first is 'r/4' in line 3" in refusal(path)


def test_what_a_table_repeats_or_does_not_name_is_a_problem_and_a_line(root):
    path = table(root, TEXT + "images/2.png,dog\nimages/2,dog\n")
    manifest = scan(path)
    assert found(manifest) == FOUND
    assert problems(manifest) == {"images/2.png": "duplicate", "images/rest.png": "folder"}
    assert [problem.reason for problem in manifest.problems] == [
        "an image that is not in labels.csv: ignored",
        "named twice by labels.csv, again in line 6: counted once",
    ]
    heard = Heard()
    load_dataset(path, RunConfig(), heard)
    assert any(line.startswith("images/rest.png: an image that") for line in heard.lines)
    assert scan(path, unlabelled=True).files == manifest.files


def test_splits_and_groups_come_from_columns_or_the_folders_in_the_paths(root):
    lines = TEXT.replace("label", "label,subset,patient_id").splitlines()
    ends = ("", ",TRAIN,p1", ",val,p2", ",,p1", ",Testing,")
    path = table(root, "\n".join(a + b for a, b in zip(lines, ends, strict=True)))
    files = {file.name: (file.given, file.group) for file in scan(path).files}
    assert files == {
        "images/1.png": (None, "p1"),
        "images/2.png": ("validation", "p2"),
        "images/10.png": ("train", "p1"),
        "images/11.png": ("test", ""),
    }
    manifest = scan(path)
    assert problems(manifest)["cat"] == "empty class"  # not measured in validation and test
    assert "both labels.csv and the group pattern" in refusal(path, group="(.)")
    write(root, "train/1.png", "train/2.png", "val/1.png", "val/2.png")
    text = "path,label\ntrain/1.png,a\ntrain/2.png,b\nval/1.png,a\nval/2.png,b\n"
    heard = Heard()
    manifest = scan(table(root, text), progress=heard)
    assert [file.given for file in manifest.files] == ["train"] * 2 + ["validation"] * 2
    assert "splits: train/ as train, val/ as validation" in heard.lines


def test_tables_that_cannot_be_used(root):
    for text, words in {
        "": "labels.csv' is empty; its first line should name the columns",
        "images/1.png,cat\n": "has no column of paths, but 'images/1.png', 'cat'; its first",
        "path,age,sex\nimages/1.png,2,f\n": "has no column of classes, but 'path', 'age', 'sex'",
        "path,label,label\nimages/1.png,a,b\n": "has two columns 'label'; rename one of them",
        "path,label\n\n": "names no photos; give it a line for each",
        "path,label\nlabels.csv,a": "none of the 1 files that labels.csv names is an image; the "
        "first is 'labels.csv'",
        TEXT + "x.png,cat\ny.png,cat": "names 6 photos, but 2 of them cannot be found; the first "
        "is 'x.png' in line 6; correct the paths, which are relative to",
        TEXT + "images/1.png,dog": "gives 'images/1.png' two classes, 'cat' in line 4 and 'dog' in "
        "line 6; delete one",
        TEXT + "images/rest.png,": "line 6 of .* has no class in 'label'; give it one, or delete",
        TEXT + ",dog": "line 6 of .* has no path in 'path'",
        TEXT + "images/rest.png": "line 6 of .* has 1 cells, where the first line names 2 columns",
        TEXT + "a,b,c": "line 6 of .* has 3 cells",
        TEXT + '"a,b': "line 6 of .* is damaged",
        TEXT + "images/rest.png,a\\b": r"^in line 6 of .*: the class name 'a\\\\b' contains",
        TEXT + "..,cat": "names 5 photos, but 1 of them cannot be found",
        TEXT + "a\0b/1.png,cat": "names 5 photos, but 1 of them cannot be found",
        "path,label,split\nimages/1.png,cat,fold 3": "line 2 of .* has the split 'fold 3'; a split "
        "is train, validation or test",
        "path,label,split\nimages/1.png,a,val\nimages/1.png,a,test": "two splits, 'validation' in",
        "path,label,group\nimages/1.png,a,1\nimages/1.png,a,2": "two groups, '1' in line 2",
    }.items():
        assert re.search(words, refusal(table(root, text))), text
    for text in ("[]", '{"path": 1', "path,label\n"):
        assert re.search("line 1 of .* no JSON object", refusal(table(root, text, "a.jsonl")))
    write(root, "images/1.jpg")
    path = table(root, "path,label\nimages/1,a")
    assert "names 'images/1', which may be '1." in refusal(path)
    assert "is a file of another kind" in refusal(table(root, TEXT, "labels.txt"))
    assert "is a table of another format; save it as" in refusal(table(root, TEXT, "labels.XLSX"))
    assert "is not there; give a folder" in refusal(root / "no.csv")


def test_edits_lie_beside_the_table_and_bring_in_what_it_does_not_name(root):
    path = table(root, TEXT)
    move(path, ["images/1.png"], "dog")
    exclude(path, ["images/2.png"])
    move(path, ["images/rest.png"], "bird")
    rename(path, "dog", "wolf")
    assert edits_path(path) == root / "labels.csv.edits.csv" and len(Edits.of(path).lines) == 4
    after = {"images/1.png": "wolf", "images/10.png": "cat", "images/11.png": "wolf"}
    assert found(scan(path)) == after | {"images/rest.png": "bird"}
    content = (write(root.parent, "new.png") / "new.png").read_bytes()
    assert add_photos(path, "wolf", [("new.png", content)]).new == ("images/new.png",)
    after |= {"images/rest.png": "bird", "images/new.png": "wolf"}
    assert found(scan(path)) == after
    write_corrected(path, root.parent / "out")
    assert found(scan(root.parent / "out")) == {f"{c}/{name}": c for name, c in after.items()}
    assert path.read_text() == TEXT


def test_classes_with_slashes(root):
    path = table(root, TEXT.replace("cat", "T-shirt/top") + "images/rest.png,T-shirt_top\n")
    assert scan(path).labels == ("dog", "T-shirt/top", "T-shirt_top")
    out, heard = root.parent / "out", Heard()
    with pytest.raises(DataError, match="would both be the folder 'T-shirt_top'; rename one"):
        write_corrected(path, out)
    rename(path, "T-shirt_top", "dog/wolf")
    move(path, ["images/2.png"], "dog/wolf")
    assert scan(path).counts == {"dog": 1, "dog/wolf": 2, "T-shirt/top": 2}
    write_corrected(path, out, progress=heard)
    assert "the folder of class 'dog/wolf' is called 'dog_wolf'" in heard.lines
    assert scan(out).counts == {"dog": 1, "dog_wolf": 2, "T-shirt_top": 2}
    move(out, ["dog/images/11.png"], "dog/wolf")
    content = (write(root.parent, "new.png") / "new.png").read_bytes()
    assert add_photos(out, "dog/wolf", [("new.png", content)]).new == ("dog_wolf/new.png",)
    assert scan(out).counts == {"dog_wolf": 2, "dog/wolf": 2, "T-shirt_top": 2}


def test_a_training_on_a_table_is_that_on_class_folders(photos, tmp_path, capsys):
    names = sorted(path.relative_to(photos).as_posix() for path in photos.rglob("*.png"))
    rows = [f"{name.rpartition('/')[2]},{name.partition('/')[0]}" for name in reversed(names)]
    path = table(photos, "filename,class\n" + "\n".join(rows), "index.csv")
    runs = []
    for data, name in ((photos, "folder"), (path, "table")):
        out = tmp_path / name
        assert main(["finetune", str(data), *TOY, "--test", "0.2", "--out", str(out)]) == 0
        runs.append(Run(out))
    folder, index = runs
    for split in ("validation", "test"):
        assert folder.metrics[split] == index.metrics[split]
    assert (folder.path / "splits.csv").read_bytes() == (index.path / "splits.csv").read_bytes()
    assert index.record["data"]["path"] == str(path) and index.images("test")
    capsys.readouterr()
    assert main(["evaluate", str(index.path), str(path), "--split", "test", "--json"]) == 0
    measured = json.loads(capsys.readouterr().out)
    assert measured["accuracy"] == index.metrics["test"]["accuracy"]
    put(photos, "test.jsonl", b'{"id": "red00"}\n{"id": "blue01", "split": "fold 3"}\n')
    assert [p.path.name for p in index.predict(photos / "test.jsonl")] == [
        "red00.png",
        "blue01.png",
    ]
    for command in ("data show", "data undo"):
        assert main([*command.split(), str(path)]) == 0


def test_names_of_all_kinds_are_found(root):
    odd = ("a b", "a::b", "100%25", unicodedata.normalize("NFD", "é"), "caf\udce9", "#?,;", "a\nb")
    write(root, "odd/twice.png", "odd/twice.jpg")
    for i, name in enumerate(odd):
        (write(root, f"{i}.png") / f"{i}.png").rename(root / f"odd/{name}.png")
    for ending in (".png", ""):
        rows = [
            {"path": f"odd/{unicodedata.normalize('NFC', name)}{ending}", "label": str(len(name))}
            for name in odd
        ]
        manifest = scan(table(root, "\n".join(map(json.dumps, rows)), "labels.jsonl"))
        assert found(manifest) == {encode_name(f"odd/{name}.png"): str(len(name)) for name in odd}
        assert all(file.path.is_file() for file in manifest.files)
    words = "names 'odd/twice', which may be 'twice.(png|jpg)' or 'twice.(png|jpg)'"
    assert re.search(words, refusal(table(root, "path,label\nodd/twice,a\n")))


def test_the_same_file_by_other_paths_is_one(root):
    lines = (
        "images/1.png",
        "./images//1.png",
        "images/../images/1.png",
        str(root / "images/1.png"),
    )
    path = table(root, "path,label\n" + "".join(f"{line},cat\n" for line in lines))
    manifest = scan(path)
    assert found(manifest) == {"images/1.png": "cat"}
    assert [p.reason for p in manifest.problems if p.kind == "duplicate"] == [
        "named twice by labels.csv, again in line 3: counted once"
    ]


def test_files_outside_the_folder_of_a_table(root):
    write(root.parent / "other", "deep/3.png")
    path = table(root, f"path,label\n../other/deep/3.png,cat\n{root}/images/1.png,dog\n")
    files = scan(path).files
    outside = f"{root.parent}/other/deep/3.png"
    assert [(f.name, f.below) for f in files] == [
        (outside, outside[1:]),
        ("images/1.png", "images/1.png"),
    ]
    assert str(files[0].path) == outside
