"""A data set in columns is the same as its files one by one, and takes a fraction of the memory."""

import itertools
import pickle
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, strategies as st

from tlearn.csv_files import csv_rows, csv_text, read_columns, table_text
from tlearn.data.columns import hashes_of
from tlearn.data.file_reading import content_hash
from tlearn.data.file_table import FileTable, ImageFile
from tlearn.data.pixel_values import ValueRanges
from tlearn.data.scan import Manifest
from tlearn.data.splits import draw_splits
from tlearn.features.image_views import ImageViews
from tlearn.text import decode_name

FOLDER = Path("some photos")
NAMES = ("a.jpg", "é 猫.jpg", "deep/er/1.png", r"caf\udce9.jpg", "'=1.jpg", 'a"b,c.jpg')
CELLS = st.text(st.sampled_from("a=+-@\t\r\n\uff1d'\",;é猫\\0 "), max_size=4)


def drawn(rng, count):
    """Return files that differ in everything."""
    files = []
    for i in range(count):
        label = str(rng.choice(["a", "b", "猫", ""]))
        below = f"{i}/{rng.choice(NAMES)}"
        name = f"{label}/{below}" if label else below
        content = content_hash(bytes([rng.integers(0, 9)])) if rng.random() < 0.8 else ""
        ranges = ValueRanges((0, 4095)) if rng.random() < 0.2 else ValueRanges()
        given = rng.choice([None, "train", "validation", "test"])
        group = str(rng.choice(["", "g1", "g2"]))
        path = FOLDER / decode_name(name)
        files.append(ImageFile(path, name, label, content, given, group, below, ranges))
    return files


@pytest.mark.parametrize("count", [0, 1, 7, 5000])
def test_a_table_is_the_sequence_of_its_files(count):
    rng = np.random.default_rng(count)
    files = drawn(rng, count)
    table = FileTable.of(FOLDER, files)
    assert len(table) == count and list(table) == files and bool(table) == bool(files)
    for part in (slice(3, 60), slice(None, None, -2), slice(-4, None), slice(0, 0)):
        assert list(table[part]) == files[part]
    mask = rng.random(count) < 0.5
    assert list(table[mask]) == list(itertools.compress(files, mask))
    places = rng.integers(0, count, 2 * count) if count else np.zeros(0, np.int64)
    chosen = table[places]
    assert list(chosen) == [files[i] for i in places]
    assert chosen == FileTable.of(FOLDER, [files[i] for i in places])
    assert list(chosen[::3]) == [files[i] for i in places][::3]
    assert pickle.loads(pickle.dumps(chosen)) == chosen
    assert list(table.below()) == [file.below for file in files]
    assert list(table.paths()) == [str(file.path) for file in files]
    assert list(FileTable.concatenated([table, chosen])) == [*table, *chosen]
    apart = FileTable.of(FOLDER, files[::-1])
    assert list(FileTable.concatenated([chosen, apart, table])) == [*chosen, *apart, *table]
    for i in (-1, 0) if count else ():
        assert table[i] == files[i]
    with pytest.raises(IndexError):
        table[count]


