"""The cache folder: rows in, rows out, whoever else uses it, within its budget."""

import errno
import os
import sqlite3
import subprocess
import sys
from io import FileIO
from pathlib import Path

import numpy as np
import pytest

from tlearn.cli import main
from tlearn.errors import CacheError
from tlearn.features.activation_cache import Cache

KEY = {"backbone": "toy", "output": "features", "size": 32, "precision": "float32"}
ROW = 4000  # bytes


def rows(start, stop):
    """Return keys and rows, each row full of its number."""
    keys = [i.to_bytes(4, "big") for i in range(start, stop)]
    return keys, np.repeat(np.arange(start, stop, dtype=np.float32)[:, None], 1000, axis=1)


def space_in(cache, **other):
    return cache.table(KEY | other, (1000,), "float32")


def fill(root, start, stop, budget=None, **other):
    """Keep some rows as a process of its own would."""
    with Cache(root, budget) as cache:
        space = space_in(cache, **other)
        keys, values = rows(start, stop)
        space.put(keys, values)


def test_rows_come_back(cache):
    fill(cache, 0, 100)
    with Cache(cache) as store:
        space = space_in(store)
        keys, values = rows(0, 100)
        strange = [b"none", b"more"]
        assert space.missing([*keys, *strange]) == set(strange)
        found, there = space.get([keys[7], b"none", keys[99], keys[7]])
        assert there.tolist() == [True, False, True, True]
        np.testing.assert_array_equal(found[there], values[[7, 99, 7]])


def test_many_more_keys_than_one_query_takes(cache):
    fill(cache, 0, 1600)
    with Cache(cache) as store:
        found, there = space_in(store).get(rows(0, 1601)[0])
    assert there.sum() == 1600
    assert found[1599, 0] == 1599


def test_long_files_are_split(cache, monkeypatch):
    monkeypatch.setattr("tlearn.features.cache_table.SEGMENT", 10 * ROW)
    for start in range(0, 100, 5):
        fill(cache, start, start + 5)
    with Cache(cache) as store:
        space = space_in(store)
        keys, values = rows(0, 100)
        np.testing.assert_array_equal(space.get(keys)[0], values)
        for start in range(100, 140):
            keys, values = rows(start, start + 1)
            space.put(keys, values)
    assert max(f.stat().st_size for f in (cache / "segments").iterdir()) == 10 * ROW


def test_two_processes_write_at_once(cache):
    code = (
        "import sys; sys.path.insert(0, 'tests'); from test_cache import *; "
        "from pathlib import Path; root, first = Path(sys.argv[1]), int(sys.argv[2]); "
        "[fill(root, i, i + 7) for i in range(first, 200)]"
    )
    workers = [
        subprocess.Popen([sys.executable, "-c", code, str(cache), str(start)]) for start in (0, 3)
    ]
    with Cache(cache) as store:
        space = space_in(store)
        for i in range(1000, 1100):
            keys, values = rows(i, i + 1)
            space.put(keys, values)
        assert [worker.wait() for worker in workers] == [0, 0]
        for start, stop in ((0, 206), (1000, 1100)):
            keys, values = rows(start, stop)
            found, there = space.get(keys)
            assert there.all()
            np.testing.assert_array_equal(found, values)


def test_what_dies_while_it_writes_leaves_nothing_behind(cache):
    code = (
        "import os, sys; sys.path.insert(0, 'tests'); from test_cache import *; "
        "from pathlib import Path; store = Cache(Path(sys.argv[1])); space = space_in(store); "
        "keys, values = rows(0, 9); space.put(keys[:5], values[:5]); "
        "store.index.transaction = lambda: os._exit(0); space.put(keys[5:], values[5:])"
    )
    subprocess.run([sys.executable, "-c", code, str(cache)], check=True)
    with Cache(cache) as store:
        assert space_in(store).get(rows(0, 9)[0])[1].tolist() == [True] * 5 + [False] * 4


