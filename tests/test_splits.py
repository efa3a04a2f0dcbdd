"""Which images are in which split: by chance, but never torn apart and never lost."""

import csv
import io
import itertools
from collections import Counter, defaultdict
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from tlearn.data.file_reading import content_hash
from tlearn.data.file_table import FileTable, ImageFile
from tlearn.data.layouts import SPLITS
from tlearn.data.scan import Manifest, scan
from tlearn.data.splits import draw_splits
from tlearn.errors import DataError


def image(label, name, content=None, given=None, group=""):
    """Return an image that needs no file: a split looks at names and hashes alone."""
    name = f"{label}/{name}"
    digest = content_hash((content or name).encode())
    return ImageFile(Path(name), name, label, digest, given, group)


def manifest(*files):
    table = FileTable.of(Path("data"), sorted(files, key=lambda file: file.name))
    return Manifest(Path("data"), Path("data"), table, ())


def pictures(counts, prefix="", **options):
    return [
        image(label, f"{prefix}{i:04d}", **options)
        for label, count in counts.items()
        for i in range(count)
    ]


def side_of(splits):
    """Map each name to its side, and hold that every image has one."""
    sides = [(file.name, side) for side, files in splits.items() for file in files]
    assert len(dict(sides)) == len(sides)
    return dict(sides)


def shares(splits):
    return {side: Counter(file.label for file in files) for side, files in splits.items()}


def torn(splits, key):
    """Return the values of ``key`` that stand on more than one side."""
    places = defaultdict(set)
    for side, files in splits.items():
        for file in files:
            places[key(file)].add(side)
    return [value for value, sides in places.items() if value and len(sides) > 1]


def refusal(*args):
    with pytest.raises(DataError) as caught:
        draw_splits(*args)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_each_class_has_its_share_on_every_side():
    counts = {"a": 400, "b": 100, "c": 30, "d": 8}
    data = manifest(*pictures(counts))
    for seed in range(5):
        for validation, test in ((0.2, 0.0), (0.2, 0.2), (0.1, 0.3), (0.5, 0.1)):
            splits, left_out = draw_splits(data, validation, test, seed)
            assert left_out == () and splits.labels == ("a", "b", "c", "d")
            for side, fraction in (("validation", validation), ("test", test)):
                for label, count in counts.items():
                    share = shares(splits)[side][label]
                    assert share == 1 or abs(share - fraction * count) < 1
    data = manifest(*pictures({str(label): 16 for label in range(5)}))
    for seed in range(20):
        share = shares(draw_splits(data, 0.2, 0.0, seed)[0])["validation"]
        assert len(share) == 5 and set(share.values()) <= {3, 4}


def test_many_tiny_classes_make_the_share_asked_for():
    data = manifest(*pictures({str(label): 3 for label in range(1000)}))
    splits, [problem] = draw_splits(data, 0.2, 0.0, 0)
    assert len(splits.train) + len(splits.validation) == 3000
    assert abs(len(splits.validation) - 600) < 60
    assert len({file.label for file in splits.train}) == 1000
    assert problem.kind == "empty class" and "other classes have no image" in problem.reason
    few = manifest(*pictures({str(label): 4 for label in range(20)}))
    counts = shares(draw_splits(few, 0.2, 0.0, 0)[0])["validation"]
    assert set(counts) == set(few.labels) and counts.total() < 25


def test_a_class_may_be_missing_in_a_given_validation_folder():
    files = pictures({"a": 9, "b": 9}, given="train") + pictures({"a": 2}, "v", given="validation")
    splits, problems = draw_splits(manifest(*files), 0.2, 0.0, 0)
    assert problems == () and shares(splits)["validation"] == {"a": 2}


def test_the_smallest_classes_stand_on_every_side():
    for smallest, test in ((2, 0.0), (3, 0.1), (3, 0.19)):
        counts = {"a": smallest, "b": smallest + 1, "c": smallest + 2, "d": 60}
        data = manifest(*pictures(counts))
        for validation in (0.05, 0.2, 0.5, 0.8):
            for seed in range(20):
                splits, _ = draw_splits(data, validation, test, seed)
                for side in ("train", "validation", *(["test"] if test else [])):
                    assert set(shares(splits)[side]) == set(counts)


def test_no_file_is_lost_or_doubled_and_the_order_is_the_manifests():
    data = manifest(*pictures({"a": 50, "b": 20, "c": 4}))
    alone, beside = (draw_splits(data, 0.2, test, 3)[0] for test in (0.0, 0.15))
    assert not alone.test and beside.test and alone.validation == beside.validation
    for splits in (alone, beside):
        assert set(side_of(splits)) == {file.name for file in data.files}
        for files in (splits.train, splits.validation, splits.test):
            assert list(files) == [file for file in data.files if file in files]