def test_columns_say_what_the_files_do():
    files = drawn(np.random.default_rng(0), 300)
    table = FileTable.of(FOLDER, files)[100:]
    files = files[100:]
    labels = table.labels
    assert [labels.texts[number] for number in labels.numbers] == [file.label for file in files]
    assert list(labels.counts()) == list(dict.fromkeys(file.label for file in files))
    assert labels.counts()["猫"] == sum(file.label == "猫" for file in files)
    assert labels.are("a", "b", "x").tolist() == [file.label in ("a", "b") for file in files]
    assert labels.as_numbers(["b", "猫"]).tolist() == [
        {"b": 0, "猫": 1}.get(file.label, -1) for file in files
    ]
    first = {}
    expected = [first.setdefault(file.content, len(first)) for file in files]
    assert table.content_numbers().tolist() == expected
    copies, originals = (places.tolist() for places in table.copies())
    at = [first[file.content] for file in files]
    assert copies == [i for i, number in enumerate(at) if number in at[:i]]
    assert [at.index(at[i]) for i in copies] == originals
    assert {label: list(its) for label, its in table.by_label().items()} == {
        label: [file for file in files if file.label == label] for label in labels.counts()
    }
    assert table[:0].by_label() == {} and not any(map(len, table[:0].copies()))
    assert table.units() == [file.group or file.content or "0" * 32 for file in files]
    assert table.ranges == ValueRanges((0, 4095))
    names = [files[7].name, "none", files[150].name]
    assert table.positions(names) == {names[0]: 7, names[2]: 150}
    new = table.replaced(group="all", label=[file.name for file in files])
    assert [(f.group, f.label, f.content) for f in new] == [
        ("all", f.name, f.content) for f in files
    ]
    assert list(table) == files  # which has not changed
    assert table != new and table != files


@given(st.lists(st.tuples(CELLS, CELLS, CELLS), min_size=1))
def test_tables_of_columns_are_written_and_read_as_those_of_rows(tmp_path_factory, rows):
    names = ("a", "b c", "d")
    columns = [pa.array(column, pa.large_string()) for column in zip(*rows, strict=True)]
    text = csv_text(names, rows)
    assert table_text(pa.table(columns, names=names)) == text
    path = tmp_path_factory.getbasetemp() / "table.csv"
    path.write_bytes(text.encode())
    assert read_columns(path, names).to_pylist() == csv_rows(text)
    assert read_columns(path, names[1:]).column_names == ["b c", "d"]


def test_tables_that_are_damaged_are_refused(tmp_path):
    path = tmp_path / "table.csv"
    for text, error in (("", ValueError), ('"a"\n"b","c"\n', ValueError), ('"b"\n"c"\n', KeyError)):
        path.write_text(text)
        with pytest.raises(error):
            read_columns(path, ["a"])
    for texts in (["ab"], ["x" * 32], ["a" * 31, "b" * 33]):
        with pytest.raises(ValueError):
            hashes_of(pa.array([*texts, "z"], pa.large_string()))


def test_views_are_named_by_arrays():
    files = FileTable.of(FOLDER, drawn(np.random.default_rng(1), 40))
    views = ImageViews.of(files, 3)
    assert list(views) == [(file, number) for file in files for number in range(3)]
    assert views[4] == (files[1], 1) and list(views.first(1)) == [(file, 0) for file in files]
    assert [len(batch) for batch in views.batches(50)] == [50, 50, 20]
    both = ImageViews.concatenated([views, ImageViews(files[::-1])])
    seen = {}
    for file, number in both:
        seen.setdefault((file.content, number), (file, number))
    assert list(both.unique()) == list(seen.values())


def test_a_million_files_take_a_hundred_bytes_each():
    """At a fiftieth of the size: what the columns and the splits of a data set hold."""
    count = 20_000
    rng, before = np.random.default_rng(0), pa.total_allocated_bytes()
    tables = [
        FileTable.of_columns(
            FOLDER,
            pa.array([f"class{k}/IMG_20240517_{i:09d}_{i:09d}.jpg" for i in range(count // 20)]),
            inner=7,
            label=f"class{k}",
            content=rng.integers(0, 256, (count // 20, 16), np.uint8),
        )
        for k in range(20)
    ]
    manifest = Manifest(FOLDER, FOLDER, FileTable.concatenated(tables), ())
    del tables
    splits, _ = draw_splits(manifest, 0.2, 0.1, 0)
    rows = sum(files._rows.nbytes for _, files in splits.items())
    held = pa.total_allocated_bytes() - before + manifest.files._rows.nbytes + rows
    assert held / count < 130
    assert len(splits.train) + len(splits.validation) + len(splits.test) == count