def test_short_writes_are_completed(cache, monkeypatch):
    class Slow(FileIO):
        def write(self, data):
            return super().write(data[: 1 + len(data) // 2])

    monkeypatch.setattr("tlearn.features.cache_table.FileIO", Slow)
    fill(cache, 0, 30)
    with Cache(cache) as store:
        np.testing.assert_array_equal(space_in(store).get(rows(0, 30)[0])[0], rows(0, 30)[1])


def test_after_a_failure_rows_stand_where_the_index_says(cache, monkeypatch):
    class Failing(FileIO):
        fails = False

        def write(self, data):
            if Failing.fails:
                super().write(data[:100])
                raise OSError(errno.ENOSPC, "No space left on device")
            return super().write(data)

    monkeypatch.setattr("tlearn.features.cache_table.FileIO", Failing)
    keys, values = rows(0, 30)
    with Cache(cache) as store:
        space = space_in(store)
        space.put(keys[:10], values[:10])
        Failing.fails = True
        with pytest.raises(CacheError, match="No space left on device"):
            space.put(keys[10:20], values[10:20])
        Failing.fails = False
        space.put(keys[20:], values[20:])
        found, there = space.get(keys)
        assert there.tolist() == [True] * 10 + [False] * 10 + [True] * 10
        np.testing.assert_array_equal(found[there], values[there])


def test_the_least_recently_used_goes_first(cache):
    for output in ("a", "b", "c"):
        fill(cache, 0, 10, output=output)
    with Cache(cache) as store:
        space_in(store, output="a").missing(rows(0, 10)[0])  # used now
    with Cache(cache, budget=35 * ROW) as store:
        assert store.room() == 35 * ROW
        assert store.make_room(5 * ROW) == 0
        assert store.make_room(6 * ROW) == 10 * ROW
        left = {held.key["output"]: held.rows for held in store.tables()}
        assert left == {"a": 10, "c": 10}
        assert store.make_room(100 * ROW) == 20 * ROW
        assert store.tables() == []
    assert list((cache / "segments").iterdir()) == []


def test_what_is_in_use_is_not_evicted(cache):
    fill(cache, 0, 10)
    with Cache(cache, budget=12 * ROW) as store:
        space = space_in(store)
        keys, values = rows(0, 10)
        space.missing(keys)
        assert store.room() == 2 * ROW
        assert store.make_room(10 * ROW) == 0
        np.testing.assert_array_equal(space.get(keys)[0], values)


def test_the_budget_is_a_fifth_of_what_is_free_by_default(cache, monkeypatch):
    fill(cache, 0, 10)
    usage = type("Usage", (), {"free": 90 * ROW})
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage)
    with Cache(cache) as store:
        assert store.budget == 20 * ROW  # what rows take counts as free


def test_evicted_rows_are_missing_for_those_who_read_them(cache):
    fill(cache, 0, 10)
    with Cache(cache) as store:
        space = space_in(store)
        keys = rows(0, 10)[0]
        assert space.get(keys)[1].all()
        with Cache(cache) as other:
            other.clear()
        assert not space.get(keys)[1].any()
        assert space.damaged == 0


def test_who_goes_on_after_a_clear_leaves_nothing_for_others(cache):
    keys, values = rows(0, 4)
    with Cache(cache) as one, Cache(cache) as other:
        going_on = space_in(one, resize="squash")
        going_on.put(keys, values)
        other.clear()
        going_on.put(keys, values)
        stranger = space_in(other, resize="crop")
        assert stranger.missing(keys) == set(keys)
        assert not stranger.get(keys)[1].any()
        stranger.put(keys, values + 1)
        np.testing.assert_array_equal(stranger.get(keys)[0], values + 1)


def test_who_writes_where_another_evicts_begins_anew(cache):
    keys, values = rows(0, 8)
    with Cache(cache) as one:
        space = space_in(one)
        space.put(keys[:4], values[:4])
        with Cache(cache, budget=0) as other:
            assert other.make_room(1) == 4 * ROW
        space.put(keys[4:], values[4:])
        assert space.missing(keys) == set(keys[:4])
        space.put(keys[:4], values[:4])
        found, there = space.get(keys)
        assert there.all()
        np.testing.assert_array_equal(found, values)
        assert one.used_bytes() == 8 * ROW


def test_what_is_read_counts_as_used(cache, monkeypatch):
    monkeypatch.setattr("tlearn.features.cache_table.MARK_SECONDS", -1.0)
    fill(cache, 0, 10)
    with Cache(cache) as reader, Cache(cache, budget=0) as other:
        space = space_in(reader)
        assert space.get(rows(0, 10)[0])[1].all()
        assert other.make_room(1) == 0
        assert space.get(rows(0, 10)[0])[1].all()


def test_a_cache_of_another_format_is_begun_anew(cache):
    fill(cache, 0, 10)
    with sqlite3.connect(cache / "index.sqlite") as index:
        index.execute("PRAGMA user_version = 2")
    index.close()
    with Cache(cache) as store:
        assert store.used_bytes() == 0 and not list((cache / "segments").iterdir())
        assert space_in(store).missing(rows(0, 10)[0]) == set(rows(0, 10)[0])


def test_a_full_disk_is_told_as_such(cache):
    told = pytest.raises(CacheError, match="disk I/O error")
    with Cache(cache) as store, told, store.index.transaction() as index:
        index.execute("ROLLBACK")  # as SQLite itself does
        raise sqlite3.OperationalError("disk I/O error")


def test_compiled_networks_are_bounded(cache, monkeypatch):
    (cache / "compiled").mkdir(parents=True)
    for i in range(4):
        file = cache / f"compiled/{i}.bin"
        file.write_bytes(b"x" * 1000)
        os.utime(file, (i, i))
    monkeypatch.setattr("tlearn.features.activation_cache.COMPILED", 2000)
    with Cache(cache) as store:
        assert store.compiled_bytes() == 2000
    assert sorted(f.name for f in (cache / "compiled").iterdir()) == ["2.bin", "3.bin"]


def test_a_file_that_vanishes_while_it_is_listed_does_no_harm(cache, monkeypatch):
    """As where another process gives a compiled network its name just then."""
    (cache / "compiled").mkdir(parents=True)
    (cache / "compiled/a.bin").write_bytes(b"x" * 1000)
    listed = Path.glob

    def with_another(path, pattern):
        return [path / "gone-1234.xml", *listed(path, pattern)]

    monkeypatch.setattr(Path, "glob", with_another)
    with Cache(cache) as store:
        assert store.compiled_bytes() == 1000
        store.clear()
        assert store.compiled_bytes() == 0


def test_cache_info_and_clear(cache, capsys):
    fill(cache, 0, 10)
    assert main(["cache", "info"]) == 0
    out = capsys.readouterr().out
    assert str(cache) in out
    assert "40 kB of activations" in out
    assert "toy features" in out
    assert "10 views" in out
    assert main(["cache", "clear"]) == 0
    assert "40 kB freed" in capsys.readouterr().out
    assert main(["cache", "info"]) == 0
    assert "0 bytes of activations" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["info", "clear"])
def test_cache_commands_on_a_place_that_is_none(cache, capsys, command):
    cache.write_text("a file")
    assert main(["cache", command]) == 2
    assert "TLEARN_CACHE" in capsys.readouterr().err