def test_the_seed_alone_decides_the_draw():
    data = manifest(*pictures({"a": 60, "b": 60}))
    first, again, other = (side_of(draw_splits(data, 0.2, 0.1, seed)[0]) for seed in (1, 1, 2))
    assert first == again
    assert sum(first[name] != other[name] for name in first) > 20


def test_names_and_order_play_no_part():
    files = pictures({"a": 60, "b": 60})
    splits, _ = draw_splits(manifest(*files), 0.2, 0.1, 0)
    renamed = [replace(file, name=f"{file.label}/x{i}") for i, file in enumerate(reversed(files))]
    other, _ = draw_splits(manifest(*renamed), 0.2, 0.1, 0)
    for (side, before), (_, after) in zip(splits.items(), other.items(), strict=True):
        assert {file.content for file in before} == {file.content for file in after}, side


def test_a_file_keeps_its_side_when_others_come_or_go():
    few = pictures({"a": 200, "b": 150, "c": 300})
    more = [*few[50:], *pictures({"a": 400, "d": 100, "e": 3}, prefix="new")]
    for seed in range(8):
        before, after, grown = (
            side_of(draw_splits(manifest(*files), 0.2, 0.2, seed)[0])
            for files in (few, more, [*few, image("a", "one more")])
        )
        both = before.keys() & after.keys()
        assert len(both) == 600
        assert sum(before[name] == after[name] for name in both) > 560
        assert sum(grown[name] != before[name] for name in before) <= 2
        assert {before[name] for name in both} == set(SPLITS)


# Of each image: its class, one of few contents and groups (0: its own, and none), its folder.
RARELY = st.one_of(st.just(0), st.just(0), st.integers(1, 20))
IMAGES = st.lists(
    st.tuples(
        st.sampled_from("abc"),
        RARELY,
        RARELY,
        st.sampled_from([None] * 9 + [*SPLITS]),
    ),
    min_size=12,
    max_size=80,
)


@given(IMAGES, st.sampled_from([(0.2, 0.0), (0.2, 0.2), (0.5, 0.1)]), st.integers(0, 9))
def test_copies_and_groups_are_never_torn_apart_and_nothing_is_lost(rows, fractions, seed):
    files = [
        image(label, str(i), f"c{content}" if content else None, folder, f"g{group}" * bool(group))
        for i, (label, content, group, folder) in enumerate(rows)
    ]
    try:
        splits, left_out = draw_splits(manifest(*files), *fractions, seed)
    except DataError as error:
        assert "\n" not in str(error)
        return
    # Those of given folders stay where they are, even if their group is in another, too.
    drawn = {f.group for f in files} - {f.group for f in files if f.given}
    assert torn(splits, lambda f: f.content) == []
    assert torn(splits, lambda f: f.group if f.group in drawn else "") == []
    names = {file.name for file in files}
    reported = {problem.name for problem in left_out} & names
    assert set(side_of(splits)) == names - reported
    assert draw_splits(manifest(*files), *fractions, seed)[0] == splits


def test_few_groups_across_classes_still_fill_every_side():
    files = [
        image(label, f"{patient}-{i}", group=f"patient{patient}")
        for patient in range(6)
        for label in ("healthy", "ill")
        for i in range(5)
    ]
    for seed in range(20):
        for test in (0.0, 0.2):
            splits, _ = draw_splits(manifest(*files), 0.2, test, seed)
            sides = shares(splits)
            assert torn(splits, lambda f: f.group) == []
            assert set(sides["train"]) == set(sides["validation"]) == {"healthy", "ill"}
            assert len(sides["test"]) == (2 if test else 0)
            assert sides["train"].total() >= 20


def test_a_large_group_does_not_swell_validation_where_small_ones_do():
    files = [image("a", str(i), group="large") for i in range(40)]
    files += pictures({"a": 20, "b": 60}, prefix="single")
    for seed in range(10):
        splits, _ = draw_splits(manifest(*files), 0.2, 0.0, seed)
        assert 6 <= shares(splits)["validation"]["a"] <= 18  # 12 were wanted


def test_two_groups_stand_one_on_each_side():
    files = [
        image(label, f"{g}{i}", group=label + g) for label in "ab" for g in "xy" for i in "123"
    ]
    splits, _ = draw_splits(manifest(*files), 0.2, 0.0, 0)
    assert shares(splits)["train"] == shares(splits)["validation"] == {"a": 3, "b": 3}


def given_data(validation=True, test=True):
    files = pictures({"a": 40, "b": 40}, given="train")
    if validation:
        files += pictures({"a": 5, "b": 5}, prefix="v", given="validation")
    if test:
        files += pictures({"a": 5, "b": 5}, prefix="t", given="test")
    return files


def test_given_folders_are_kept_and_only_what_is_missing_is_drawn():
    for validation, test, seed in itertools.product((False, True), (False, True), (0, 1)):
        files = given_data(validation, test)
        splits, left_out = draw_splits(manifest(*files), 0.25, 0.2, seed)
        sides = side_of(splits)
        assert len(sides) == len(files) and left_out == ()
        for file in files:
            if file.given != "train":
                assert sides[file.name] == file.given
        drawn = Counter(sides[file.name] for file in files if file.given == "train")
        assert bool(drawn["validation"]) != validation and bool(drawn["test"]) != test
        assert drawn["train"] >= 30


def test_copies_of_given_images_are_left_out_of_training_and_validation_and_reported():
    files = [
        *given_data(),
        image("a", "copy-of-test", content="a/t0000", given="train"),
        image("a", "validation-copy", content="a/t0000", given="validation"),
        image("b", "copy-of-validation", content="a/v0001", given="train"),  # of another class
        image("b", "copy-in-training", content="b/0000", given="train"),
    ]
    splits, left_out = draw_splits(manifest(*files), 0.2, 0.2, 0)
    reasons = {problem.name: problem.reason for problem in left_out}
    assert reasons == {
        "a/copy-of-test": "the same image as a/t0000; left out of training",
        "a/validation-copy": "the same image as a/t0000; left out of validation",
        "b/copy-of-validation": "the same image as a/v0001; left out of training",
    }
    assert {problem.kind for problem in left_out} == {"duplicate"}
    assert set(side_of(splits)) == {file.name for file in files} - set(reasons)
    assert torn(splits, lambda f: f.content) == [] and len(splits.test) == 10


def test_a_class_that_cannot_stand_on_every_side_is_an_error():
    nine, given = pictures({"a": 9}), pictures({"a": 2, "b": 2}, "v", given="validation")
    for files, test, expected in (
        (nine, 0.0, "only one class, 'a'"),
        (pictures({"a": 9, "b": 1}), 0.0, "class 'b' has only one image"),
        (pictures({"a": 9, "b": 2}), 0.1, "class 'b' has no image in the test split, of 2 in all"),
        (nine + pictures({"b": 5}, content="x"), 0.0, "'b' has no image in the"),
        (nine + pictures({"b": 5}, group="x"), 0.0, "'b' has no image in the"),
        (pictures({"a": 9}, given="train") + given, 0.0, "'b' has no image in the train split"),
    ):
        for seed in range(5):
            assert expected in refusal(manifest(*files), 0.2, test, seed)


def test_the_csv_holds_every_image_and_reads_back():
    files = pictures({"a": 8, 'b, "quoted"': 8, "ü\n猫": 8})
    splits, _ = draw_splits(manifest(*files), 0.2, 0.2, 0)
    text = "".join(splits.csv_parts())
    rows = list(csv.reader(io.StringIO(text, newline="")))
    assert rows.pop(0) == ["file", "class", "split", "content", "group"]
    sides = side_of(splits)
    assert sorted(rows) == sorted(
        [file.name, file.label, sides[file.name], file.content, file.group] for file in files
    )
    assert "\r" not in text


def test_a_scanned_folder_splits(photos):
    data = scan(photos, group=r"\d(\d)\.")
    splits, left_out = draw_splits(data, 0.3, 0.2, 0)
    assert len(side_of(splits)) == 36 and left_out == ()
    assert torn(splits, lambda f: f.group) == []
    assert {f.group for f in data.files} == {*"0123456789"}
    assert all(set(counts) == {"blue", "green", "red"} for counts in shares(splits).values())


def test_groups_are_not_torn_over_given_folders():
    files = [
        *(image(label, f"tr{i}", given="train", group=f"g{i}") for label in "ab" for i in range(4)),
        *(image(label, f"va{i}", given="validation") for label in "ab" for i in range(2)),
        image("a", "te0", given="test", group="g1"),
        image("b", "te1", given="test", group="g2"),
    ]
    splits, problems = draw_splits(manifest(*files), 0.2, 0.0, 0)
    left = {f.group for f in splits.train}
    assert left == {"g0", "g3"}
    assert {p.name for p in problems} == {"a/tr1", "b/tr1", "a/tr2", "b/tr2"}
    assert {p.kind for p in problems} == {"group"}
